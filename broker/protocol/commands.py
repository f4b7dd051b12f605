"""Frames to commands: one table row a command, one check a field.

Law: whatever the frames hold, ``decode_command`` gives a valid command or raises Malformed;
no other exception leaves this file.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker import limits
from broker.errors import (
    BadField,
    CountMismatch,
    MsgQueueError,
    NotAnEnvelope,
    ProtocolError,
    TooLarge,
    UnknownCommand,
    UnknownVersion,
)
from broker.model import commands as model
from broker.model.selector import Selector
from broker.protocol import fields as check
from broker.protocol.batches import batch_count, require_well_formed
from broker.protocol.channel_commands import CHANNEL_SCHEMAS
from broker.protocol.due_column import DUE_COLUMN, take_due_times
from broker.protocol.key_column import check_key, check_names
from broker.protocol.schema import Schema
from broker.protocol.service_commands import SERVICE_SCHEMAS, WITH_BODY, take_body
from broker.protocol.transactions import check_puts, check_settles, take_puts

VERSION = 1


class Malformed(Exception):
    """Frames that are not a valid command, with what could still be read of them."""

    def __init__(self, error: MsgQueueError, header: dict[str, Any]) -> None:
        super().__init__(error.text)
        self.error = error
        req = header.get("req")
        self.req: int | None = req if req.__class__ is int else None
        self.header = header


_POSITIVE = check.integer(0, check.INTEGER_MAX)
_INSTANCE = check.integer(1, check.INTEGER_MAX)
_LEASE = check.integer(limits.LEASE_MIN, limits.LEASE_MAX)
_TAG = check.binary(1, 255)
_LABEL = check.text(limits.CONTENT_TYPE_BYTES_MAX)
_CREDIT = check.clamped(0, limits.CREDIT_MAX)
_CREDIT_BYTES = check.clamped(0, limits.CREDIT_BYTES_MAX)
_SETTLE: dict[str, check.Check] = {
    "queue": check.name,
    "tag": _TAG,
    "ranges": check.ranges,
    "consumer": _POSITIVE,
    "credit": _CREDIT,
    "credit_bytes": _CREDIT_BYTES,
}

_NAMED: dict[str, check.Check] = {
    "queue": check.name,
    "ranges": check.ranges,
    "ids": check.ids,
}

SCHEMAS: dict[str, Schema] = {
    "hello": Schema(
        model.Hello,
        {
            "client": check.text(limits.NAME_BYTES_MAX),
            "timeout_ms": check.integer(limits.SESSION_TIMEOUT_MIN, limits.SESSION_TIMEOUT_MAX),
            "resume": check.binary(1, 64),
        },
        {"timeout_ms": limits.SESSION_TIMEOUT_DEFAULT},
    ),
    "ping": Schema(model.Ping, {}, {}),
    "bye": Schema(model.Bye, {}, {}),
    "map": Schema(model.Map, {}, {}),
    "declare": Schema(model.Declare, {"queue": check.name, "settings": check.settings}, {}),
    "put": Schema(
        model.Put,
        {
            "queue": check.name,
            "count": check.integer(1, limits.BATCH_COUNT_MAX),
            "producer": check.producer,
            "seq": _POSITIVE,
            "priority": check.integer(0, limits.PRIORITY_MAX),
            "delay_ms": check.integer(0, limits.DELAY_MAX),
            "at_ms": _POSITIVE,
            "ttl_ms": check.integer(1, limits.TTL_MAX),
            "content_type": _LABEL,
            "type": _LABEL,
            "key": check_key,
            "instance": _INSTANCE,
            "partitions": check.integer(1, limits.PARTITIONS_MAX),
        },
        {"priority": limits.PRIORITY_DEFAULT},
    ),
    "get": Schema(
        model.Get,
        {
            "queue": check.name,
            "max": check.integer(1, limits.GET_COUNT_MAX),
            "timeout_ms": check.clamped(0, limits.GET_TIMEOUT_MAX),
            "bytes_max": check.clamped(1, limits.CREDIT_BYTES_MAX),
            "lease_ms": _LEASE,
            "auto_ack": check.boolean,
            "selector": Selector.from_wire,
        },
        {"timeout_ms": 0, "bytes_max": limits.CREDIT_BYTES_DEFAULT},
    ),
    "consume": Schema(
        model.Consume,
        {
            "queue": check.name,
            "consumer": _POSITIVE,
            "credit": _CREDIT,
            "credit_bytes": _CREDIT_BYTES,
            "lease_ms": _LEASE,
            "auto_ack": check.boolean,
            "selector": Selector.from_wire,
            "concurrency": check.integer(1, limits.CREDIT_MAX),
            "priority": check.integer(-limits.CONSUMER_PRIORITY_MAX, limits.CONSUMER_PRIORITY_MAX),
        },
        {"credit": limits.CREDIT_DEFAULT, "credit_bytes": limits.CREDIT_BYTES_DEFAULT},
    ),
    "credit": Schema(
        model.Credit,
        {"consumer": _POSITIVE, "messages": _CREDIT, "bytes": _CREDIT_BYTES},
        {},
    ),
    "cancel": Schema(model.Cancel, {"consumer": _POSITIVE}, {}),
    "ack": Schema(model.Ack, _SETTLE, {}),
    "nack": Schema(
        model.Nack,
        {
            **_SETTLE,
            "delay_ms": check.integer(0, limits.DELAY_MAX),
            "charge": check.boolean,
        },
        {},
    ),
    "reject": Schema(model.Reject, _SETTLE, {}),
    "extend": Schema(
        model.Extend,
        {
            "queue": check.name,
            "tag": _TAG,
            "ranges": check.ranges,
            "lease_ms": _LEASE,
            "consumer": _POSITIVE,
        },
        {},
    ),
    "stats": Schema(model.Stats, {"queue": check.name}, {}),
    "queues": Schema(
        model.Queues,
        {"after": check.text(limits.NAME_BYTES_MAX), "max": check.integer(1, 1_000)},
        {},
    ),
    "update": Schema(model.Update, {"queue": check.name, "settings": check.settings}, {}),
    "purge": Schema(model.Purge, {"queue": check.name}, {}),
    "delete": Schema(model.Delete, {"queue": check.name, "if_empty": check.boolean}, {}),
    "browse": Schema(
        model.Browse,
        {
            **_NAMED,
            "after": check.integer(-1, check.INTEGER_MAX),
            "max": check.integer(1, limits.BATCH_COUNT_MAX),
            "bytes_max": check.clamped(1, limits.CREDIT_BYTES_MAX),
            "selector": Selector.from_wire,
        },
        {"max": limits.BROWSE_COUNT_DEFAULT, "bytes_max": limits.DELIVERY_BYTES},
    ),
    "remove": Schema(model.Remove, _NAMED, {}),
    "reschedule": Schema(
        model.Reschedule,
        {**_NAMED, "at_ms": _POSITIVE, "delay_ms": check.integer(0, limits.DELAY_MAX)},
        {},
    ),
    "redrive": Schema(
        model.Redrive,
        {
            "queue": check.name,
            "to": check.name,
            "max": check.integer(1, check.INTEGER_MAX),
            "per_second": check.integer(1, limits.REDRIVE_RATE_MAX),
            "selector": Selector.from_wire,
            "stop": check.boolean,
        },
        {},
    ),
    "transact": Schema(
        model.Transact,
        {
            "settles": check_settles,
            "puts": check_puts,
            "producer": check.producer,
            "seq": _POSITIVE,
        },
        {},
    ),
    "producer": Schema(
        model.Producer,
        {"queue": check.name, "producer": check.producer, "instance": _INSTANCE},
        {},
    ),
    **CHANNEL_SCHEMAS,
    **SERVICE_SCHEMAS,
}
_REQUIRED = {name: schema.required() for name, schema in SCHEMAS.items()}
_NAMES = {schema.make: name for name, schema in SCHEMAS.items()}


def name_of(kind: type[model.Command]) -> str:
    """What a command is called on the wire."""
    return _NAMES.get(kind, kind.__name__.lower())


def decode_command(frames: list[bytes]) -> model.Command:
    """The command in ``frames``; raises Malformed with the named error."""
    header: dict[str, Any] = {}
    try:
        header = _decode_header(frames)
        return _decode_fields(header, frames)
    except (ProtocolError, MsgQueueError) as error:
        raise Malformed(error, header) from None


def _decode_header(frames: list[bytes]) -> dict[str, Any]:
    if not frames:
        raise NotAnEnvelope("a command has at least its header")
    if len(frames) > limits.FRAMES_MAX:
        raise TooLarge(f"a command has at most {limits.FRAMES_MAX} frames")
    if len(frames[0]) > limits.HEADER_BYTES_MAX:
        raise TooLarge(f"a header has at most {limits.HEADER_BYTES_MAX} bytes")
    try:
        header = msgpack.unpackb(
            frames[0], max_map_len=256, max_array_len=limits.RANGES_MAX * 2, max_ext_len=0
        )
    except Exception as error:
        # msgpack raises eight kinds of exception on bad input; all say the same to us.
        raise NotAnEnvelope(f"the header is not msgpack: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise NotAnEnvelope("the header is not a map")
    return header


def _decode_fields(header: dict[str, Any], frames: list[bytes]) -> model.Command:
    if "v" not in header or "cmd" not in header:
        raise NotAnEnvelope("the header has no 'v' or no 'cmd'")
    if header["v"] != VERSION or header["v"].__class__ is not int:
        raise UnknownVersion(f"this broker speaks version {VERSION}")
    name = header["cmd"]
    if not isinstance(name, str):
        raise UnknownCommand("the command's name is not text")
    schema = SCHEMAS.get(name)
    if schema is None:
        raise UnknownCommand(f"no command is called {name[:80]!r}")
    values = _values(name, header)
    if name == "put":
        _take_batch(values, frames)
    elif name == "publish":
        _take_published(values, frames)
    elif name in WITH_BODY:
        values["body"] = take_body(name, frames)
    elif name == "transact":
        values["puts"] = take_puts(values["puts"], frames, _put_within)
    elif len(frames) != 1:
        raise NotAnEnvelope(f"{name} has one frame")
    return schema.make(**values)


def _values(name: str, header: dict[str, Any]) -> dict[str, Any]:
    """The fields of a command, each checked; none is missing."""
    schema = SCHEMAS[name]
    values = dict(schema.defaults)
    checks = schema.checks
    for field, value in header.items():
        field_check = checks.get(field)
        if field_check is None:
            if field == "v" or field == "cmd":
                continue
            if field != "req":
                raise BadField(f"{name} has no field {str(field)[:80]!r}")
            field_check = _POSITIVE
        try:
            values[field] = field_check(value)
        except MsgQueueError as error:
            raise type(error)(f"{field}: {error.text}") from None
    missing = _REQUIRED[name] - values.keys()
    if missing:
        raise BadField(f"{name} needs {', '.join(sorted(missing))}")
    return values


def _put_within(fields: dict[str, Any], frames: list[bytes]) -> model.Put:
    """A put of a transaction; the transaction's own number stands for all of it."""
    for field in ("req", "v", "cmd", "producer", "seq", "instance"):
        if field in fields:
            raise BadField(f"a put of a transaction has no {field}")
    values = _values("put", fields)
    _take_batch(values, frames)
    return model.Put(**values)


def _take_batch(values: dict[str, Any], frames: list[bytes]) -> None:
    if "instance" in values and "seq" not in values:
        raise BadField("instance goes with producer and seq")
    if "delay_ms" in values and "at_ms" in values:
        raise BadField("delay_ms and at_ms exclude each other")
    columns = _take_frames("put", values, frames)
    if DUE_COLUMN in columns:
        take_due_times(values, columns)


def _take_published(values: dict[str, Any], frames: list[bytes]) -> None:
    if DUE_COLUMN in _take_frames("publish", values, frames):
        raise BadField("what is published is not delayed: no column at_ms")


def _take_frames(name: str, values: dict[str, Any], frames: list[bytes]) -> dict[str, list[Any]]:
    """Checks the batch and its columns, and gives both to the command; gives the columns read."""
    if len(frames) < 2:
        raise NotAnEnvelope(f"{name} needs a batch frame")
    if ("seq" in values) != ("producer" in values):
        raise BadField("producer and seq go together")
    batch = frames[-1]
    count = values["count"]
    if count > 1 and len(batch) > limits.BATCH_BYTES_MAX:
        raise TooLarge(f"a batch of several messages has at most {limits.BATCH_BYTES_MAX} bytes")
    if len(batch) > limits.FRAME_BYTES_MAX:
        raise TooLarge(f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes")
    found = batch_count(batch)
    if found != count:
        raise CountMismatch(f"the header says {count} messages, the array {found}")
    require_well_formed(batch)
    values["batch"] = batch
    if len(frames) < 3:
        return {}
    if len(frames[1]) > limits.COLUMNS_BYTES_MAX:
        raise TooLarge(f"columns have at most {limits.COLUMNS_BYTES_MAX} bytes")
    columns = require_columns(frames[1], count)
    check_names(columns, has_key="key" in values)
    values["columns"] = frames[1]
    return columns


def require_columns(frame: bytes, count: int) -> dict[str, list[Any]]:
    """A map from text to arrays of ``count`` values; what they mean is the queue's matter."""
    try:
        columns = msgpack.unpackb(frame, max_ext_len=0, max_map_len=16)
    except Exception as error:
        raise NotAnEnvelope(f"the columns are not msgpack: {type(error).__name__}") from None
    if not isinstance(columns, dict):
        raise NotAnEnvelope("the columns are not a map")
    for column, values in columns.items():
        if not isinstance(column, str) or not isinstance(values, list):
            raise BadField("columns map text to arrays")
        if len(values) != count:
            raise CountMismatch(f"column {column[:80]!r} has {len(values)} values, not {count}")
    return columns
