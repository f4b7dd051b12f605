"""Puts of what leaves one queue for another, as brokers pass them on: frames of ``put`` with fields
that no client may send.

Law: what is decoded here came over a link from another broker, never from a client.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgpack

from broker.model.commands import Put
from broker.protocol.commands import VERSION, decode_command

#: What ``put`` refuses from a client.
_OWN = ("producer", "seq", "death", "settings", "is_new")
_FRAMES = ("columns", "batch")
#: What a put's header may hold besides.
PUT_FIELDS = frozenset(field.name for field in fields(Put)) - {*_FRAMES}


def encode_transfer(put: Put) -> list[bytes]:
    header: dict[str, Any] = {"v": VERSION, "cmd": "put"}
    for name in PUT_FIELDS:
        value = getattr(put, name)
        if value is not None:
            header[name] = value
    columns = [put.columns] if put.columns else []
    return [msgpack.packb(header), *columns, put.batch]


def decode_transfer(frames: list[bytes]) -> Put:
    """Raises Malformed where a client's put would be."""
    header = msgpack.unpackb(frames[0])
    own = {name: header.pop(name) for name in _OWN if name in header}
    put = decode_command([msgpack.packb(header), *frames[1:]])
    assert isinstance(put, Put)
    for name, value in own.items():
        setattr(put, name, value)
    return put
