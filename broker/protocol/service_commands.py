"""The commands of services, as rows for the table of ``commands.py``, and their one body frame.

    call, answer    header  body        the body is any bytes, the header says what they are

Law: raises the errors of the protocol and nothing else, whatever the frames hold.
"""

from __future__ import annotations

from typing import Any

from broker import limits
from broker.errors import BadField, NotAnEnvelope, TooLarge
from broker.model import service_commands as model
from broker.model.patterns import require_pattern
from broker.protocol import fields as check
from broker.protocol.schema import Schema

#: These have a body behind their header.
WITH_BODY = frozenset(("call", "answer"))

_POSITIVE = check.integer(0, check.INTEGER_MAX)
_LABEL = check.text(limits.CONTENT_TYPE_BYTES_MAX)
_CALL = check.binary(1, limits.CALL_ID_BYTES_MAX)
_PLAIN = (str, bytes, int, float, bool, type(None))
_workers = check.integer(-1, limits.CALL_WORKERS_MAX)


def check_headers(value: Any) -> dict[str, Any]:
    """The application's own: text to text, bin, number, boolean or nil."""
    if not isinstance(value, dict):
        raise BadField("must be a map")
    for name, each in value.items():
        if not isinstance(name, str) or not isinstance(each, _PLAIN):
            raise BadField("maps text to text, bin, number, boolean or nil")
    return value


def check_workers(value: Any) -> int:
    """How many workers are asked at once; -1 for each of them."""
    asked: int = _workers(value)
    if not asked:
        raise BadField("must be -1, or 1 and more")
    return asked


def take_body(name: str, frames: list[bytes]) -> bytes:
    if len(frames) != 2:
        raise NotAnEnvelope(f"{name} has one body frame behind its header")
    if len(frames[1]) > limits.MESSAGE_BYTES_MAX:
        raise TooLarge(f"a body has at most {limits.MESSAGE_BYTES_MAX} bytes")
    return frames[1]


_CONTENT: dict[str, check.Check] = {
    "content_type": _LABEL,
    "type": _LABEL,
    "headers": check_headers,
}
_OF_CALL: dict[str, check.Check] = {"service": check.name, "call": _CALL, "worker": _POSITIVE}

SERVICE_SCHEMAS: dict[str, Schema] = {
    "serve": Schema(
        model.Serve,
        {
            "service": check.name,
            "worker": _POSITIVE,
            "concurrency": check.integer(1, limits.CONCURRENCY_MAX),
        },
        {},
    ),
    "unserve": Schema(model.Unserve, {"worker": _POSITIVE}, {}),
    "call": Schema(
        model.Call,
        {
            "service": check.name,
            "timeout_ms": check.integer(1, limits.CALL_TIMEOUT_MAX),
            "idempotent": check.boolean,
            "stream": check.boolean,
            "all": check_workers,
            **_CONTENT,
        },
        {},
    ),
    "answer": Schema(model.Answer, {**_OF_CALL, "end": check.boolean, **_CONTENT}, {}),
    "fail": Schema(
        model.Fail,
        {
            **_OF_CALL,
            "error": check.text(limits.NAME_BYTES_MAX),
            "text": check.text(limits.ERROR_TEXT_BYTES_MAX),
        },
        {},
    ),
    "cancel_call": Schema(model.CancelCall, {"service": check.name, "call_req": _POSITIVE}, {}),
    "services": Schema(
        model.Services,
        {
            "pattern": require_pattern,
            "after": check.text(limits.NAME_BYTES_MAX),
            "max": check.integer(1, 1_000),
        },
        {},
    ),
}
