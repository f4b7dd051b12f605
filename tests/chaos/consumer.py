"""One consumer process: takes, holds some deliveries for a while, acknowledges or gives back.

    python -m tests.chaos.consumer ENDPOINT HISTORY SEED

Every settle asks for its confirm, and is sent again to a broker that was restarted, or that was
told that the queue changes its owner.  Law: a delivery is noted before its settle is sent, a
settle when its confirm has come.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from broker.testing.history import Kind
from tests.chaos.load import QUEUE, read_id, reign_of, stop_on_sigterm
from tests.chaos.wire import Received, Wire
from tests.checkers.history import Recorder
from tests.support.waiting import DEADLINE_S

CREDIT = 500
HELD_RUNS_MAX = 20
POLL_MS = 100
PING_S = 0.3
BEGIN_S = 1.0
SESSION_MS = 5_000
#: The queue has no owner for a moment, or the answer was lost with it: ask again.
PASSING = frozenset(("not_primary", "not_enough_replicas", "outcome_unknown", "shutting_down"))


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive positions of one delivery, with the reign that delivered them."""

    tag: bytes
    epoch: int
    first: int
    attempts: int
    ids: Sequence[str]

    def part(self, start: int, stop: int) -> Run:
        return Run(self.tag, self.epoch, self.first + start, self.attempts, self.ids[start:stop])

    def without(self, lost: Sequence[Sequence[int]]) -> Run:
        """The same less the positions in ``lost``; what is left need not be consecutive."""
        gone = {position for first, count, *_ in lost for position in range(first, first + count)}
        kept = [m for position, m in enumerate(self.ids, self.first) if position not in gone]
        return Run(self.tag, self.epoch, self.first, self.attempts, kept)


class Consumer:
    def __init__(self, wire: Wire, recorder: Recorder, chance: random.Random) -> None:
        self._wire = wire
        self._recorder = recorder
        self._chance = chance
        self._session: bytes | None = None
        #: The highest that the broker told: what is of an older reign comes from a former owner.
        self._epoch = 0
        self._consume_request = 0
        self._held: list[Run] = []
        #: Settles with no answer yet: request number -> (command, run).
        self._unconfirmed: dict[int, tuple[str, Run]] = {}
        #: Settles that may be taken later or elsewhere.
        self._refused: list[tuple[str, Run]] = []
        #: Requests whose refusal says nothing: the consumer may be gone already.
        self._cancels: set[int] = set()
        #: False while a settle gives no credit back: it is sent again, or nothing more is taken.
        self._credits = True
        #: True once there is a session or a consumer to begin anew.
        self._is_lost = True
        self._has_session = False
        self._hello_request = 0
        self._began_at = -BEGIN_S
        self._pinged_at = 0.0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._turn()
            if self._held and len(self._held) >= self._chance.randint(1, HELD_RUNS_MAX):
                self._settle_held()
        self._end()

    def _end(self) -> None:
        """Takes no more, and waits for the confirms of all settles."""
        self._credits = False
        self._cancels.add(self._wire.send("cancel", consumer=1))
        ends_at = time.monotonic() + DEADLINE_S
        while self._held or self._unconfirmed or self._refused:
            self._settle_held()
            self._turn()
            waiting = [*self._unconfirmed.values(), *self._refused]
            assert time.monotonic() < ends_at, f"settles without an answer: {waiting}"

    def _turn(self) -> None:
        received = self._wire.receive(POLL_MS)
        if received is None:
            self._settle_held()
        elif received.header["re"] == "messages":
            self._delivered(received)
        else:
            self._answered(received.header)
        if self._is_lost:
            self._begin_again()
        if time.monotonic() - self._pinged_at > PING_S:
            self._pinged_at = time.monotonic()
            self._wire.send("ping")

    def _delivered(self, received: Received) -> None:
        tag = received.header["tag"]
        epoch = reign_of(tag)
        if epoch < self._epoch:
            return
        self._epoch = epoch
        elements = iter(msgpack.unpackb(received.frames[-1]))
        for fields in received.header["runs"]:
            ids = [_id_of(next(elements)) for _ in range(fields["count"])]
            run = Run(tag, epoch, fields["first"], fields.get("attempts", 0), ids)
            self._record(Kind.DELIVERED, run)
            self._held.append(run)

    def _settle_held(self) -> None:
        held, self._held = self._held, []
        for run in held:
            count = len(run.ids)
            cut = self._chance.randrange(count) if self._chance.random() < 0.05 else count
            if cut:
                self._settle("ack", run.part(0, cut))
            if cut < count:
                self._settle("nack", run.part(cut, count))

    def _settle(self, cmd: str, run: Run) -> None:
        count = len(run.ids)
        fields: dict[str, Any] = {"consumer": 1, "credit": count} if self._credits else {}
        if cmd == "nack":
            fields["delay_ms"] = self._chance.randrange(200)
        ranges = [[run.first, count, run.attempts]]
        number = self._wire.send(cmd, queue=QUEUE, tag=run.tag, ranges=ranges, **fields)
        self._unconfirmed[number] = (cmd, run)

    def _answered(self, header: dict[str, Any]) -> None:
        error = header.get("error")
        request = header.get("req")
        if header["re"] == "closed":
            self._has_session, self._is_lost = False, True
        elif error == "no_session":
            # One that answers what was sent before the hello tells nothing new.
            if header["req"] > self._hello_request:
                self._has_session, self._is_lost = False, True
        elif header["re"] == "welcome":
            self._session = header["session"]
        elif error in PASSING:
            self._is_lost = True
            if request in self._unconfirmed:
                self._refused.append(self._unconfirmed.pop(request))
        elif request in self._unconfirmed:
            self._settled(header, *self._unconfirmed.pop(request))
        elif request == self._consume_request and error is None:
            self._epoch = max(self._epoch, header["epoch"])
        elif error is not None and request not in self._cancels:
            raise RuntimeError(f"the broker refused: {header}")

    def _settled(self, header: dict[str, Any], cmd: str, run: Run) -> None:
        if header["re"] == "failed":
            if header["error"] != "lease_lost":
                raise RuntimeError(f"the broker refused a settle: {header}")
            run = run.without(header["lost"])
        self._record(Kind.ACKED if cmd == "ack" else Kind.NACKED, run)

    def _begin_again(self) -> None:
        """All at once: the broker takes what one connection sends in its order."""
        if time.monotonic() - self._began_at < BEGIN_S:
            return
        self._began_at = time.monotonic()
        self._is_lost, self._credits = False, False
        if self._has_session:
            self._cancels.add(self._wire.send("cancel", consumer=1))
            unanswered = []
        else:
            unanswered, self._unconfirmed = list(self._unconfirmed.values()), {}
            resume = {} if self._session is None else {"resume": self._session}
            hello = self._wire.send("hello", client="chaos", timeout_ms=SESSION_MS, **resume)
            self._has_session, self._hello_request = True, hello
        self._consume_request = self._wire.send("consume", queue=QUEUE, consumer=1, credit=CREDIT)
        refused, self._refused = self._refused, []
        for cmd, run in unanswered + refused:
            self._settle(cmd, run)
        self._credits = True

    def _record(self, kind: Kind, run: Run) -> None:
        if not run.ids:
            return
        positions = range(run.first, run.first + len(run.ids)) if kind is Kind.DELIVERED else ()
        attempts = [run.attempts] * len(run.ids)
        # A settle that was sent again is taken in the reign that answers now, or before.
        until = 0 if kind is Kind.DELIVERED else self._epoch
        self._recorder.record(kind, run.ids, positions, attempts, run.epoch, until)


def _id_of(element: Any) -> str:
    """An element is a body, or a body with headers."""
    return read_id(element if isinstance(element, bytes) else element[0])


def main(endpoint: str, history: str, seed: str) -> None:
    stop = stop_on_sigterm()
    path = Path(history)
    with Recorder(path, path.stem) as recorder, Wire(endpoint) as wire:
        Consumer(wire, recorder, random.Random(int(seed))).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
