"""Which message goes next where that is not simply the first: keys and selectors.

    stream, what came due ...        sheets                        leases, resting, leaving
    (not looked at)          ------> ready, each in ``back`` ----> away
                                      |  blocked: its key is busy
                                      |  each selector's lens: which of them match

Owns no message.  Whatever is looked at and not taken lies in the queue's ``back`` book, as if it
had come back, so claims, purges, expiry and sweeps find it there; sheets are an index over that.
Laws: messages are looked at in their order, a bounded number a turn; of a key one message is away
at most, and a key is free when the end of that message is committed; a queue without keys and
selectors has no choice.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from broker import limits
from broker.core.books.bodies import Bodies
from broker.core.books.portion import Portion
from broker.core.books.range_map import RangeMap
from broker.core.choosing.key_lines import KeyLines
from broker.core.choosing.lens import Lens
from broker.core.choosing.picked import SMALL_BATCH_BYTES, Picked, fitting
from broker.core.choosing.reading import columns_of, matching_bits
from broker.core.choosing.sheet import (
    Sheet,
    lowest,
    lowest_index,
    number_of,
    position_of,
    rank_of,
    runs_of,
)
from broker.core.choosing.shelf import Shelf
from broker.errors import UnreadableMessage
from broker.model.selector import Selector
from broker.model.settings import Ordering
from broker.model.stored_batch import Extent, StoredBatch

if TYPE_CHECKING:
    from broker.core.claims import ClaimedPart
    from broker.core.queue import Queue

#: Lenses that are kept for takers to come, beside those in use.
_IDLE_LENSES = 16


class Choice:
    __slots__ = (
        "_budget",
        "_full",
        "_lenses",
        "_lines",
        "_parked",
        "_queue",
        "_shelf",
        "_to_hold",
        "_unlooked",
        "is_behind",
    )

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        is_keyed = queue.settings.ordering == Ordering.KEY
        self._shelf = Shelf(queue.ledger.number, with_keys=is_keyed)
        self._lines = KeyLines(self._shelf.find) if is_keyed else None
        self._lenses: dict[Selector | None, Lens] = {}
        #: Per lane of immediate messages: how many are ready and were looked at.
        self._parked: dict[int, int] = {}
        #: Lanes of which no more is looked at before some of it is taken.
        self._full: set[int] = set()
        #: Per such lane: what lies in ``back`` and was not looked at, with the lane of its batch.
        self._unlooked: dict[int, RangeMap[int]] = {}
        #: (lane, first, count) of what was away before there was a choice.
        self._to_hold: deque[tuple[int, int, int]] = deque()
        #: Messages that may still be looked at in this turn.
        self._budget = 0
        #: True when the turn's budget was too small.
        self.is_behind = False
        for book in queue.back.values():
            for first, count, portion in book:
                self._look_later(portion.extent.lane, first, count)
        if is_keyed:
            for first, count, portion in queue.resting:
                self._to_hold.append((portion.extent.lane, first, count))
            for first, count, lease in queue.leases.ranges:
                self._to_hold.append((lease.portion.extent.lane, first, count))

    @property
    def is_keyed(self) -> bool:
        return self._lines is not None

    @property
    def held_by_key(self) -> int:
        """Messages that were looked at and wait for another of their key."""
        return sum(sheet.blocked.bit_count() for sheet in self._shelf.sheets.values())

    def begin_turn(self) -> None:
        self._budget = limits.CHOICE_LOOKS_PER_TURN
        self.is_behind = False

    @property
    def has_more(self) -> bool:
        """Whether a turn from now would find more than this one has."""
        room = [n for n in self._full if self._parked.get(n, 0) < limits.CHOICE_WINDOW_MAX]
        self._full.difference_update(room)
        return self.is_behind or bool(room)

    # Taking

    def pick(
        self, bodies: Bodies, selector: Selector | None, messages: int, size: int
    ) -> list[Picked]:
        """Takes the next messages that match and whose keys are free: at most ``messages``, and no
        more once ``size`` bytes are reached."""
        picked: list[Picked] = []
        lens = self._lens_of(selector)
        while messages > 0 and size > 0:
            try:
                sheet = self._next(lens, bodies)
                batch = None if sheet is None else self._shelf.batch_of(sheet, bodies)
            except UnreadableMessage:
                # What was picked before it is good and leaves first.
                if picked:
                    break
                raise
            if sheet is None or batch is None:
                break
            bits = lowest(lens.seen(sheet), min(messages, fitting(batch, size)))
            alone = batch.size > SMALL_BATCH_BYTES and bits.bit_count() == batch.count
            if picked and (alone or not _share_columns(picked[-1].batch, batch)):
                break
            items = self._take(sheet, batch, bits)
            picked += items
            messages -= bits.bit_count()
            size -= sum(batch.bytes_between(item.first, item.count) for item in items)
            if alone:
                break
        return picked

    def _take(self, sheet: Sheet, batch: StoredBatch, bits: int) -> list[Picked]:
        taken = self._queue.back[sheet.number].take_all(runs_of(bits, sheet.first))
        items = [Picked(batch, first, count, portion.attempts) for first, count, portion in taken]
        self._unpark(sheet, bits)
        if self._lines is not None:
            sheet.away |= bits
        self._maybe_drop(sheet)
        return items

    def _next(self, lens: Lens, bodies: Bodies) -> Sheet | None:
        """The sheet of the next message for a lens, once all before it was looked at."""
        while not self.is_behind:
            if self._to_hold:
                self._hold_next(bodies)
                continue
            sheet = self._first_open(lens, bodies)
            rank = None if sheet is None else sheet.rank + lowest_index(lens.seen(sheet))
            number = self._unseen_before(rank, bodies)
            if number is None:
                return sheet
            if self._spend(0):
                self._look(number, bodies)
        return None

    def _first_open(self, lens: Lens, bodies: Bodies) -> Sheet | None:
        while (rank := lens.top()) is not None:
            found = self._shelf.sheets.find(position_of(rank))
            assert found is not None, "a lens forgets the sheets that are gone"
            sheet = found[1]
            if sheet.open and lens.selector is not None and rank not in lens.masks:
                if not self._spend(sheet.count):
                    return None
                batch = self._shelf.batch_of(sheet, bodies)
                lens.masks[rank] = matching_bits(lens.selector, batch)
            if lens.seen(sheet):
                return sheet
            lens.pop()
        return None

    def _spend(self, messages: int) -> bool:
        """Whether this turn may look at something more; it may overdraw once."""
        if self._budget <= 0:
            self.is_behind = True
            return False
        self._budget -= messages
        return True

    # Looking

    def _unseen_before(self, rank: int | None, bodies: Bodies) -> int | None:
        """The lane of the first message that nobody looked at, if it comes before ``rank``."""
        queue = self._queue
        for number, stream in queue.streams.items():
            if rank is not None and number > number_of(rank):
                return None
            part = stream.window[0] if stream.window else queue.peek(stream, bodies)
            unlooked = self._unlooked.get(number)
            first = part[1] if part is not None else None
            if unlooked:
                head = unlooked.head()[0]
                first = head if first is None else min(first, head)
            if first is None or (rank is not None and rank_of(number, first) > rank):
                continue
            if self._parked.get(number, 0) < limits.CHOICE_WINDOW_MAX:
                return number
            self._full.add(number)
        return None

    def _look(self, number: int, bodies: Bodies) -> None:
        """Looks at the next messages of a lane."""
        stream = self._queue.streams[number]
        part = stream.window[0] if stream.window else None
        unlooked = self._unlooked.get(number)
        if unlooked and (part is None or unlooked.head()[0] < part[1]):
            self._look_back(unlooked, bodies)
        elif part is not None:
            batch, first, count = part
            stream.advance(count)
            portion = Portion(Extent(batch.lane, batch.first, batch.count), first, count, 0)
            self._queue.back.setdefault(number, RangeMap()).add(first, count, portion)
            sheet = self._shelf.require_sheet(batch)
            self._arrive(sheet, sheet.bits(first, count))

    def _look_back(self, unlooked: RangeMap[int], bodies: Bodies) -> None:
        first, count, lane = unlooked.head()
        for batch in self._shelf.read(bodies, lane, first, count):
            low, high = max(first, batch.first), min(first + count, batch.end)
            unlooked.take(low, high - low)
            sheet = self._shelf.require_sheet(batch)
            back = self._queue.back.get(sheet.number)
            waiting = back.overlapping(low, high - low) if back is not None else []
            bits = sum(sheet.bits(start, size) for start, size, _ in waiting)
            self._arrive(sheet, bits & ~sheet.ready)
            if self._budget <= 0:
                break

    def _hold_next(self, bodies: Bodies) -> None:
        """Takes in messages that were away already, as far as they still are."""
        if not self._spend(0):
            return
        lane, first, count = self._to_hold[0]
        batches = self._shelf.read(bodies, lane, first, count)
        self._to_hold.popleft()
        for batch in batches:
            low, high = max(first, batch.first), min(first + count, batch.end)
            away = self._queue.resting.overlapping(low, high - low)
            leased = self._queue.leases.ranges.overlapping(low, high - low)
            sheet = self._shelf.require_sheet(batch)
            for start, size in [part[:2] for part in away] + [part[:2] for part in leased]:
                self._hold(sheet, sheet.bits(start, size) & ~sheet.away)
            self._maybe_drop(sheet)
            self._budget -= high - low
        if batches[-1].end < first + count:
            self._to_hold.appendleft((lane, batches[-1].end, first + count - batches[-1].end))

    # Sheets

    def _arrive(self, sheet: Sheet, bits: int) -> None:
        """Messages are ready that were not."""
        sheet.ready |= bits
        count = bits.bit_count()
        self._parked[sheet.number] = self._parked.get(sheet.number, 0) + count
        self._budget -= count
        if self._lines is not None:
            for first, size in runs_of(bits, 0):
                self._show(self._lines.arrive(sheet, first, first + size))
        self._show([sheet])
        self._maybe_drop(sheet)

    def _show(self, sheets: list[Sheet]) -> None:
        for sheet in sheets:
            if sheet.open:
                for lens in self._lenses.values():
                    lens.push(sheet.rank)

    def _unpark(self, sheet: Sheet, bits: int) -> None:
        sheet.ready &= ~bits
        self._parked[sheet.number] = self._parked.get(sheet.number, 0) - bits.bit_count()

    def _hold(self, sheet: Sheet, bits: int) -> None:
        """Messages are away that nobody picked."""
        if self._lines is not None:
            sheet.away |= bits
            for first, size in runs_of(bits, 0):
                self._lines.hold(sheet, first, first + size)

    def _maybe_drop(self, sheet: Sheet) -> None:
        if not sheet.ready and not sheet.away:
            self._shelf.drop(sheet)
            for lens in self._lenses.values():
                lens.forget(sheet.rank)

    def _lens_of(self, selector: Selector | None) -> Lens:
        lens = self._lenses.pop(selector, None)
        if lens is None:
            lens = Lens(selector)
            for sheet in self._shelf.sheets.values():
                lens.push(sheet.rank)
            in_use = len(self._queue.consumers) + len(self._queue.getters)
            while len(self._lenses) >= in_use + _IDLE_LENSES:
                del self._lenses[next(iter(self._lenses))]
        # The one that was used least lately stands first.
        self._lenses[selector] = lens
        return lens

    # What happens to messages elsewhere

    def returned(self, lane: int, first: int, count: int) -> None:
        """Messages lie in ``back`` again, or came due."""
        unknown = first
        for low, size, sheet in self._shelf.sheets.overlapping(first, count):
            self._look_later(lane, unknown, low - unknown)
            unknown = low + size
            bits = sheet.bits(low, size)
            sheet.away &= ~bits
            self._arrive(sheet, bits & ~sheet.ready)
        self._look_later(lane, unknown, first + count - unknown)

    def rests(self, lane: int, first: int, count: int) -> None:
        """Messages came to rest; they are away, as they were mostly known to be."""
        if self._lines is not None:
            known = self._shelf.sheets.overlapping(first, count)
            if sum((s.away & s.bits(low, n)).bit_count() for low, n, s in known) < count:
                self._to_hold.append((lane, first, count))

    def claimed(self, bodies: Bodies, parts: list[ClaimedPart]) -> None:
        """Waiting messages were taken by their positions."""
        for first, count, portion in parts:
            lane = portion.extent.lane
            unlooked = self._unlooked.get(lane % limits.DELAYED_LANES)
            if unlooked:
                unlooked.take(first, count)
            if self._lines is not None:
                # It was read to be claimed; what has gone bad since then holds no key.
                with suppress(UnreadableMessage):
                    self._shelf.require_sheets(bodies, lane, first, count)
            for low, size, sheet in self._shelf.sheets.overlapping(first, count):
                bits = sheet.bits(low, size)
                self._unpark(sheet, sheet.ready & bits)
                self._hold(sheet, bits & ~sheet.away)
                self._maybe_drop(sheet)

    def is_second(self, position: int) -> bool:
        """Whether another message of the key of this one, which was claimed, is away too."""
        sheet = self._shelf.find(position) if self._lines is not None else None
        return (
            sheet is not None
            and self._lines is not None
            and not self._lines.is_head(sheet, position - sheet.first)
        )

    def released(self, ranges: list[tuple[int, int]]) -> None:
        """The end of messages that were away is committed."""
        if self._lines is None:
            return
        for first, count in ranges:
            for low, size, sheet in self._shelf.sheets.overlapping(first, count):
                sheet.away &= ~sheet.bits(low, size)
                start = low - sheet.first
                self._show(self._lines.release(sheet, start, start + size))
                self._maybe_drop(sheet)

    def purged(self) -> None:
        """A purge was applied: what it settled is nowhere any more."""
        settled = self._queue.ledger.settled
        gone: list[tuple[int, int]] = []
        for first, count, sheet in list(self._shelf.sheets):
            live = sum(sheet.bits(*part) for part in settled.live_ranges(first, count))
            gone += runs_of((sheet.ready | sheet.away) & ~live, first)
            sheet.blocked &= live
            self._unpark(sheet, sheet.ready & ~live)
            if self._lines is None:
                self._maybe_drop(sheet)
        self.released(gone)
        for number, book in list(self._unlooked.items()):
            left = self._unlooked[number] = RangeMap[int]()
            for first, count, lane in book:
                for low, size in settled.live_ranges(first, count):
                    left.add(low, size, lane)

    def _look_later(self, lane: int, first: int, count: int) -> None:
        if count <= 0:
            return
        book = self._unlooked.setdefault(lane % limits.DELAYED_LANES, RangeMap())
        book.take(first, count)
        book.add(first, count, lane)


def _share_columns(one: StoredBatch, other: StoredBatch) -> bool:
    """Whether one columns frame can tell of both."""
    return one is other or columns_of(one).keys() == columns_of(other).keys()
