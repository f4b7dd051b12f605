"""The commands of services: workers that serve a name, callers that ask it, and what both say.

A body is opaque bytes; ``headers`` are the application's, text to plain values.  ``call`` names one
request that a worker was given, and is the broker's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.model.commands import Command


@dataclass(slots=True, kw_only=True)
class OfService(Command):
    """What names one service."""

    service: str


@dataclass(slots=True, kw_only=True)
class Serve(OfService):
    """``concurrency`` is how many requests the worker works on at once."""

    worker: int
    concurrency: int = 1


@dataclass(slots=True, kw_only=True)
class Unserve(Command):
    worker: int


@dataclass(slots=True, kw_only=True)
class Call(OfService):
    """``all`` asks so many workers at once, -1 each of them; None asks one."""

    timeout_ms: int
    idempotent: bool = False
    stream: bool = False
    all: int | None = None
    content_type: str | None = None
    type: str | None = None
    headers: dict[str, Any] | None = None
    body: bytes = b""


@dataclass(slots=True, kw_only=True)
class OfCall(OfService):
    """What a worker says of a request that it was given."""

    call: bytes
    worker: int


@dataclass(slots=True, kw_only=True)
class Answer(OfCall):
    """``end`` is false for a part of a streamed reply that another follows."""

    end: bool = True
    content_type: str | None = None
    type: str | None = None
    headers: dict[str, Any] | None = None
    body: bytes = b""


@dataclass(slots=True, kw_only=True)
class Fail(OfCall):
    """``error`` is the worker's name for what went wrong."""

    error: str
    text: str = ""


@dataclass(slots=True, kw_only=True)
class CancelCall(OfService):
    """The caller waits no longer; ``call_req`` is the ``req`` of its call."""

    call_req: int


@dataclass(slots=True, kw_only=True)
class Services(Command):
    """Names behind ``after`` that match ``pattern``, with what their owners say of them."""

    pattern: str = ">"
    after: str = ""
    max: int = 1_000
