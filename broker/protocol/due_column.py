"""The column ``at_ms`` of a put: an instant for each message.

It becomes a field of the command too: the queue that takes the messages keeps it in that form.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker.errors import BadField
from broker.protocol.fields import INTEGER_MAX

DUE_COLUMN = "at_ms"


def take_due_times(values: dict[str, Any], columns: dict[str, list[Any]]) -> None:
    """Checks the column and gives it to the put as ``due_times``; raises BadField."""
    if "delay_ms" in values or "at_ms" in values:
        raise BadField("a column at_ms excludes delay_ms and at_ms for the whole batch")
    times = columns[DUE_COLUMN]
    for at in times:
        if at is not None and (at.__class__ is not int or not 0 <= at <= INTEGER_MAX):
            raise BadField("column at_ms: an instant is an integer from 0, or nil for now")
    values["due_times"] = times


def without_due_column(columns: bytes) -> bytes:
    """The columns frame less the instants, which are stored by another way."""
    left = msgpack.unpackb(columns)
    left.pop(DUE_COLUMN, None)
    return bytes(msgpack.packb(left)) if left else b""


def due_times_of(columns: bytes) -> list[int | None] | None:
    """The instants in a columns frame that was checked before."""
    times: list[int | None] | None = msgpack.unpackb(columns).get(DUE_COLUMN) if columns else None
    return times
