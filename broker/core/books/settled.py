"""Which positions of a queue are settled: a floor and bitmaps above it.

    settled .... settled | chunk | chunk | chunk | never settled ...
                         ^floor (a multiple of CHUNK)

A chunk is an integer of CHUNK bits.  Chunks that are full and touch the floor raise it and
cost nothing; a waiting message costs one bit, and only in a chunk that was touched.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.limits import CHUNK

_FULL = (1 << CHUNK) - 1


class SettledSet:
    __slots__ = ("chunks", "dirty", "floor")

    def __init__(self, floor: int = 0) -> None:
        #: Everything below is settled; a multiple of CHUNK.
        self.floor = floor
        self.chunks: dict[int, int] = {}
        #: Chunk numbers touched since the last checkpoint.
        self.dirty: set[int] = set()

    def add(self, first: int, count: int) -> None:
        """Settle ``count`` positions from ``first``; settled ones stay so."""
        end = first + count
        first = max(first, self.floor)
        while first < end:
            number = first // CHUNK
            base = number * CHUNK
            stop = min(end, base + CHUNK)
            bits = ((1 << (stop - first)) - 1) << (first - base)
            self.chunks[number] = self.chunks.get(number, 0) | bits
            self.dirty.add(number)
            first = stop
        self._raise_floor()

    def add_all(self, ranges: list[tuple[int, int]]) -> None:
        """As ``add`` of each, for less."""
        chunks, floor = self.chunks, self.floor
        for first, count in ranges:
            number, low = divmod(first, CHUNK)
            if low + count > CHUNK or first < floor:
                self.add(first, count)
                floor = self.floor
            else:
                chunks[number] = chunks.get(number, 0) | ((1 << count) - 1) << low
                self.dirty.add(number)
        self._raise_floor()

    def _raise_floor(self) -> None:
        chunks = self.chunks
        number = self.floor // CHUNK
        while chunks.get(number) == _FULL:
            del chunks[number]
            self.dirty.add(number)
            number += 1
        self.floor = number * CHUNK

    def contains(self, position: int) -> bool:
        if position < self.floor:
            return True
        bits = self.chunks.get(position // CHUNK, 0)
        return bool(bits >> (position % CHUNK) & 1)

    def first_live(self, position: int) -> int:
        """The first position from ``position`` on that is not settled."""
        position = max(position, self.floor)
        while bits := self.chunks.get(position // CHUNK, 0) >> (position % CHUNK):
            unset = ~bits
            clear = (unset & -unset).bit_length() - 1
            position += clear
            if clear == 0 or position % CHUNK:
                break
        return position

    def next_touched(self, position: int) -> int | None:
        """The first position from ``position`` on that may be settled, chunk by chunk; None where
        nothing behind it is."""
        if position < self.floor or position // CHUNK in self.chunks:
            return position
        behind = [number for number in self.chunks if number > position // CHUNK]
        return min(behind) * CHUNK if behind else None

    def live_ranges(self, first: int, count: int) -> list[tuple[int, int]]:
        """The parts of a range that are not settled, in order, as (first, count)."""
        end = first + count
        first = max(first, self.floor)
        if not self.chunks:
            return [(first, end - first)] if first < end else []
        live: list[tuple[int, int]] = []
        for low, high in self._live_pieces(first, end):
            if live and live[-1][0] + live[-1][1] == low:
                live[-1] = (live[-1][0], high - live[-1][0])
            else:
                live.append((low, high - low))
        return live

    def _live_pieces(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Live [low, high) pieces, none crossing a chunk's border."""
        while first < end:
            number = first // CHUNK
            stop = min(end, (number + 1) * CHUNK)
            bits = self.chunks.get(number, 0)
            if not bits:
                yield first, stop
            else:
                base = number * CHUNK
                # The settled bits of [first, stop), then runs of zeros between them.
                bits = (bits >> (first - base)) & ((1 << (stop - first)) - 1)
                yield from _zero_runs(bits, first, stop)
            first = stop

    def take_dirty(self) -> dict[int, bytes | None]:
        """Rows to write at a checkpoint: chunk number -> bitmap, None to delete the row."""
        rows: dict[int, bytes | None] = {}
        for number in sorted(self.dirty):
            bits = self.chunks.get(number)
            rows[number] = None if bits is None else bits.to_bytes(CHUNK // 8, "little")
        self.dirty.clear()
        return rows

    def load(self, number: int, row: bytes) -> None:
        self.chunks[number] = int.from_bytes(row, "little")


def _zero_runs(bits: int, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Runs of clear bits as [low, high) positions; bit 0 stands for ``low``."""
    while low < high:
        if not bits:
            yield low, high
            return
        clear = (bits & -bits).bit_length() - 1
        if clear:
            yield low, low + clear
            bits >>= clear
            low += clear
        inverted = ~bits
        filled = (inverted & -inverted).bit_length() - 1
        bits >>= filled
        low += filled
