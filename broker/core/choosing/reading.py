"""What stands inside a stored batch: columns, keys, headers.  Each is decoded once and kept.

A broker checks of elements no more than that they are msgpack, so whatever does not look like a
message with headers is one without.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker.limits import DELAYED_LANES, PRIORITY_MAX
from broker.model.selector import Selector
from broker.model.stored_batch import StoredBatch
from broker.protocol.batches import element_offsets

Headers = dict[str, Any]
_NO_HEADERS: Headers = {}


def columns_of(batch: StoredBatch) -> dict[str, list[Any]]:
    if batch.read_columns is None:
        batch.read_columns = msgpack.unpackb(batch.columns) if batch.columns else {}
    return batch.read_columns


def keys_of(batch: StoredBatch) -> list[Any] | None:
    """The ordering key of each message, or None where none has one.

    Text and its UTF-8 bytes are the same key.
    """
    keys = columns_of(batch).get("keys") if batch.columns else None
    if keys is None:
        key = packed_properties(batch).get("key")
        keys = None if key is None else [key] * batch.count
    return None if keys is None else [_bare(key) for key in keys]


def _bare(key: Any) -> Any:
    return key.encode("utf-8", "surrogatepass") if key.__class__ is str else key


def packed_properties(batch: StoredBatch) -> dict[str, Any]:
    values: dict[str, Any] = msgpack.unpackb(batch.properties) if batch.properties else {}
    return values


def properties_of(batch: StoredBatch) -> dict[str, Any]:
    """The properties that a selector may ask for."""
    values = packed_properties(batch)
    properties: dict[str, Any] = {
        name: values[name] for name in ("type", "content_type") if name in values
    }
    properties["priority"] = PRIORITY_MAX - batch.lane % DELAYED_LANES
    if "death" in values:
        properties["reason"] = values["death"]["reason"]
    return properties


def headers_of(batch: StoredBatch) -> list[Headers]:
    """Of each message its headers; none are an empty map."""
    if batch.headers is None:
        try:
            elements = msgpack.unpackb(batch.batch, strict_map_key=False)
        except Exception:
            # A text that is none, a map whose key is a list: that message has no headers then.
            elements = _each_element(batch)
        batch.headers = [
            e[1] if e.__class__ is list and len(e) == 2 and e[1].__class__ is dict else _NO_HEADERS
            for e in elements
        ]
    return batch.headers


def _each_element(batch: StoredBatch) -> list[Any]:
    if batch.offsets is None:
        batch.offsets = element_offsets(batch.batch, batch.count)
    elements: list[Any] = []
    for low, high in zip(batch.offsets, batch.offsets[1:], strict=False):
        try:
            elements.append(msgpack.unpackb(batch.batch[low:high], strict_map_key=False))
        except Exception:
            elements.append(None)
    return elements


def matching_bits(selector: Selector, batch: StoredBatch) -> int:
    """A bit for each message of the batch that matches."""
    if not selector.matches_properties(properties_of(batch)):
        return 0
    if not selector.asks_headers:
        return (1 << batch.count) - 1
    matching = selector.matches_each(headers_of(batch))
    return int("".join(["1" if each else "0" for each in reversed(matching)]), 2)
