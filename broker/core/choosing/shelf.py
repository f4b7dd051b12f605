"""The sheets of a choice, by position, and those of their batches that are in memory.

Never holds more than a bound of bytes: a batch that is wanted again is read again.
"""

from __future__ import annotations

from broker import limits
from broker.core.books.bodies import Bodies
from broker.core.books.range_map import RangeMap
from broker.core.choosing.reading import keys_of
from broker.core.choosing.sheet import Sheet
from broker.errors import UnreadableMessage
from broker.model.stored_batch import StoredBatch


class Shelf:
    __slots__ = ("_kept", "_kept_bytes", "_number", "_with_keys", "sheets")

    def __init__(self, number: int, *, with_keys: bool) -> None:
        #: Of the queue.
        self._number = number
        self._with_keys = with_keys
        self.sheets: RangeMap[Sheet] = RangeMap()
        #: rank -> sheet whose batch is in memory, the oldest first
        self._kept: dict[int, Sheet] = {}
        self._kept_bytes = 0

    def find(self, position: int) -> Sheet | None:
        found = self.sheets.overlapping(position, 1)
        return found[0][2] if found else None

    def require_sheet(self, batch: StoredBatch) -> Sheet:
        """The batch's sheet, a new one where there is none."""
        found = self.sheets.find(batch.first)
        if found is not None:
            return found[1]
        sheet = Sheet(batch, keys_of(batch) if self._with_keys else None)
        self.sheets.add(sheet.first, sheet.count, sheet)
        self._keep(sheet, batch)
        return sheet

    def require_sheets(self, bodies: Bodies, lane: int, first: int, count: int) -> None:
        """Makes the sheets of all batches of a range."""
        low, end = first, first + count
        while low < end:
            known = self.find(low)
            if known is not None:
                low = known.first + known.count
            else:
                batch = self.read(bodies, lane, low, end - low)[0]
                self.require_sheet(batch)
                low = batch.end

    def drop(self, sheet: Sheet) -> None:
        self.sheets.take(sheet.first, sheet.count)
        self._let_go(sheet)

    def batch_of(self, sheet: Sheet, bodies: Bodies) -> StoredBatch:
        """Raises UnreadableMessage."""
        if sheet.batch is None:
            batch = self.read(bodies, sheet.lane, sheet.first, sheet.count)[0]
            if batch.first != sheet.first:
                raise UnreadableMessage(f"the stored batch of position {sheet.first} is missing")
            sheet.batch = batch
            self._keep(sheet, batch)
        return sheet.batch

    def read(self, bodies: Bodies, lane: int, first: int, count: int) -> list[StoredBatch]:
        """The batches of a range, as many as one read gives, at least one.  Raises
        UnreadableMessage."""
        found = bodies.read(
            self._number, lane, first, first + count, limits.WINDOW_RECORDS, limits.READ_BYTES
        )
        if not found:
            raise UnreadableMessage(f"the stored batch of position {first} is missing")
        return found

    def _keep(self, sheet: Sheet, batch: StoredBatch) -> None:
        self._kept[sheet.rank] = sheet
        self._kept_bytes += batch.size
        while self._kept_bytes > limits.CHOICE_WINDOW_BYTES and len(self._kept) > 1:
            self._let_go(next(iter(self._kept.values())))

    def _let_go(self, sheet: Sheet) -> None:
        if sheet.batch is not None:
            self._kept_bytes -= sheet.batch.size
            sheet.batch = None
            del self._kept[sheet.rank]
