"""Puts of a named producer: an identity that outlives the process, and is had by one at a time.

Each client is an instance.  Before the first batch to a queue it says which, and is told the
highest sequence that the queue has of this name; its own go on behind it.  A newer instance fences
this one: all its puts fail by name from then on.

An instance is a number: the time of its start in milliseconds, and 20 bits of chance, so that of
two that start at once one is the newer.  Where the first queue knows a higher number, since clocks
differ, this instance takes one above that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.client.put_queue import RETRY_MS_MIN, PutQueue
from broker.errors import MsgQueueError, ProducerFenced

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.put_batch import PutBatch
    from broker.client.puts import Puts

CHANCE_BITS = 20


def instance_of(started_at_ms: int, chance: bytes) -> int:
    """The number of an instance; of ``chance`` three bytes are used."""
    return started_at_ms << CHANCE_BITS | int.from_bytes(chance[:3], "big") >> 24 - CHANCE_BITS


class NamedProducer:
    """The name and the number that all queues of one client share."""

    __slots__ = ("has_begun", "instance", "name")

    def __init__(self, name: str, instance: int) -> None:
        self.name = name.encode()
        self.instance = instance
        #: True once a queue has taken the instance for the newest.
        self.has_begun = False

    def outdo(self, newest: int) -> None:
        """A number above ``newest``, with the chance of this one."""
        chance = self.instance & ((1 << CHANCE_BITS) - 1)
        self.instance = instance_of((newest >> CHANCE_BITS) + 1, b"") | chance


class NamedPutQueue(PutQueue):
    """Numbers its batches from 0 here; on the wire they stand behind ``_base``."""

    def __init__(self, puts: Puts, name: str, producer: NamedProducer) -> None:
        super().__init__(puts, name)
        self._producer = producer
        #: The wire's sequence of batch 0; None until the queue has told it.
        self._base: int | None = None
        self._announcements = 0
        self._is_announcing = False

    def resend(self) -> None:
        self._is_announcing = False
        super().resend()

    def _fields(self, batch: PutBatch) -> dict[str, Any]:
        assert self._base is not None
        fields = super()._fields(batch)
        fields["seq"] = self._base + batch.seq
        fields["instance"] = self._producer.instance
        return fields

    def _send(self) -> None:
        if self._base is not None:
            super()._send()
        elif self._unsent and self._may_send and not self._is_announcing:
            self._announce()

    def _announce(self) -> None:
        self._is_announcing = True
        self._announcements += 1
        number = self._announcements
        fields = {
            "cmd": "producer",
            "queue": self.name,
            "producer": self._producer.name,
            "instance": self._producer.instance,
        }

        def answered(reply: Reply, now: int) -> None:
            if number == self._announcements:
                self._is_announcing = False
                self._announced(reply, now)

        self.route.exchange.ask(fields, answered)

    def _announced(self, reply: Reply, now: int) -> None:
        error = reply.error()
        if error is None:
            self._producer.has_begun = True
            self._base = reply.header["highest"] + 1
            self._send()
        elif error.retryable:
            self._retry_at = now + RETRY_MS_MIN
        elif isinstance(error, ProducerFenced) and not self._producer.has_begun:
            self._producer.outdo(reply.header["instance"])
            self._send()
        else:
            self._fail_all(error)

    def _fail_all(self, error: MsgQueueError) -> None:
        self._unsent.clear()
        for batch in list(self.unconfirmed.values()):
            self._finish(batch, error)

    def _forgotten(self, batch: PutBatch, error: MsgQueueError, now: int) -> None:
        """The queue was made anew, or nothing was put for a day: the instance begins once more."""
        self._base = None
        super()._forgotten(batch, error, now)
