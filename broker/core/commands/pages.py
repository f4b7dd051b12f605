"""What one look at stored messages answers: pieces of batches, as many as fit, cut and joined.

Law: the bytes of a message leave as they came; nothing is decoded but columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from broker.model.stored_batch import StoredBatch
from broker.protocol.batches import array_header, element_offsets


class Piece(NamedTuple):
    """Messages of one batch that are alike; ``run`` says what holds for them."""

    batch: StoredBatch
    first: int
    length: int
    run: dict[str, Any]


class Page:
    """Pieces in order, at most so many messages and bytes, and one message whatever its size."""

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages = messages_max
        self._bytes = bytes_max
        self._pieces: list[Piece] = []

    def add(self, piece: Piece) -> int:
        """Takes in what fits, at least one message in all; gives how many messages."""
        count = min(piece.length, self._messages)
        size = piece.batch.bytes_between(piece.first, count) if count else 0
        if size > self._bytes:
            mean = max(size // count, 1)
            count = max(self._bytes // mean, 0 if self._pieces else 1)
            size = piece.batch.bytes_between(piece.first, count) if count else 0
        self._messages -= count
        self._bytes -= size
        if count:
            self._pieces.append(piece._replace(length=count))
        return count

    def frames(self) -> tuple[bytes, ...]:
        """The columns, where there are some, and the batch of all pieces together."""
        total = sum(piece.length for piece in self._pieces)
        frame = b"".join([array_header(total), *map(_elements, self._pieces)])
        columns = self._columns()
        return (columns, frame) if columns else (frame,)

    def runs(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = []
        previous: Piece | None = None
        for piece in self._pieces:
            if previous is not None and _continues(previous, piece):
                runs[-1]["count"] += piece.length
            else:
                runs.append({"first": piece.first, "count": piece.length, **piece.run})
            previous = piece
        return runs

    def _columns(self) -> bytes:
        """The columns of all pieces together, nil where a batch has not the column."""
        found = [msgpack.unpackb(p.batch.columns) if p.batch.columns else {} for p in self._pieces]
        merged: dict[str, list[Any]] = {name: [] for columns in found for name in columns}
        for piece, columns in zip(self._pieces, found, strict=True):
            low = piece.first - piece.batch.first
            for name, values in merged.items():
                there = columns.get(name)
                values.extend(there[low : low + piece.length] if there else [None] * piece.length)
        return bytes(msgpack.packb(merged)) if merged else b""


def _continues(previous: Piece, piece: Piece) -> bool:
    return piece.first == previous.first + previous.length and piece.run == previous.run


def offsets_of(batch: StoredBatch) -> list[int]:
    if batch.offsets is None:
        batch.offsets = element_offsets(batch.batch, batch.count)
    return batch.offsets


def _elements(piece: Piece) -> bytes:
    offsets = offsets_of(piece.batch)
    low = piece.first - piece.batch.first
    return piece.batch.batch[offsets[low] : offsets[low + piece.length]]
