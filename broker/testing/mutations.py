"""Breakages of single rules, each of which some seed must find: the proof that the judges judge.

A mutation is a context in which one rule is not kept; nothing else differs.  Law: nothing outside
of the tests and the command line ever enters one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from broker.testing.process import BrokerProcess


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _answer_before_the_sync() -> AbstractContextManager[None]:
    """R2: the node is told that its rows are durable when the sync has only begun."""
    begin = BrokerProcess._maybe_sync

    def begin_and_tell(process: BrokerProcess) -> None:
        token = process._unsynced
        begin(process)
        if process._syncing is not None and process._syncing[0] == token:
            process._take("synced", token)

    return _replaced(BrokerProcess, "_maybe_sync", begin_and_tell)


def _never_end_the_tenure() -> AbstractContextManager[None]:
    """R10: the primary believes in its tenure for an hour."""

    def extend(process: BrokerProcess, until_ms: int) -> None:
        process._take("tenure_extended", until_ms + 3_600_000)

    return _replaced(BrokerProcess, "tenure_extended", extend)


#: rule -> the context in which it is broken
MUTATIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "R2": _answer_before_the_sync,
    "R10": _never_end_the_tenure,
}
