"""A simulated producer: batches with sequences, sent again until each has its answer.

Law: a put is noted before it is first sent; it counts as refused only when every sending of it
was refused by name, for only then may it never appear.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

from broker.errors import OutcomeUnknown, ProducerExpired
from broker.testing.client import Clients, Header, SimulatedClient
from broker.testing.features import Dresser
from broker.testing.history import Kind
from broker.testing.schedule import MS

#: (slot, epoch, queue, first, count) of a confirm that names positions
Confirmed = Callable[[int, int, str, int, int], None]


class Batch:
    """One put; ``sent`` and ``refused`` count its sendings and their refusals by name."""

    __slots__ = (
        *("failed", "fields", "frames", "ids", "refused", "retry_at_us", "sent", "seq"),
        "waits",
    )

    def __init__(
        self, seq: int, ids: list[str], fields: dict[str, Any], columns: tuple[bytes, ...]
    ) -> None:
        self.seq = seq
        self.ids = ids
        self.fields = fields
        self.frames = (*columns, msgpack.packb([message.encode() for message in ids]))
        self.sent = 0
        self.refused = 0
        #: True when any sending of it failed: its place among its neighbours is open.
        self.failed = False
        #: True while a sending of it has no answer on this connection.
        self.waits = False
        self.retry_at_us = 0


class Stream:
    """One producer id on one queue."""

    def __init__(self, queue: str, producer: bytes) -> None:
        self.queue = queue
        self.producer = producer
        self.next_seq = 0
        self.known = False
        self.unconfirmed: list[Batch] = []


class Producer(SimulatedClient):
    """Puts about every ``interval_us`` until ``stop``; ``window`` batches a queue at most."""

    #: How it puts, and which field says where.
    COMMAND, PLACE = "put", "queue"

    def __init__(
        self,
        name: str,
        clients: Clients,
        random: Random,
        queues: list[str],
        interval_us: int,
        window: int,
        confirmed: Confirmed,
        dresser: Dresser,
    ) -> None:
        super().__init__(name, clients, random)
        self._dresser = dresser
        self._interval_us = interval_us
        self._window = window
        self._confirmed = confirmed
        self._streams = [Stream(queue, f"{name}-{queue}".encode()) for queue in queues]
        self._messages = 0
        self.is_stopped = False
        #: How often what was refused by name is not sent again.
        self.gives_up = 0.2
        #: Messages whose order among their producer's others is not promised.
        self.unordered: set[str] = set()

    def start(self) -> None:
        super().start()
        self._put_later()

    def stop(self) -> None:
        self.is_stopped = True

    @property
    def unanswered(self) -> int:
        return sum(len(stream.unconfirmed) for stream in self._streams)

    def note(self, stream: Stream, kind: Kind, messages: list[str]) -> None:
        """What became of messages, for the checkers."""
        self.clients.history.record(stream.queue, kind, self.name, messages)

    # Putting

    def _put_later(self) -> None:
        delay_us = int(self._interval_us * (0.5 + self.random.random()))
        self.schedule.after(delay_us, f"{self.name} puts", self._put)

    def _put(self) -> None:
        if self.is_stopped:
            return
        self._put_later()
        stream = self.random.choice(self._streams)
        if stream.queue not in self.clients.declared:
            return
        # The first is awaited, so that no later one meets a queue that does not know us.
        window = self._window if stream.known else 1
        if self.has_session and len(stream.unconfirmed) < window:
            batch = self._make_batch(stream)
            self.note(stream, Kind.PUT, batch.ids)
            stream.unconfirmed.append(batch)
            self._send(stream, batch)

    def _make_batch(self, stream: Stream) -> Batch:
        count = self.random.randint(1, 3)
        ids = [f"{self.name}.{self._messages + n}" for n in range(count)]
        self._messages += count
        stream.next_seq += 1
        dress = self._dresser.dress(stream.queue, ids, self.schedule.now_us)
        return Batch(stream.next_seq - 1, ids, *dress)

    def _send(self, stream: Stream, batch: Batch) -> None:
        batch.sent += 1
        batch.waits = True
        fields: dict[str, Any] = {
            self.PLACE: stream.queue,
            "count": len(batch.ids),
            "producer": stream.producer,
            "seq": batch.seq,
            **batch.fields,
        }
        self.ask(
            lambda header: self._answered(stream, batch, header),
            self.COMMAND,
            *batch.frames,
            **fields,
        )

    def in_session(self) -> None:
        """All that is unconfirmed again, in its order."""
        for stream in self._streams:
            for batch in stream.unconfirmed:
                self._send(stream, batch)

    # Answers

    def _answered(self, stream: Stream, batch: Batch, header: Header) -> None:
        batch.waits = False
        if header["re"] == "ok":
            self._confirm(stream, batch, header)
            return
        batch.failed = True
        self.unordered.update(batch.ids)
        code = header["code"]
        if code == ProducerExpired.code:
            if stream.known:
                self.clients.complain(f"{self.name}: a confirmed producer expired: {header}")
            batch.refused += 1
        elif not self.require_retryable(header):
            return
        elif code != OutcomeUnknown.code:
            batch.refused += 1
        if batch.seq and batch.refused == batch.sent and self.random.random() < self.gives_up:
            stream.unconfirmed.remove(batch)
            self.note(stream, Kind.REFUSED, batch.ids)
            return
        delay_us = int((20 + 300 * self.random.random()) * MS)
        batch.retry_at_us = self.schedule.now_us + delay_us
        self.schedule.after(delay_us, f"{self.name} puts again", self._retry, stream)

    def _retry(self, stream: Stream) -> None:
        if not self.has_session:
            return
        for batch in stream.unconfirmed:
            if not batch.waits and batch.retry_at_us <= self.schedule.now_us:
                self._send(stream, batch)

    def _confirm(self, stream: Stream, batch: Batch, header: Header) -> None:
        stream.known = True
        stream.unconfirmed.remove(batch)
        taken, known = self._taken(batch, header)
        self.note(stream, Kind.CONFIRMED, taken)
        if known:
            self.note(stream, Kind.KNOWN, known)
        if "first" in header:
            place = (header["first"], header["count"])
            self._confirmed(header["slot"], header["epoch"], stream.queue, *place)

    def _taken(self, batch: Batch, header: Header) -> tuple[list[str], list[str]]:
        """(messages that were taken, messages whose id was there already); who asks twice is not
        told which were."""
        known = {batch.ids[index] for index in header.get("duplicates", ())}
        taken = [message for message in batch.ids if message not in known]
        if header.get("duplicate"):
            taken = [message for message in taken if not self._dresser.shares_id(message)]
        return taken, sorted(known)
