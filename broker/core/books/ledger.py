"""A queue's durable state: what its entries add up to, the same on every replica.

Law: only committed entries are applied, and applying looks at nothing but the entry and this state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker.core.books.range_map import RangeMap
from broker.core.books.settled import SettledSet
from broker.model.bindings import changed
from broker.model.entries import (
    BatchPut,
    BindingsCarried,
    IdsSwept,
    LaneSweep,
    LaneTotals,
    Purged,
    QueueUpdated,
    Returned,
    Settled,
)
from broker.model.settings import QueueSettings
from broker.model.stored_batch import Extent


@dataclass(slots=True)
class LaneLedger:
    """One lane's totals of unsettled messages, and what of it is still on disk.

    Below ``swept`` only the ``held`` batches are left.
    """

    messages: int = 0
    bytes: int = 0
    swept: int = 0
    #: [low, high) below ``swept``, whole batches, ascending
    held: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Attempted:
    """Why a message is not as it was put: how often it failed, and how long it rests."""

    extent: Extent
    attempts: int
    not_before: int


class Ledger:
    __slots__ = (
        "attempted",
        "bytes",
        "dirty",
        "dirty_attempted",
        "ids",
        "lanes",
        "messages",
        "name",
        "next_position",
        "number",
        "settings",
        "settled",
        "uncarried",
        "uuid",
    )

    def __init__(self, number: int, uuid: bytes, name: str, settings: QueueSettings) -> None:
        self.number = number
        self.uuid = uuid
        self.name = name
        self.settings = settings
        self.next_position = settings.first_position
        self.lanes: dict[int, LaneLedger] = {}
        self.settled = SettledSet(settings.first_position)
        self.attempted: RangeMap[Attempted] = RangeMap()
        #: Unsettled messages and their bytes, over all lanes.
        self.messages = 0
        self.bytes = 0
        #: Messages that were put with batches of which ids are remembered.
        self.ids = 0
        #: Bindings that changed and are not known to be so with all slots: pattern -> lsn of the
        #: change.
        self.uncarried: dict[str, int] = {}
        self.dirty = True
        #: Rows touched since the last checkpoint.
        self.dirty_attempted: set[int] = set()

    def empty(self, start: int) -> None:
        """Nothing is held, and ``start`` is the next position."""
        self.next_position = start
        self.lanes = {}
        self.settled = SettledSet(start)
        self.attempted = RangeMap()
        self.dirty_attempted.clear()
        self.messages = self.bytes = self.ids = 0

    def apply_put(self, entry: BatchPut) -> None:
        body = entry.body
        assert body.first == self.next_position, "positions are dense"
        self.next_position += body.count
        self._add_totals(body.lane, body.count, body.size)
        if entry.ids:
            self.ids += body.count

    def apply_settled(self, entry: Settled) -> None:
        self.settled.add_all(entry.ranges)
        self._subtract_totals(entry.totals)
        if len(self.attempted):
            for first, count in entry.ranges:
                self._take_attempted(first, count)

    def apply_returned(self, entry: Returned) -> None:
        self.dirty = True
        for extent, first, count, attempts in entry.parts:
            self._take_attempted(first, count)
            self._add_attempted(first, count, Attempted(extent, attempts, entry.not_before))

    def apply_purged(self, entry: Purged) -> None:
        low = self.settled.floor
        for first, count in [*entry.kept, (entry.up_to, 0)]:
            if first > low:
                self.settled.add(low, first - low)
                self._take_attempted(low, first - low)
            low = max(low, first + count)
        self._subtract_totals(entry.totals)

    def apply_declared(self, lsn: int) -> None:
        """The queue is there: its bindings are to be carried to the slots."""
        self.uncarried = dict.fromkeys(self.settings.bindings, lsn)

    def apply_updated(self, entry: QueueUpdated, lsn: int) -> None:
        before = self.settings.bindings
        self.settings = QueueSettings.from_map(entry.settings)
        for pattern in changed(before, self.settings.bindings):
            self.uncarried[pattern] = lsn
        self.dirty = True

    def apply_carried(self, entry: BindingsCarried) -> None:
        for pattern, lsn in entry.carried:
            # One that has changed again meanwhile is carried anew.
            if self.uncarried.get(pattern) == lsn:
                del self.uncarried[pattern]
        self.dirty = True

    def apply_ids_swept(self, entry: IdsSwept) -> None:
        self.ids -= sum(count for _, count in entry.batches)
        self.dirty = True

    def apply_sweep(self, sweep: LaneSweep) -> None:
        lane = self._lane(sweep.lane)
        lane.swept = sweep.swept
        lane.held = sweep.held
        self.dirty = True

    def attempts_at(self, position: int) -> int:
        found = self.attempted.overlapping(position, 1) if len(self.attempted) else []
        return found[0][2].attempts if found else 0

    def _lane(self, number: int) -> LaneLedger:
        lane = self.lanes.get(number)
        if lane is None:
            lane = self.lanes[number] = LaneLedger()
        return lane

    def _add_totals(self, lane: int, messages: int, size: int) -> None:
        totals = self._lane(lane)
        totals.messages += messages
        totals.bytes += size
        self.messages += messages
        self.bytes += size
        self.dirty = True

    def _subtract_totals(self, removed: LaneTotals) -> None:
        for lane, (messages, size) in removed.items():
            self._add_totals(lane, -messages, -size)

    def _take_attempted(self, first: int, count: int) -> None:
        """Forget the attempts of a range; what a split leaves over is written again."""
        touched = self.attempted.overlapping(first, count)
        if not touched:
            return
        for low, size, _ in touched:
            # A cut may move the row's key: the old key and both new ones are rewritten.
            self.dirty_attempted.update((self.attempted.start_of(low), low, low + size))
        self.attempted.take(first, count)
        self.dirty = True

    def _add_attempted(self, first: int, count: int, value: Attempted) -> None:
        self.attempted.add(first, count, value)
        self.dirty_attempted.add(first)

    def as_row(self) -> dict[str, object]:
        """The queue's row at a checkpoint; of a transient queue what was declared."""
        if self.settings.is_transient and self.next_position:
            declared = Ledger(self.number, self.uuid, self.name, self.settings)
            declared.uncarried = self.uncarried
            return declared.as_row()
        return {
            "number": self.number,
            "uuid": self.uuid,
            "name": self.name,
            "settings": self.settings.as_map(),
            "next_position": self.next_position,
            "floor": self.settled.floor,
            "ids": self.ids,
            "uncarried": self.uncarried,
            "lanes": {
                number: [lane.messages, lane.bytes, lane.swept, lane.held]
                for number, lane in self.lanes.items()
            },
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Ledger:
        settings = QueueSettings.from_map(row["settings"])
        ledger = cls(row["number"], row["uuid"], row["name"], settings)
        ledger.next_position = row["next_position"]
        ledger.settled.floor = row["floor"]
        # The first version knew of no ids.
        ledger.ids = row.get("ids", 0)
        # ... and of no bindings.
        ledger.uncarried = row.get("uncarried", {})
        for number, (messages, size, swept, held) in row["lanes"].items():
            pairs = [(low, high) for low, high in held]
            ledger.lanes[number] = LaneLedger(messages, size, swept, pairs)
            ledger.messages += messages
            ledger.bytes += size
        ledger.dirty = False
        return ledger

    def take_dirty_attempted(self) -> dict[int, list[object] | None]:
        """Rows to write at a checkpoint: first position -> row, None to delete it."""
        rows: dict[int, list[object] | None] = {}
        for first in sorted(self.dirty_attempted):
            found = self.attempted.find(first)
            if found is None:
                rows[first] = None
            else:
                count, value = found
                rows[first] = [count, list(value.extent), value.attempts, value.not_before]
        self.dirty_attempted.clear()
        return rows

    def load_attempted(self, first: int, row: list[Any]) -> None:
        count, extent, attempts, not_before = row
        self.attempted.add(first, count, Attempted(Extent(*extent), attempts, not_before))
