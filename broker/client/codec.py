"""The client's side of the envelope: commands to frames, frames to replies.

Owns the msgpack of headers, columns and batches.  It never reads bodies.
Law: a reply that does not follow the protocol raises NotAnEnvelope and nothing else.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker.errors import MsgQueueError, NotAnEnvelope, Partitioned, error_from_wire

VERSION = 1
#: Bounds the bytes that a bin or text element takes beside its own.
ELEMENT_OVERHEAD = 5

Frames = list[bytes]

#: One packer for all: packing runs in C and never gives up the interpreter lock midway.
_pack = msgpack.Packer().pack


class Reply:
    """One reply: ``name`` is its ``re``; ``batch`` and ``columns`` only with messages."""

    __slots__ = ("batch", "columns", "header", "name", "req")

    def __init__(self, header: dict[str, Any], columns: bytes, batch: bytes) -> None:
        self.header = header
        self.name: str = header["re"]
        self.req: int | None = header.get("req")
        self.columns = columns
        self.batch = batch

    def error(self) -> MsgQueueError | None:
        """The named error of a ``failed``, ``closed`` or ``cancelled``; None for the others."""
        code = self.header.get("code")
        if not isinstance(code, int):
            return None
        text = str(self.header.get("text", ""))
        if code == Partitioned.code:
            told = {name: self.header[name] for name in ("partitions", "settings")}
            return Partitioned(text, **told)
        return error_from_wire(code, text)


def encode_command(fields: dict[str, Any], frames: tuple[bytes, ...] = ()) -> Frames:
    """The multipart of a command; ``fields`` are its header without the version."""
    header: bytes = _pack({"v": VERSION, **fields})
    return [header, *frames]


def encode_batch(elements: list[Any]) -> bytes:
    """The batch frame: an element is the body, or ``[body, headers]``."""
    frame: bytes = _pack(elements)
    return frame


def encode_columns(columns: dict[str, list[Any]]) -> bytes:
    frame: bytes = _pack(columns)
    return frame


def encode_value(value: Any) -> bytes:
    """Any msgpack value, as a body or to learn its size; raises TypeError or ValueError."""
    frame: bytes = _pack(value)
    return frame


def decode_reply(frames: Frames) -> Reply:
    if not 1 <= len(frames) <= 3:
        raise NotAnEnvelope(f"a reply of {len(frames)} frames")
    header = _unpack(frames[0], dict)
    if header.get("v") != VERSION or not isinstance(header.get("re"), str):
        raise NotAnEnvelope("the header is not a reply's")
    batch = frames[-1] if len(frames) > 1 else b""
    columns = frames[1] if len(frames) == 3 else b""
    return Reply(header, columns, batch)


def decode_header(frame: bytes) -> dict[str, Any]:
    """The header of what was published."""
    header: dict[str, Any] = _unpack(frame, dict)
    return header


def decode_batch(frame: bytes) -> list[Any]:
    elements: list[Any] = _unpack(frame, list)
    return elements


def decode_columns(frame: bytes) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = _unpack(frame, dict)
    return columns


def _unpack(frame: bytes, kind: type) -> Any:
    try:
        value = msgpack.unpackb(frame)
    except Exception as error:
        # msgpack raises eight kinds of exception on bad input; all say the same to us.
        raise NotAnEnvelope(f"a frame is not msgpack: {type(error).__name__}") from None
    if not isinstance(value, kind):
        raise NotAnEnvelope(f"a frame holds {type(value).__name__}, not {kind.__name__}")
    return value
