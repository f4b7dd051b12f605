"""What raw publishers send, as commands: nothing of it is confirmed, and nothing of it is fatal.

    [name, body]    [name, body, headers as a msgpack map]

Law: whatever the frames hold, they are a publish or they are counted by the reason.
"""

from __future__ import annotations

from collections.abc import Callable

import msgpack

from broker import limits
from broker.errors import BadField, MsgQueueError, NameNotAllowed, NotAnEnvelope, TooLarge
from broker.model.commands import Publish
from broker.names import require_name
from broker.protocol.batches import array_header

_HEADERS_MAX = 256


class RawPublishers:
    """``count`` takes the name of a counter, ``publish`` what was made of a multipart."""

    def __init__(self, count: Callable[[str], None], publish: Callable[[Publish], None]) -> None:
        self._count = count
        self._publish = publish

    def receive(self, frames: list[bytes]) -> None:
        try:
            publish = decode_raw(frames)
        except MsgQueueError as error:
            self._count(f"raw_{error.name}")
            return
        self._count("raw_published")
        self._publish(publish)


def decode_raw(frames: list[bytes]) -> Publish:
    """Raises NotAnEnvelope, NameNotAllowed, TooLarge or BadField, and nothing else."""
    if len(frames) not in (2, 3):
        raise NotAnEnvelope("a raw publish has a name, a body, and headers or none")
    try:
        channel = require_name(frames[0].decode("ascii"))
    except UnicodeDecodeError:
        raise NameNotAllowed("a name is ASCII") from None
    body = frames[1]
    if len(body) > limits.MESSAGE_BYTES_MAX:
        raise TooLarge(f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes")
    element: bytes = msgpack.packb(body)
    if len(frames) == 3:
        _require_headers(frames[2])
        element = array_header(2) + element + frames[2]
    return Publish(channel=channel, count=1, batch=array_header(1) + element)


def _require_headers(frame: bytes) -> None:
    if len(frame) > limits.HEADER_BYTES_MAX:
        raise TooLarge(f"headers have at most {limits.HEADER_BYTES_MAX} bytes")
    try:
        headers = msgpack.unpackb(frame, max_map_len=_HEADERS_MAX, max_ext_len=0)
    except Exception as error:
        # msgpack raises many kinds on bad input; all say the same to us.
        raise BadField(f"the headers are not msgpack: {type(error).__name__}") from None
    if not isinstance(headers, dict) or not all(isinstance(key, str) for key in headers):
        raise BadField("headers are a map with text keys")
