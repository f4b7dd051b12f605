"""One queue as its primary serves it: the ledger, and the volatile side that a new epoch rebuilds.

Where an unsettled, committed message can be, exactly one of:
  - ahead in its lane's stream (``streams``), never handed out since this epoch began;
  - in flight (``leases``);
  - came back and is ready (``back``), or rests until an instant (``resting``);
  - leaving: named by a proposed entry that is not committed yet (counted in ``leaving``);
  - on its way to another queue (``departing``), until that one has taken it.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from broker import limits
from broker.core.books.bodies import Bodies
from broker.core.books.lane_stream import LaneStream, WindowPart
from broker.core.books.lease_book import LeaseBook
from broker.core.books.ledger import Ledger
from broker.core.books.portion import Portion
from broker.core.books.range_map import RangeMap
from broker.core.channels.channel import Channel
from broker.core.choosing.choice import Choice
from broker.core.choosing.fitting_choice import fit_choice
from broker.core.choosing.flow import Flow, flow_of
from broker.core.choosing.line import Line
from broker.core.choosing.rates import Rates
from broker.core.session import Consumer, Getter
from broker.model.entries import BatchPut, LaneTotals, Move, SettleReason
from broker.model.settings import Overflow, QueueSettings
from broker.model.stored_batch import Extent, StoredBatch

#: What left unacknowledged has a counter for its reason.
_COUNTED_AS = {
    SettleReason.REJECTED: "rejected",
    SettleReason.EXPIRED: "expired",
    SettleReason.EXHAUSTED: "exhausted",
    SettleReason.OVERFLOWED: "overflowed",
    SettleReason.REMOVED: "removed",
}


class QueueCounters:
    """Counts since this broker began to serve the queue; each only rises.

    What was ``rejected``, ``expired``, ``exhausted`` or ``overflowed`` is ``dead_lettered`` or
    ``dropped``, as the queue has a dead-letter queue or not.
    """

    __slots__ = (
        "acked",
        "dead_lettered",
        "delivered",
        "dropped",
        "duplicates",
        "exhausted",
        "expired",
        "lease_ended",
        "nacked",
        "overflowed",
        "purged",
        "put",
        "redelivered",
        "redriven",
        "rejected",
        "removed",
        "spread",
    )

    def __init__(self) -> None:
        self.put = 0
        self.duplicates = 0
        self.delivered = 0
        self.redelivered = 0
        self.acked = 0
        self.nacked = 0
        self.rejected = 0
        self.expired = 0
        self.exhausted = 0
        self.overflowed = 0
        self.dead_lettered = 0
        self.dropped = 0
        self.redriven = 0
        self.removed = 0
        self.spread = 0
        self.purged = 0
        self.lease_ended = 0

    def note_removed(self, reason: SettleReason, messages: int) -> None:
        name = _COUNTED_AS.get(reason, "acked")
        setattr(self, name, getattr(self, name) + messages)

    def as_map(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Queue:
    __slots__ = (
        "back",
        "channel",
        "choice",
        "claimed",
        "consumers",
        "counters",
        "deleted",
        "departing",
        "drops",
        "flow",
        "getters",
        "hungry",
        "is_bounded",
        "is_partitioned",
        "is_stuck",
        "is_transient",
        "leases",
        "leaving",
        "ledger",
        "open_ids",
        "open_put",
        "order",
        "proposed_bytes",
        "proposed_messages",
        "proposed_next",
        "purging",
        "rates",
        "resting",
        "resting_until",
        "settings",
        "settling_bytes",
        "settling_messages",
        "streams",
        "tag",
        "undue",
        "wake_at",
    )

    def __init__(self, ledger: Ledger, tag: bytes, now: int) -> None:
        self.ledger = ledger
        #: True for a queue whose messages are in memory alone; fixed when it is made.
        self.is_transient = ledger.settings.is_transient
        self.leases = LeaseBook()
        self.adopt(ledger.settings)
        #: What a delivery carries and a settle brings back (see tags.py).
        self.tag = tag
        self.streams: dict[int, LaneStream] = {}
        #: lane of immediate messages -> portions that are ready again, or came due
        self.back: dict[int, RangeMap[Portion]] = {}
        self.resting: RangeMap[Portion] = RangeMap()
        #: heap of (not_before, first, count)
        self.resting_until: list[tuple[int, int, int]] = []
        #: Positions ahead of the windows that an older epoch's holder has settled or taken again.
        self.claimed: RangeMap[None] = RangeMap()
        self.leaving = 0
        #: One range a move; see outbox.py.
        self.departing: RangeMap[Move] = RangeMap()
        #: Delayed messages whose instant has not come; they are only on disk.
        self.undue = 0
        #: Purges proposed and not yet committed; until then nothing is handed on.
        self.purging = 0
        #: next_position and totals with everything proposed counted in.
        self.proposed_next = ledger.next_position
        self.proposed_messages = 0
        self.proposed_bytes = 0
        #: What proposed entries remove, until they are applied.
        self.settling_messages = 0
        self.settling_bytes = 0
        #: True while more is held than the limits allow and nothing of it can be dropped.
        self.is_stuck = False
        #: The turn's last put, to which the next one may be joined.
        self.open_put: BatchPut | None = None
        #: Hashes of the ids that were put in this turn; their rows are not written yet.
        self.open_ids: set[bytes] = set()
        #: Consumers and waiting gets by identity; those that would take more stand in ``hungry``.
        self.consumers: dict[int, Consumer] = {}
        self.getters: dict[int, Getter] = {}
        self.hungry = Line()
        self.order = 0
        self.wake_at: int | None = None
        self.deleted = False
        self.counters = QueueCounters()
        self.rates = Rates(now)
        #: Of a hidden queue that holds the history of a channel.
        self.channel: Channel | None = None
        #: Where messages are chosen by keys or selectors.
        self.choice: Choice | None = None
        fit_choice(self)

    @property
    def name(self) -> str:
        return self.ledger.name

    def adopt(self, settings: QueueSettings) -> None:
        """From now on work is done by these settings: the ledger's, or newer ones that are proposed
        and precede that work in the log."""
        self.settings = settings
        self.flow: Flow | None = flow_of(settings)
        self.is_bounded = settings.max_messages is not None or settings.max_bytes is not None
        self.is_partitioned = settings.partitions > 1
        #: True where a put that finds the queue full drives older messages out.
        self.drops = self.is_bounded and settings.overflow != Overflow.REJECT
        self.leases.weigh(settings.max_bytes is not None)

    def note_settling(self, totals: LaneTotals) -> None:
        """Messages are removed by an entry that is proposed; from now on they are leaving."""
        for messages, size in totals.values():
            self.leaving += messages
            self.settling_messages += messages
            self.settling_bytes += size

    def note_settled(self, totals: LaneTotals) -> None:
        """The entry is applied."""
        for messages, size in totals.values():
            self.leaving -= messages
            self.settling_messages -= messages
            self.settling_bytes -= size

    @property
    def ready(self) -> int:
        if self.purging:
            return 0
        away = self.leases.messages + self.resting.positions + self.leaving + self.undue
        return self.ledger.messages - away - self.departing.positions

    @property
    def has_takers(self) -> bool:
        return bool(self.consumers or self.getters)

    def begin_epoch(self) -> None:
        """Builds the volatile side from the ledger: what was in flight is ready, uncharged."""
        self.adopt(self.ledger.settings)
        self.proposed_next = self.ledger.next_position
        lanes = [
            (number, lane)
            for number, lane in sorted(self.ledger.lanes.items())
            if number < limits.DELAYED_LANES
        ]
        self.streams = {number: LaneStream(number, lane.swept) for number, lane in lanes}
        for low, size, value in self.ledger.attempted:
            for first, count in self.staying_ranges(low, size):
                portion = Portion(value.extent, first, count, value.attempts)
                self.give_back(portion, value.not_before)
        self.undue = self._count_undue([])
        for number, lane in lanes:
            for low, high in lane.held:
                extent = Extent(number, low, high - low)
                for first, count in self.fresh_ranges(low, high - low):
                    self.give_back(Portion(extent, first, count, 0), 0)
        self.choice = None
        fit_choice(self)

    def fresh_ranges(self, first: int, count: int) -> list[tuple[int, int]]:
        """The parts of a range that are neither settled nor departing, nor claimed, nor were tried
        before."""
        fresh = self.ledger.settled.live_ranges(first, count)
        for other in (self.ledger.attempted, self.claimed, self.departing):
            if len(other):
                taken = other.overlapping(first, count)
                fresh = without(fresh, [(low, size) for low, size, _ in taken])
        return fresh

    def staying_ranges(self, first: int, count: int) -> list[tuple[int, int]]:
        """The parts of a range that do not depart."""
        away = self.departing.overlapping(first, count) if len(self.departing) else []
        return without([(first, count)], [(low, size) for low, size, _ in away])

    def forget_claimed(self, ranges: Iterable[tuple[int, int]]) -> None:
        """The ledger knows by now what became of them."""
        for first, count in ranges:
            self.claimed.take(first, count)

    def give_back(self, portion: Portion, not_before: int) -> None:
        """Puts a portion back to its original place, ready at ``not_before``."""
        if not_before:
            self.resting.add(portion.first, portion.count, portion)
            heappush(self.resting_until, (not_before, portion.first, portion.count))
            if self.choice is not None:
                self.choice.rests(portion.extent.lane, portion.first, portion.count)
        else:
            number = portion.extent.lane % limits.DELAYED_LANES
            self.stream_of(number)
            self.back.setdefault(number, RangeMap()).add(portion.first, portion.count, portion)
            if self.choice is not None:
                self.choice.returned(portion.extent.lane, portion.first, portion.count)

    def end_rests(self, now: int) -> None:
        while self.resting_until and self.resting_until[0][0] <= now:
            _, first, count = heappop(self.resting_until)
            for start, length, value in self.ledger.attempted.overlapping(first, count):
                # Some may have been claimed meanwhile and rest anew, until later.
                if value.not_before <= now:
                    for low, size, portion in self.resting.take(start, length):
                        self.give_back(portion.part(low, size, portion.attempts), 0)

    def forget_purged(self, up_to: int, leaving: list[tuple[int, int]]) -> None:
        """A purge was applied: what it settled is neither ahead, nor ready, nor resting.

        ``leaving`` are (lane, messages) of the entries that are not committed yet.
        """
        for stream in self.streams.values():
            stream.skip_to(up_to)
        self.claimed = RangeMap()
        for book in self._books():
            waiting = list(book)
            book.clear()
            for first, count, portion in waiting:
                for low, size in self.ledger.settled.live_ranges(first, count):
                    book.add(low, size, portion)
        self.undue = self._count_undue(leaving)
        if self.choice is not None:
            self.choice.purged()

    def _count_undue(self, leaving: list[tuple[int, int]]) -> int:
        """Delayed messages in no book; ``leaving`` are (lane, messages) on their way."""
        held = [(p.extent.lane, count) for book in self._books() for _, count, p in book]
        held += [(lease.portion.extent.lane, count) for _, count, lease in self.leases.ranges]
        held += [(move.extent.lane, count) for _, count, move in self.departing]
        away = sum(count for lane, count in held + leaving if lane >= limits.DELAYED_LANES)
        lanes = self.ledger.lanes.items()
        total = sum(lane.messages for number, lane in lanes if number >= limits.DELAYED_LANES)
        return total - away

    def _books(self) -> list[RangeMap[Portion]]:
        return [*self.back.values(), self.resting]

    def stream_of(self, lane: int) -> LaneStream:
        stream = self.streams.get(lane)
        if stream is None:
            # A lane's first batch is not behind anything: its stream starts at the ledger's mark.
            ledger = self.ledger.lanes.get(lane)
            swept = ledger.swept if ledger is not None else 0
            stream = self.streams[lane] = LaneStream(lane, swept)
            self.streams = dict(sorted(self.streams.items()))
        return stream

    def committed(self, batch: StoredBatch, window_bytes_max: int) -> None:
        """A put was applied: hand its bytes on from memory where the window reaches the tail."""
        stream = self.stream_of(batch.lane)
        has_room = stream.window_bytes < window_bytes_max
        if stream.complete and has_room and self.has_takers:
            stream.append(batch, batch.first, batch.count)
        else:
            stream.complete = False

    def peek(self, stream: LaneStream, bodies: Bodies) -> WindowPart | None:
        """The head of a lane's stream, read from disk when the window is empty."""
        while not stream.window:
            if stream.complete:
                return None
            self._load(stream, bodies)
        return stream.window[0]

    def _load(self, stream: LaneStream, bodies: Bodies) -> None:
        end = self.ledger.next_position
        batches = bodies.read(
            self.ledger.number,
            stream.lane,
            stream.loaded_to,
            end,
            limits.WINDOW_RECORDS,
            limits.READ_BYTES,
        )
        if not batches:
            stream.complete = True
            stream.loaded_to = end
        for batch in batches:
            stream.loaded_to = batch.end
            if batch.end <= self.ledger.settled.floor:
                continue
            for first, count in self.fresh_ranges(batch.first, batch.count):
                stream.append(batch, first, count)
            self.claimed.take(batch.first, batch.count)


def without(ranges: list[tuple[int, int]], taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """``ranges`` less ``taken``; both ascending, disjoint, as (first, count)."""
    left: list[tuple[int, int]] = []
    for first, count in ranges:
        low, end = first, first + count
        for start, size in taken:
            if start >= end or start + size <= low:
                continue
            if start > low:
                left.append((low, start - low))
            low = start + size
        if low < end:
            left.append((low, end - low))
    return left
