"""What one client publishes to one channel: gathered, numbered and sent again like puts.

Owns the command and what its confirm means.  The sequence, the linger and the resending are those
of ``PutQueue``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from broker.client.put_queue import PutQueue

if TYPE_CHECKING:
    from broker.client.put_batch import PutBatch
    from broker.client.puts import Puts


class PublishQueue(PutQueue):
    """``name`` is one that no queue can have: a queue may be called like the channel."""

    def __init__(self, puts: Puts, channel: str) -> None:
        super().__init__(puts, f"channel {channel}", placed_by=channel)
        self.channel = channel

    def _fields(self, batch: PutBatch) -> dict[str, Any]:
        return {
            "cmd": "publish",
            "channel": self.channel,
            "count": batch.count,
            "producer": self._puts.unnamed_producer,
            "seq": batch.seq,
            **dict(batch.spec.fields),
        }


class PublishResult(NamedTuple):
    """What became of one message.

    ``sequence`` is None where the broker had it already: its first confirm was lost.
    """

    channel: str
    sequence: int | None
    #: Subscriptions that it goes to, over all brokers.
    subscriptions: int
    #: Brokers that have it on disk; 0 on a channel that is not durable.
    copies: int
    duplicate: bool


class PublishedBatch(NamedTuple):
    """What became of a batch; the messages have the sequences from ``first`` on."""

    channel: str
    first: int | None
    messages: int
    subscriptions: int
    copies: int
    duplicate: bool


def published_batch(channel: str, batch: PutBatch) -> PublishedBatch:
    """Raises the batch's error."""
    header = batch.value()
    return PublishedBatch(
        channel,
        header.get("first"),
        batch.count,
        header.get("subscriptions", 0),
        header.get("copies", 0),
        bool(header.get("duplicate", False)),
    )


def published(channel: str, batch: PutBatch, index: int) -> PublishResult:
    whole = published_batch(channel, batch)
    sequence = None if whole.first is None else whole.first + index
    return PublishResult(channel, sequence, whole.subscriptions, whole.copies, whole.duplicate)
