"""What brokers ask of one another on their own account, as frames: puts of what leaves one queue
for another, with fields that no client may send, and copies of bindings.

Law: what is decoded here came over a link from another broker, never from a client.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgpack

from broker.model.commands import CopyBinding, Publish, Put
from broker.model.selector import Selector
from broker.protocol.commands import VERSION, decode_command
from broker.protocol.inner_publish import PUBLISH, decode_publish, encode_publish

#: What ``put`` refuses from a client.
_OWN = ("producer", "seq", "death", "settings", "is_new", "channel", "uuid")
_FRAMES = ("columns", "batch")
#: What a put's header may hold besides.
PUT_FIELDS = frozenset(field.name for field in fields(Put)) - {*_FRAMES}
_COPY = "copy_binding"
_COPY_FIELDS = tuple(field.name for field in fields(CopyBinding))


def encode_inner(command: Put | CopyBinding | Publish) -> list[bytes]:
    if isinstance(command, Publish):
        return encode_publish(command)
    if isinstance(command, CopyBinding):
        return [msgpack.packb({"v": VERSION, "cmd": _COPY, **_copied(command)})]
    header: dict[str, Any] = {"v": VERSION, "cmd": "put"}
    for name in PUT_FIELDS:
        value = getattr(command, name)
        if value is not None:
            header[name] = value
    columns = [command.columns] if command.columns else []
    return [msgpack.packb(header), *columns, command.batch]


def decode_inner(frames: list[bytes]) -> Put | CopyBinding | Publish:
    """Raises Malformed where a client's put would be."""
    header = msgpack.unpackb(frames[0])
    if header["cmd"] == PUBLISH:
        return decode_publish(header, frames)
    if header["cmd"] == _COPY:
        values = {name: header[name] for name in _COPY_FIELDS if name in header}
        if "selector" in values:
            values["selector"] = Selector.from_wire(values["selector"])
        return CopyBinding(**values)
    own = {name: header.pop(name) for name in _OWN if name in header}
    put = decode_command([msgpack.packb(header), *frames[1:]])
    assert isinstance(put, Put)
    for name, value in own.items():
        setattr(put, name, value)
    return put


def _copied(command: CopyBinding) -> dict[str, Any]:
    values = {name: getattr(command, name) for name in _COPY_FIELDS}
    if command.selector is not None:
        values["selector"] = command.selector.as_wire()
    return {name: value for name, value in values.items() if value is not None}
