"""From the application's words to the wire's: seconds to milliseconds, options to fields.

Owns the checks that can be made without a broker.  It never sends anything.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from broker.client.codec import ELEMENT_OVERHEAD, encode_value
from broker.client.consumer import NO_PREFERENCE, Preference
from broker.client.content import JSON, TEXT, Headers, encode_body, require_headers
from broker.client.credit import CreditWindow
from broker.client.put_batch import ID_BYTES_MAX, Columns, MessageId, PutSpec
from broker.client.selector import Selector, wire_selector
from broker.errors import BadField, CannotEncode, TooLarge
from broker.limits import (
    CONTENT_TYPE_BYTES_MAX,
    CREDIT_DEFAULT,
    CREDIT_MAX,
    GET_COUNT_MAX,
    MESSAGE_BYTES_MAX,
    PRIORITY_MAX,
)

#: On either side of 0, which is that of a consumer that asks for none.
CONSUMER_PRIORITY_MAX = 100
#: Bytes without any option: what most puts are.
PLAIN = PutSpec()
_OF_CONTENT = {
    content_type: PutSpec((("content_type", content_type),)) for content_type in (JSON, TEXT)
}
#: Where a broker may listen; what else ZeroMQ can connect to is no way to one.
_ADDRESS = re.compile(r"tcp://.+:\d+|ipc://.+")
#: Settings that the application gives in seconds.
_IN_SECONDS = frozenset({"lease", "ttl", "delay", "backoff", "backoff_max", "dedup_window"})


def milliseconds(seconds: float) -> int:
    try:
        if seconds >= 0:
            return round(seconds * 1000)
    except (TypeError, ValueError, OverflowError):
        raise BadField(f"a time is a number of seconds, not {seconds!r}") from None
    raise BadField(f"a time is not negative: {seconds}")


def maybe_milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else milliseconds(seconds)


def settings_map(settings: dict[str, Any]) -> dict[str, Any]:
    """A queue's settings for the wire: ``lease=30.0`` becomes ``lease_ms: 30000``."""
    wire: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in _IN_SECONDS:
            wire[name] = value
            continue
        try:
            wire[f"{name}_ms"] = maybe_milliseconds(value)
        except BadField as error:
            raise BadField(f"{name}: {error.text}") from None
    return wire


def put_element(
    body: Any, headers: Headers | None, content_type: str | None
) -> tuple[Any, int, str | None]:
    """A batch element, its size with msgpack's own bytes, and its content type on the wire."""
    raw, wire_type = encode_body(body, content_type)
    size = len(raw) + ELEMENT_OVERHEAD
    element: Any = raw
    if headers:
        plain = require_headers(headers)
        element = [raw, plain]
        try:
            size += len(encode_value(plain)) + ELEMENT_OVERHEAD
        except (ValueError, OverflowError) as error:
            raise CannotEncode(f"the headers cannot be packed: {error}") from error
    require_size(size)
    return element, size, wire_type


def require_size(size: int) -> None:
    if size > MESSAGE_BYTES_MAX:
        raise TooLarge(f"a message has at most {MESSAGE_BYTES_MAX} bytes, this one {size}")


def put_columns(message_id: MessageId | None, key: MessageId | None) -> Columns | None:
    """What one message has of its own beside its body; None for most."""
    if message_id is None and key is None:
        return None
    columns: Columns = {}
    if message_id is not None:
        require_id(message_id)
        columns["ids"] = [message_id]
    if key is not None:
        require_id(key)
        columns["keys"] = [key]
    return columns


def require_id(message_id: MessageId) -> None:
    """Raises for what is neither an id nor a key."""
    raw = message_id.encode() if isinstance(message_id, str) else message_id
    if not isinstance(raw, bytes):
        raise CannotEncode(f"ids and keys are text or bytes, not {type(raw).__name__}")
    if len(raw) > ID_BYTES_MAX:
        raise TooLarge(f"ids and keys have at most {ID_BYTES_MAX} bytes, this one {len(raw)}")


def instant_ms(at: float | datetime) -> int:
    return milliseconds(at.timestamp() if isinstance(at, datetime) else at)


def put_spec(
    content_type: str | None,
    priority: int | None,
    delay: float | None,
    at: float | datetime | None,
    ttl: float | None,
    type: str | None,  # noqa: A002
    columns: tuple[str, ...] = (),
) -> PutSpec:
    """What the message shares with its batch."""
    if not columns and all(option is None for option in (priority, delay, at, ttl, type)):
        if content_type is None:
            return PLAIN
        if content_type in _OF_CONTENT:
            return _OF_CONTENT[content_type]
    if delay is not None and (at is not None or "at_ms" in columns):
        raise BadField("delay and at exclude each other")
    if priority is not None and not 0 <= priority <= PRIORITY_MAX:
        raise BadField(f"a priority is from 0 to {PRIORITY_MAX}, not {priority}")
    values = {
        # A named one is a number to Python and no number to msgpack.
        "priority": None if priority is None else int(priority),
        "delay_ms": maybe_milliseconds(delay),
        "at_ms": None if at is None else instant_ms(at),
        "ttl_ms": maybe_milliseconds(ttl),
        "content_type": None if content_type is None else require_label(content_type),
        "type": None if type is None else require_label(type),
    }
    fields = tuple((name, value) for name, value in values.items() if value is not None)
    return PutSpec(fields, columns)


def credit_window(
    credit: int | None, concurrency: int, remaining: int | None, batch: int = 1
) -> CreditWindow:
    """The window of a consumer; ``batch`` is how many messages it wants to see at a time."""
    if concurrency < 1:
        raise BadField("concurrency is at least 1")
    if credit is not None and not 1 <= credit <= CREDIT_MAX:
        raise BadField(f"credit is from 1 to {CREDIT_MAX}, not {credit}")
    if batch < 1 or (remaining is not None and remaining < 1):
        raise BadField("max is at least 1")
    start = min(max(CREDIT_DEFAULT, batch, concurrency), CREDIT_MAX)
    return CreditWindow(credit, concurrency, start, remaining)


def preference(selector: Selector | None, priority: int | None) -> Preference:
    if selector is None and priority is None:
        return NO_PREFERENCE
    if priority is not None and abs(priority) > CONSUMER_PRIORITY_MAX:
        raise BadField(f"a consumer's priority is from -100 to 100, not {priority}")
    return Preference(wire_selector(selector), priority)


def get_command(
    queue: str,
    count_max: int,
    lease: float | None,
    auto_ack: bool,
    selector: Selector | None = None,
) -> dict[str, Any]:
    if not 1 <= count_max <= GET_COUNT_MAX:
        raise BadField(f"max is from 1 to {GET_COUNT_MAX}, not {count_max}")
    fields: dict[str, Any] = {"cmd": "get", "queue": queue, "max": count_max}
    if lease is not None:
        fields["lease_ms"] = milliseconds(lease)
    if auto_ack:
        fields["auto_ack"] = True
    conditions = wire_selector(selector)
    if conditions is not None:
        fields["selector"] = conditions
    return fields


def addresses_of(text: str) -> list[str]:
    """``tcp://a:5570,tcp://b:5570`` as a list."""
    addresses = [part.strip() for part in text.split(",") if part.strip()]
    if not addresses:
        raise BadField("an address is needed, such as tcp://127.0.0.1:5570")
    for address in addresses:
        if not _ADDRESS.fullmatch(address):
            raise BadField(f"{address!r} is no address: tcp://HOST:PORT or ipc://PATH")
    return addresses


def require_label(text: str) -> str:
    """``text`` itself when it may be a type or a content type."""
    if len(text.encode()) > CONTENT_TYPE_BYTES_MAX:
        raise TooLarge(f"a type has at most {CONTENT_TYPE_BYTES_MAX} bytes")
    return text
