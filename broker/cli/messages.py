"""Messages as JSON and as lines: what ``get -o json`` and ``sub -o json`` write, ``put --jsonl``
and ``pub --jsonl`` read.

Owns that form.  Law: what was written and is read again is the same message, whatever bytes its
body has:

    body          the JSON value of a JSON body; the text of any other body that is UTF-8
    body_base64   any other body

Bytes in headers, ids and keys are ``{"base64": "..."}``.  Of a message's own words only those
that were given are told.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from broker.cli.values import instant
from broker.client.browsing import BrowsedMessage
from broker.client.content import BYTES, JSON
from broker.client.readable import ReadableMessage
from broker.errors import BadInput, ConfigError
from broker.server.quantities import parse_ms

#: What the broker gave to a message; reading passes over it.
_GIVEN = frozenset({"queue", "position", "state", "due_at", "attempts", "put_at"}) | frozenset(
    {"channel", "sequence", "epoch", "published_at"}
)


def as_json(message: ReadableMessage) -> dict[str, Any]:
    told: dict[str, Any] = {"queue": message.queue, "position": message.position}
    if isinstance(message, BrowsedMessage):
        told |= {"state": message.state, "due_at": timestamp(message.due_at)}
    told |= {
        "attempts": message.attempts,
        "put_at": timestamp(message.put_at),
        "priority": message.priority,
    }
    if (given := own_id(message)) is not None:
        told["id"] = _plain(given)
    return told | content_fields(message) | body_fields(message.raw, message.content_type)


class Content(Protocol):
    """What an application said of a message beside its body."""

    @property
    def key(self) -> str | bytes | None: ...
    @property
    def type(self) -> str | None: ...
    @property
    def content_type(self) -> str: ...
    @property
    def headers(self) -> dict[str, Any]: ...


def content_fields(message: Content) -> dict[str, Any]:
    own = {
        "key": message.key,
        "type": message.type,
        "content_type": None if message.content_type == BYTES else message.content_type,
        "headers": {name: _plain(value) for name, value in message.headers.items()} or None,
    }
    return {name: _plain(value) for name, value in own.items() if value is not None}


def own_id(message: ReadableMessage) -> str | bytes | None:
    """The application's id; None where the message has only its place."""
    given = message.id
    return None if given == f"{message.queue}:{message.position}" else given


def timestamp(at: float | None) -> str | None:
    """Seconds since the Unix epoch as ``2026-01-31T12:00:00.000Z``."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def from_json(line: bytes) -> tuple[Any, dict[str, Any]]:
    """The body and the options of a put; raises BadInput."""
    value = decode_json(line)
    if not isinstance(value, dict):
        raise BadInput('not an object like {"body": "text", "headers": {"country": "de"}}')
    fields = {name: each for name, each in value.items() if name not in _GIVEN}
    unknown = sorted(fields.keys() - _READERS.keys() - {"body", "body_base64"})
    if unknown:
        known = ", ".join(["body", "body_base64", *_READERS])
        raise BadInput(f"{unknown[0]!r} is none of {known}")
    options: dict[str, Any] = {}
    for name, read in _READERS.items():
        if fields.get(name) is not None:
            try:
                options[name] = read(fields[name])
            except (ValueError, TypeError, ConfigError) as error:
                raise BadInput(f"{name}: {error}") from None
    return _read_body(fields, options)


def decode_json(text: bytes) -> Any:
    """Strict JSON; raises BadInput."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}") from None


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


def body_fields(raw: bytes, content_type: str) -> dict[str, Any]:
    if _is_json(content_type):
        try:
            return {"body": decode_json(raw)}
        except BadInput:
            return {"body_base64": base64.b64encode(raw).decode()}
    try:
        return {"body": raw.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(raw).decode()}


def _read_body(fields: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if ("body" in fields) == ("body_base64" in fields):
        raise BadInput("needs either body or body_base64")
    if "body_base64" in fields:
        return _base64(fields["body_base64"]), options
    body = fields["body"]
    content_type = options.get("content_type")
    if content_type is None and not isinstance(body, str):
        options["content_type"] = content_type = JSON
    if content_type is not None and _is_json(content_type):
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), options
    if not isinstance(body, str):
        raise BadInput(f"body: {content_type} needs a text, or body_base64")
    return body.encode("utf-8", "surrogatepass"), options


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == JSON


def _base64(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BadInput("body_base64 is not base64") from None


def _plain(value: Any) -> Any:
    """A value that JSON has."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def as_plain(value: Any) -> Any:
    """All of a value in the form that JSON has."""
    if isinstance(value, dict):
        return {name: as_plain(each) for name, each in value.items()}
    return _plain(value)


def from_plain(value: Any) -> Any:
    """The inverse of ``as_plain``; raises ValueError."""
    if not isinstance(value, dict):
        return value
    if list(value) == ["base64"]:
        return base64.b64decode(value["base64"], validate=True)
    return {name: from_plain(each) for name, each in value.items()}


def _read_headers(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return {name: from_plain(each) for name, each in value.items()}


def _read_seconds(value: Any) -> float:
    """A duration as text, or a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no duration: 30 (seconds), 30s, 5m, 500ms")
    if isinstance(value, str):
        return parse_ms(value) / 1000
    return float(value)


def _read_integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "headers": _read_headers,
    "priority": _read_integer,
    "delay": _read_seconds,
    "at": instant,
    "ttl": _read_seconds,
    "type": _read_text,
    "content_type": _read_text,
    "id": from_plain,
    "key": from_plain,
}
