"""The fields and the one frame of ``transact``: settles, and puts with their batches.

    header  settles  [{queue, tag, ranges}, ...]
            puts     [{queue, count, ...}, ...]        the fields of ``put``, without its number
    frame            [[columns, batch], ...]           one pair of bin a put; columns may be empty

Law: raises the errors of the protocol and nothing else, whatever the frame holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from broker.errors import BadField, CountMismatch, MsgQueueError, NotAnEnvelope, TooLarge
from broker.limits import BATCH_BYTES_MAX, RANGES_MAX, TRANSACTION_PUTS_MAX
from broker.model.commands import Ack, Put
from broker.protocol import fields as check

#: Makes one put of its fields and its frames, as the command would be made.
MakePut = Callable[[dict[str, Any], list[bytes]], Put]

_SETTLE: dict[str, check.Check] = {
    "queue": check.name,
    "tag": check.binary(1, 255),
    "ranges": check.ranges,
}


def check_settles(value: Any) -> list[Ack]:
    if not isinstance(value, list) or not value:
        raise BadField("must be a list of settles, at least one")
    if len(value) > RANGES_MAX:
        raise TooLarge(f"at most {RANGES_MAX} settles")
    settles = [_settle(item) for item in value]
    if sum(len(settle.ranges) for settle in settles) > RANGES_MAX:
        raise TooLarge(f"at most {RANGES_MAX} ranges in all")
    return settles


def _settle(item: Any) -> Ack:
    if not isinstance(item, dict) or item.keys() != _SETTLE.keys():
        raise BadField("a settle is a map of queue, tag and ranges")
    return Ack(**{name: field_check(item[name]) for name, field_check in _SETTLE.items()})


def check_puts(value: Any) -> list[dict[str, Any]]:
    """Maps of text to anything yet: what they hold is checked with their batches."""
    if not isinstance(value, list):
        raise BadField("must be a list of puts")
    if len(value) > TRANSACTION_PUTS_MAX:
        raise TooLarge(f"at most {TRANSACTION_PUTS_MAX} puts")
    return [check.mapping(item) for item in value]


def take_puts(maps: list[dict[str, Any]], frames: list[bytes], make_put: MakePut) -> list[Put]:
    """The puts, each with its batch out of the one frame behind the header."""
    if len(frames) != 2:
        raise NotAnEnvelope("transact has one frame behind its header")
    pairs = _unpacked(frames[1])
    if len(pairs) != len(maps):
        raise CountMismatch(f"the header says {len(maps)} puts, the frame {len(pairs)}")
    puts: list[Put] = []
    for index, (fields, pair) in enumerate(zip(maps, pairs, strict=True)):
        try:
            puts.append(make_put(fields, [b"", *_frames_of(pair)]))
        except MsgQueueError as error:
            raise type(error)(f"puts[{index}]: {error.text}") from None
    return puts


def _unpacked(frame: bytes) -> list[Any]:
    if len(frame) > BATCH_BYTES_MAX:
        raise TooLarge(f"the puts of a transaction have at most {BATCH_BYTES_MAX} bytes in all")
    try:
        pairs = msgpack.unpackb(frame, max_ext_len=0)
    except Exception as error:
        # msgpack raises eight kinds of exception on bad input; all say the same to us.
        raise NotAnEnvelope(f"a frame is not msgpack: {type(error).__name__}") from None
    if not isinstance(pairs, list):
        raise NotAnEnvelope("the puts are not an array")
    return pairs


def _frames_of(pair: Any) -> list[bytes]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise NotAnEnvelope("a put is a pair of columns and batch")
    columns, batch = pair
    if not isinstance(columns, bytes) or not isinstance(batch, bytes):
        raise NotAnEnvelope("columns and batch are bin")
    return [columns, batch] if columns else [batch]
