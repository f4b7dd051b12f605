"""A slot's outbox: messages that leave its queues for others, in line for each target.

    Departed -> in line -> carried (node/transfers.py) -> taken by the target -> Cleared

The messages stay unsettled in their queue's ledger while they stand here; the stored batch is where
it was put.  A target knows this slot as one producer, so the sequence in a line is the sequence of
a put, and a put that is sent twice appears once.  Sequences of a line only rise; a line that is
empty keeps its next one for good.  Law: rows come and go with committed entries alone.
"""

from __future__ import annotations

from typing import Any

from broker.model.entries import Move
from broker.model.stored_batch import Extent

#: (queue number, target, sequence)
RowKey = tuple[int, str, int]


class TargetLine:
    """What waits for one target: ``rows`` are sequence -> (number of the source queue, move)."""

    __slots__ = ("next_sequence", "proposed_next", "rows")

    def __init__(self, next_sequence: int = 0) -> None:
        self.next_sequence = next_sequence
        #: The next one with everything proposed counted in.
        self.proposed_next = next_sequence
        #: In the order of their sequences.
        self.rows: dict[int, tuple[int, Move]] = {}


class Outbox:
    def __init__(self) -> None:
        self.lines: dict[str, TargetLine] = {}
        #: Rows in all lines together.
        self.pending = 0
        #: Rows touched since the last checkpoint.
        self._dirty: set[RowKey] = set()

    def __bool__(self) -> bool:
        return self.pending > 0

    def take_sequence(self, target: str) -> int:
        """The sequence of the next move that is proposed."""
        line = self._line(target)
        sequence = line.proposed_next
        line.proposed_next += 1
        return sequence

    def _line(self, target: str) -> TargetLine:
        line = self.lines.get(target)
        if line is None:
            line = self.lines[target] = TargetLine()
        return line

    def begin_reign(self) -> None:
        """What an earlier reign had proposed is committed by now, or gone."""
        for line in self.lines.values():
            line.proposed_next = line.next_sequence

    def add(self, number: int, move: Move) -> None:
        """A departure is committed."""
        line = self._line(move.target)
        assert move.sequence >= line.next_sequence, "sequences of a line only rise"
        line.next_sequence = move.sequence + 1
        line.proposed_next = max(line.proposed_next, line.next_sequence)
        line.rows[move.sequence] = (number, move)
        self.pending += 1
        self._dirty.add((number, move.target, move.sequence))

    def remove(self, target: str, sequences: list[tuple[int, int]]) -> None:
        """The target has taken them."""
        line = self.lines[target]
        for first, count in sequences:
            for sequence in range(first, first + count):
                number, _ = line.rows.pop(sequence)
                self.pending -= 1
                self._dirty.add((number, target, sequence))

    def forget_queue(self, number: int) -> None:
        """The source queue is deleted, and what was to leave it with it."""
        for target, line in self.lines.items():
            for sequence in [s for s, (source, _) in line.rows.items() if source == number]:
                self.remove(target, [(sequence, 1)])

    def moves(self) -> list[tuple[int, Move]]:
        """(number of the source queue, move) of all that is pending."""
        return [row for line in self.lines.values() for row in line.rows.values()]

    def next_sequences(self) -> dict[str, int]:
        return {target: line.next_sequence for target, line in self.lines.items()}

    def take_dirty(self) -> dict[RowKey, list[Any] | None]:
        """Rows to write at a checkpoint: key -> row, None to delete it."""
        rows: dict[RowKey, list[Any] | None] = {}
        for key in sorted(self._dirty):
            _, target, sequence = key
            found = self.lines[target].rows.get(sequence)
            if found is None:
                rows[key] = None
            else:
                m = found[1]
                rows[key] = [m.extent, m.first, m.count, m.attempts, m.size, m.note]
        self._dirty.clear()
        return rows

    def load(self, next_sequences: dict[str, int], rows: dict[RowKey, list[Any]]) -> None:
        """What a checkpoint held."""
        self.lines = {target: TargetLine(sequence) for target, sequence in next_sequences.items()}
        for number, target, sequence in sorted(rows, key=lambda key: key[2]):
            extent, *rest = rows[number, target, sequence]
            move = Move(target, sequence, Extent(*extent), *rest)
            self.lines[target].rows[sequence] = (number, move)
        self.pending = len(rows)
