"""Messages of channels as JSON and as lines, for ``sub`` and ``channel history``.

Owns that form: of a line of JSON ``pub --jsonl`` makes the same message again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.cli.messages import body_fields, content_fields, timestamp
from broker.cli.output import JSON, write_bytes, write_json
from broker.client.channels.event import Event
from broker.model.patterns import is_plain

Write = Callable[[Event], None]


def event_json(event: Event) -> dict[str, Any]:
    return {
        "channel": event.channel,
        "sequence": event.sequence,
        "epoch": event.epoch,
        "published_at": timestamp(event.published_at),
        **content_fields(event),
        **body_fields(event.raw, event.content_type),
    }


def event_writer(output: str, raw: bool, patterns: tuple[str, ...]) -> Write:
    """Lines of people begin with the channel where it may be one of several."""
    if output == JSON:
        return lambda event: write_json(event_json(event))
    if raw:
        return lambda event: write_bytes(event.raw)
    if len(patterns) == 1 and is_plain(patterns[0]):
        return lambda event: write_bytes(event.raw + b"\n")
    return lambda event: write_bytes(event.channel.encode() + b"  " + event.raw + b"\n")
