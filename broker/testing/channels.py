"""Simulated publishers and readers of channels, and the checkers of what they saw.

A publisher is a producer that publishes.  A reader follows a channel by its history, begins again
from the oldest now and then, and so sees what each reign has to show.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from random import Random
from typing import Any

import msgpack

from broker.names import CHANNEL_PREFIX
from broker.testing.channel_settings import CHANNELS
from broker.testing.client import Clients, Header, SimulatedClient
from broker.testing.delivery import check_producer_order
from broker.testing.history import Event, Kind
from broker.testing.network import Frames
from broker.testing.producer import Producer
from broker.testing.schedule import MS
from broker.testing.verdict import Verdict

_AGAIN = 0.1
_FOLLOW_US = 250 * MS


class Publisher(Producer):
    COMMAND, PLACE = "publish", "channel"


class Reader(SimulatedClient):
    """Declares one channel and follows it."""

    def __init__(self, name: str, clients: Clients, random: Random, channel: str) -> None:
        super().__init__(name, clients, random)
        self._channel = channel
        self._settings = CHANNELS[channel]
        self._after = -1
        #: The newest reign that it has heard of.
        self._epoch = 0
        self._seen: set[str] = set()
        #: How often a session began.  A hello may be said again on the same connection, and what
        #: waited in the session before must not read beside this one.
        self._sessions = 0

    @property
    def unanswered(self) -> int:
        """What was confirmed and not seen, where all of it is kept."""
        if self._channel != "feed":
            return 0
        events = self.clients.history.queues.get(self._channel, ())
        confirmed = {m for event in events if event.kind is Kind.CONFIRMED for m in event.ids}
        return len(confirmed - self._seen)

    def in_session(self) -> None:
        self._sessions += 1
        if self._channel in self.clients.declared:
            self._read()
        else:
            fields = {"channel": self._channel, "settings": self._settings}
            self.ask(self._declared, "declare_channel", **fields)

    def _declared(self, header: Header) -> None:
        if header["re"] == "ok":
            self.clients.declared.add(self._channel)
            self._read()
        elif self.require_retryable(header):
            self._later(self.in_session)

    def _later(self, act: Any) -> None:
        session = self._sessions

        def go_on() -> None:
            if self._sessions == session and self.has_session:
                act()

        delay_us = int(_FOLLOW_US * (0.5 + self.random.random()))
        self.schedule.after(delay_us, f"{self.name} goes on", go_on)

    # Reading

    def _read(self) -> None:
        if self.random.random() < _AGAIN:
            self._after = -1
        fields: dict[str, Any] = {"after": self._after, "max": self.random.choice([3, 20, 500])}
        if self._epoch:
            fields["epoch"] = self._epoch
        self.ask(self._refused, "history", channel=self._channel, **fields)

    def _refused(self, header: Header) -> None:
        if self.require_retryable(header):
            self._later(self._read)

    def told(self, header: Header, frames: Frames) -> None:
        if self.take_request(header["req"]) is None:
            return
        bodies = iter(msgpack.unpackb(frames[-1]))
        ids: list[str] = []
        sequences: list[int] = []
        for run in header["runs"]:
            ids += [next(bodies).decode() for _ in range(run["count"])]
            sequences += range(run["first"], run["first"] + run["count"])
        self._require_whole(header, sequences)
        self._seen.update(ids)
        record = self.clients.history.record
        record(self._channel, Kind.DELIVERED, self.name, ids, sequences, epoch=header["epoch"])
        self._epoch = max(self._epoch, header["epoch"])
        self._after = header["after"]
        if header["more"]:
            self._read()
        else:
            self._later(self._read)

    def _require_whole(self, header: Header, sequences: list[int]) -> None:
        """A page follows on what is asked for, and has no hole."""
        first = max(self._after + 1, header["oldest"])
        if sequences != list(range(first, first + len(sequences))):
            self.clients.complain(f"{self.name} asked for {first} and got {sequences}")
        if sequences and header["after"] != sequences[-1]:
            self.clients.complain(f"{self.name} got {sequences[-1]}, and is to follow {header}")
        kept = self._settings["history_messages"]
        if header["next"] - header["oldest"] > kept:
            self.clients.complain(f"{self.name} is shown more than {kept}: {header}")
        if self._channel == "ring" and header["next"] - header["oldest"] < min(
            kept, header["next"]
        ):
            self.clients.complain(f"{self.name} is shown less than {kept}: {header}")


def hidden_queue(channel: str) -> str:
    return CHANNEL_PREFIX + channel


# Checkers


def check_channels(
    histories: dict[str, list[Event]], unordered: Container[str], is_drained: bool
) -> Iterator[Verdict]:
    for channel in CHANNELS:
        if channel not in histories:
            continue
        events = histories[channel]
        yield check_sequences(events, loses=channel != "feed" or not is_drained)
        yield check_producer_order(events, unordered)


def check_sequences(events: Sequence[Event], *, loses: bool) -> Verdict:
    """Over all reigns a sequence names one message, and a message has one sequence; what was
    confirmed is there, unless the channel keeps only the newest; nothing else is there."""
    at: dict[int, set[str]] = defaultdict(set)
    places: dict[str, set[int]] = defaultdict(set)
    known: dict[Kind, set[str]] = defaultdict(set)
    for event in events:
        if event.kind is not Kind.DELIVERED:
            known[event.kind].update(event.ids)
            continue
        for message, sequence in zip(event.ids, event.positions, strict=True):
            at[sequence].add(message)
            places[message].add(sequence)
    breaches = [f"sequence {s} is of {sorted(m)}" for s, m in sorted(at.items()) if len(m) > 1]
    breaches += [f"doubled: {m} at {sorted(s)}" for m, s in sorted(places.items()) if len(s) > 1]
    seen = places.keys()
    breaches += [f"unexpected: {message}" for message in sorted(seen - known[Kind.PUT])]
    refused = sorted(seen & known[Kind.REFUSED])
    breaches += [f"refused, yet there: {message}" for message in refused]
    if not loses:
        breaches += [f"lost: {message}" for message in sorted(known[Kind.CONFIRMED] - seen)]
    return Verdict("channel", tuple(breaches), {"seen": len(seen)})
