"""Publishes that brokers pass on for themselves and for raw publishers: as clients' are, but that
the channel may be one of the broker's own.

Law: what is decoded here came over a link from another broker, never from a client.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker.model.commands import Publish
from broker.protocol.commands import VERSION

PUBLISH = "publish"


def encode_publish(command: Publish) -> list[bytes]:
    header: dict[str, Any] = {
        "v": VERSION,
        "cmd": PUBLISH,
        "channel": command.channel,
        "count": command.count,
    }
    if command.content_type is not None:
        header["content_type"] = command.content_type
    return [msgpack.packb(header), command.batch]


def decode_publish(header: dict[str, Any], frames: list[bytes]) -> Publish:
    return Publish(
        channel=header["channel"],
        count=header["count"],
        content_type=header.get("content_type"),
        batch=frames[-1],
    )
