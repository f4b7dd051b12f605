"""One service: its workers, who of them is next, and the calls that wait for one.

    idle     all places free, longest idle first        the next call goes to the first of these,
    spare    some places free, longest unused first     else to the first of these,
    waiting  calls in the order of their coming         else it waits here

Law: no call waits while a worker has a place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from broker.core.services.call import Call, Worker
from broker.core.services.switchboard import COUNTED, Switchboard
from broker.limits import CALLS_WAITING_MAX, WORKERS_GATHER
from broker.model.replies import Reply

_NUMBER_BYTES = 8


class Service:
    """``serving_since`` is when the slot's reign began here, of ``epoch``."""

    __slots__ = (
        "_idle",
        "_prefix",
        "_spare",
        "board",
        "counters",
        "gathers_until",
        "home",
        "leaving",
        "name",
        "waiting",
        "workers",
    )

    def __init__(
        self,
        name: str,
        epoch: int,
        serving_since: int,
        board: Switchboard,
        home: dict[str, Service],
    ) -> None:
        self.name = name
        self.board = board
        #: The slot's services, where it is found as long as there is something to find.
        self.home = home
        #: Calls wait for a first worker until then: it may be on its way.
        self.gathers_until = serving_since + WORKERS_GATHER
        #: Of the ids of calls: no other reign gives the same.
        self._prefix = epoch.to_bytes(_NUMBER_BYTES, "big")
        #: All that serve, in the order of their coming; dicts for their order.
        self.workers: dict[Worker, None] = {}
        #: Those that finish what they have in hand.
        self.leaving: dict[Worker, None] = {}
        self._idle: OrderedDict[Worker, None] = OrderedDict()
        self._spare: OrderedDict[Worker, None] = OrderedDict()
        self.waiting: OrderedDict[Call, None] = OrderedDict()
        self.counters = dict.fromkeys(COUNTED, 0)

    def count(self, name: str) -> None:
        self.counters[name] += 1
        self.board.count(name)

    @property
    def is_served(self) -> bool:
        """True while calls are taken: somebody serves it, or may be about to."""
        return bool(self.workers) or self.board.now < self.gathers_until

    def maybe_vanish(self) -> None:
        """Nothing is kept of a service that has no worker and no call."""
        if not self.workers and not self.waiting and not self.leaving:
            self.home.pop(self.name, None)
            self.board.gathering.pop(self, None)

    # Workers

    def add(self, worker: Worker) -> None:
        self.workers[worker] = None
        self._idle[worker] = None
        self.board.gathering.pop(self, None)
        self.feed()

    def dismiss(self, worker: Worker) -> None:
        """It takes no more; what it has in hand stays its own."""
        worker.is_leaving = True
        del self.workers[worker]
        self.take_out(worker)
        if worker.held:
            self.leaving[worker] = None
        else:
            del worker.session.workers[worker.number]

    def free_worker(self) -> Worker | None:
        """The next one in turn, taken out of its line; ``give`` puts it where it then belongs."""
        if self._idle:
            return self._idle.popitem(last=False)[0]
        if self._spare:
            return self._spare.popitem(last=False)[0]
        return None

    def in_turn(self) -> Iterator[Worker]:
        """All workers, those first that would be given a call first."""
        yield from self._idle
        yield from self._spare
        yield from (worker for worker in self.workers if not worker.places)

    def take_out(self, worker: Worker) -> None:
        """Out of its line, whatever its turn."""
        self._idle.pop(worker, None)
        self._spare.pop(worker, None)

    # Calls and workers

    def enter(self, call: Call, body: bytes) -> bool:
        """Gives the call to a worker, or lets it wait; False when too many wait."""
        board = self.board
        if call.is_idempotent and not board.has_room_for(body):
            return False
        worker = self.free_worker()
        if worker is not None:
            if call.is_idempotent:
                board.keep_body(call, body)
            self.give(worker, call, body)
            return True
        if len(self.waiting) >= CALLS_WAITING_MAX or not board.has_room_for(body):
            return False
        board.keep_body(call, body)
        self.waiting[call] = None
        if not self.workers:
            board.gathering[self] = None
        return True

    def enter_again(self, calls: list[Call]) -> None:
        """Their worker was lost: they go ahead of all that wait, in their order."""
        for call in reversed(calls):
            call.worker = None
            self.waiting[call] = None
            self.waiting.move_to_end(call, last=False)
        self.feed()

    def feed(self) -> None:
        """What waits goes to who has places."""
        while self.waiting:
            worker = self.free_worker()
            if worker is None:
                return
            self._give_waiting(worker)

    def _give_waiting(self, worker: Worker) -> None:
        call, _ = self.waiting.popitem(last=False)
        body = call.body
        if not call.is_idempotent:
            self.board.drop_body(call)
        self.give(worker, call, body)

    def give(self, worker: Worker, call: Call, body: bytes) -> None:
        """The worker is out of its line; it stands in the right one afterwards."""
        board = self.board
        call.attempt += 1
        call.worker = worker
        call.id = self._prefix + board.next_number().to_bytes(_NUMBER_BYTES, "big")
        worker.held[call.id] = call
        worker.places -= 1
        if worker.places:
            self._spare[worker] = None
        header: dict[str, Any] = {
            "re": "request",
            "service": self.name,
            "worker": worker.number,
            "call": call.id,
            "timeout_ms": call.ends_at - board.now,
            "attempt": call.attempt,
        }
        if call.is_stream:
            header["stream"] = True
        if call.content:
            header.update(call.content)
        board.replies.append(Reply(worker.session.peer, header, (body,)))

    def take_back(self, worker: Worker, call: Call) -> None:
        """The worker is done with a call: its place is for the next one."""
        del worker.held[call.id]
        worker.places += 1
        if worker.is_leaving:
            if not worker.held:
                del worker.session.workers[worker.number]
                del self.leaving[worker]
                self.maybe_vanish()
        elif worker.line:
            share, _ = worker.line.popitem(last=False)
            self.give(worker, share, share.whole.body)
        elif self.waiting:
            self._give_waiting(worker)
        elif worker.places == worker.concurrency:
            self._spare.pop(worker, None)
            self._idle[worker] = None
        else:
            self._spare[worker] = None
