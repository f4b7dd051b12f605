"""The sync and the async client have the same names with the same parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import patterns
from broker.client.async_redrive import AsyncRedrive
from broker.client.sync_redrive import Redrive
from broker.client.transaction import AsyncTransaction, Transaction

PAIRS: list[tuple[type, type]] = [
    (patterns.Client, patterns.AsyncClient),
    (patterns.Queue, patterns.AsyncQueue),
    (patterns.Message, patterns.AsyncMessage),
    (patterns.MessageBatch, patterns.AsyncMessageBatch),
    (patterns.Confirm, patterns.AsyncConfirm),
    (patterns.BulkConfirm, patterns.AsyncBulkConfirm),
    (Redrive, AsyncRedrive),
    (Transaction, AsyncTransaction),
    (patterns.Server, patterns.AsyncServer),
    (patterns.Answers, patterns.AsyncAnswers),
]
#: An async client cannot connect while it is made.
ONLY_ASYNC = {"become_known", "connect"}


def public(face: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(face) if name[0] != "_"}


@pytest.mark.parametrize(("sync", "other"), PAIRS, ids=[sync.__name__ for sync, _ in PAIRS])
def test_both_faces_have_the_same_names(sync: type, other: type) -> None:
    assert public(other).keys() - ONLY_ASYNC == public(sync).keys()


@pytest.mark.parametrize(("sync", "other"), PAIRS, ids=[sync.__name__ for sync, _ in PAIRS])
def test_both_faces_have_the_same_parameters(sync: type, other: type) -> None:
    for name, method in {**public(sync), "__init__": vars(sync).get("__init__")}.items():
        if not inspect.isfunction(method):
            continue
        of_sync = inspect.signature(method).parameters
        of_async = inspect.signature(getattr(other, name)).parameters
        told = [(p.name, p.kind, p.default) for p in of_sync.values() if p.name != "calls"]
        assert told == [
            (p.name, p.kind, p.default) for p in of_async.values() if p.name != "calls"
        ], name
