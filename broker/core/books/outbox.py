"""A slot's outbox: messages that leave its queues for others, in line for each target.

    Departed -> in line -> carried (node/transfers.py) -> taken by the target -> Cleared

The messages stay unsettled in their queue's ledger while they stand here; the stored batch is where
it was put.  A target knows this slot as one producer, so the sequence in a line is the sequence of
a put, and a put that is sent twice appears once.  Sequences of a line only rise, and go on where
they were when the line was empty.  Law: rows come and go with committed entries alone.
"""

from __future__ import annotations

from typing import Any

from broker.model.entries import Move, Share
from broker.model.stored_batch import Extent

#: (queue number, target, sequence)
RowKey = tuple[int, str, int]
#: sequence -> (number of the source queue, move), in the order of the sequences
Line = dict[int, tuple[int, Move]]
#: A sequence is epoch u30 | number u32.
_EPOCH_SHIFT = 32
#: What a row has behind its extent; that of a share has more.
_MOVE_FIELDS = 5


class Outbox:
    def __init__(self) -> None:
        #: target -> what waits for it; no line is empty.
        self.lines: dict[str, Line] = {}
        #: target -> the sequence that its next row has.
        self.next_sequences: dict[str, int] = {}
        #: The same with everything proposed counted in, where that is more.
        self._proposed: dict[str, int] = {}
        #: No sequence of this reign is below.
        self._floor = 0
        #: target -> why it took nothing when it was last asked; known in this reign.
        self.errors: dict[str, str] = {}
        #: Batches that several queues get, as (queue number, first position) -> rows (target,
        #: sequence) whose end is not proposed; known in this reign.
        self.shared: dict[tuple[int, int], dict[tuple[str, int], None]] = {}
        #: Rows touched since the last checkpoint.
        self._dirty: set[RowKey] = set()

    def take_sequence(self, target: str) -> int:
        """The sequence of the next move that is proposed."""
        known = self._proposed.get(target) or self.next_sequences.get(target, 0)
        sequence = max(known, self._floor)
        self._proposed[target] = sequence + 1
        return sequence

    def begin_reign(self, epoch: int) -> None:
        """What an earlier reign had proposed is committed by now, or gone.

        Each reign has sequences of its own: where an operator goes on with a copy that lacks
        entries, what comes now is not taken for what those had sent.
        """
        self._floor = epoch << _EPOCH_SHIFT
        self._proposed.clear()
        self.errors.clear()
        self.shared.clear()

    def add(self, number: int, move: Move) -> None:
        """A departure is committed."""
        target, sequence = move.target, move.sequence
        assert sequence >= self.next_sequences.get(target, 0), "sequences of a line only rise"
        self.next_sequences[target] = sequence + 1
        self.lines.setdefault(target, {})[sequence] = (number, move)
        self._dirty.add((number, target, sequence))

    def remove(self, target: str, sequences: list[tuple[int, int]]) -> None:
        """They are with their target, or with nobody any more."""
        line = self.lines[target]
        for first, count in sequences:
            for sequence in range(first, first + count):
                number, _ = line.pop(sequence)
                self._dirty.add((number, target, sequence))
        if not line:
            del self.lines[target]
            self.errors.pop(target, None)

    def forget_queue(self, number: int) -> None:
        """The source queue is deleted, and what was to leave it with it."""
        for target, line in list(self.lines.items()):
            gone = [(sequence, 1) for sequence, (source, _) in line.items() if source == number]
            self.remove(target, gone)

    def holds(self, number: int) -> bool:
        """True while something of the queue is on its way."""
        return any(source == number for line in self.lines.values() for source, _ in line.values())

    def moves(self) -> list[tuple[int, Move]]:
        """(number of the source queue, move) of all that is pending."""
        return [row for line in self.lines.values() for row in line.values()]

    def take_dirty(self) -> dict[RowKey, list[Any] | None]:
        """Rows to write at a checkpoint: key -> row, None to delete it."""
        rows: dict[RowKey, list[Any] | None] = {}
        for key in sorted(self._dirty):
            _, target, sequence = key
            found = self.lines.get(target, {}).get(sequence)
            if found is None:
                rows[key] = None
            else:
                m = found[1]
                share = [m.uuid, m.mask] if isinstance(m, Share) else []
                rows[key] = [m.extent, m.first, m.count, m.attempts, m.size, m.note, *share]
        self._dirty.clear()
        return rows

    def load(self, next_sequences: dict[str, int], rows: dict[RowKey, list[Any]]) -> None:
        """What a checkpoint held."""
        self.next_sequences = next_sequences
        for number, target, sequence in sorted(rows, key=lambda key: key[2]):
            extent, *rest = rows[number, target, sequence]
            make = Share if len(rest) > _MOVE_FIELDS else Move
            move = make(target, sequence, Extent(*extent), *rest)
            self.lines.setdefault(target, {})[sequence] = (number, move)
