"""One batch on its way to one queue: first gathering, then sealed and numbered until confirmed.

Owns the bounds of a batch.  It never numbers itself and never sends: its queue does.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple

from broker.client.codec import ELEMENT_OVERHEAD, decode_batch, encode_batch, encode_columns
from broker.client.outcome import Outcome
from broker.errors import MsgQueueError
from broker.limits import BATCH_BYTES_MAX, BATCH_COUNT_MAX, COLUMNS_BYTES_MAX

#: What the array header takes beside the elements.
_FRAME_OVERHEAD = 64
ELEMENTS_BYTES_MAX = BATCH_BYTES_MAX - _FRAME_OVERHEAD
#: Of an id, and of a key.
ID_BYTES_MAX = 255
#: What one message's value takes in its column, at most.
_COLUMN_BYTES = {
    "ids": ID_BYTES_MAX + ELEMENT_OVERHEAD,
    "keys": ID_BYTES_MAX + ELEMENT_OVERHEAD,
    "at_ms": 9,
}

MessageId = str | bytes
#: One value a message: its id, its key, the instant it is due at.
Columns = dict[str, list[Any]]


class PutSpec(NamedTuple):
    """What all messages of a batch share: header fields, and which columns they have."""

    fields: tuple[tuple[str, Any], ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def count_max(self) -> int:
        """So many messages fill a columns frame."""
        if not self.columns:
            return BATCH_COUNT_MAX
        of_each = sum(_COLUMN_BYTES[name] for name in self.columns)
        return min((COLUMNS_BYTES_MAX - _FRAME_OVERHEAD) // of_each, BATCH_COUNT_MAX)


class PutResult(NamedTuple):
    """Where a message is kept.

    ``position`` is None for one that the broker had already: the same put sent twice, or another
    one with the same id within the queue's dedup window.
    """

    queue: str
    position: int | None
    id: MessageId | None
    #: Brokers that have it on disk.
    copies: int
    duplicate: bool
    #: True for the same put sent twice, because its first answer was lost: it is there once.
    sent_again: bool = False


class PutBatch(Outcome):
    __slots__ = (
        "body_bytes",
        "columns",
        "count",
        "created_at",
        "elements",
        "frames",
        "full_at",
        "maybe_taken",
        "pieces",
        "queue",
        "refusal",
        "sending",
        "seq",
        "spec",
        "waited",
    )

    def __init__(self, queue: str, spec: PutSpec, full_at: int, now: int) -> None:
        super().__init__()
        self.queue = queue
        self.spec = spec
        self.full_at = full_at
        self.created_at = now
        self.elements: list[Any] = []
        self.columns: Columns = {}
        #: Bodies with the bytes that msgpack puts around them, at most.
        self.body_bytes = 0
        #: Known from the sealing on.
        self.count = 0
        self.seq = -1
        #: Columns and batch frame from the sealing on; kept until the broker answers.
        self.frames: tuple[bytes, ...] = ()
        #: The number of the sending whose answer is waited for; 0 while there is none.
        self.sending = 0
        #: True once it was sent where it may have been taken without an answer.
        self.maybe_taken = False
        #: Where it was cut for several partitions: (piece, places of its messages in this batch).
        self.pieces: list[tuple[PutBatch, list[int]]] = []
        #: The last "not now" that it met.
        self.refusal: MsgQueueError | None = None
        #: True once somebody waits for it: its error is theirs and needs no other way out.
        self.waited = False

    def add(self, spec: PutSpec, element: Any, size: int) -> int:
        """Its number in the batch, from 1; 0 when it needs another batch.

        The batch is full when the number reaches ``full_at``.
        """
        body_bytes = self.body_bytes + size
        if (
            (self.spec is not spec and self.spec != spec)
            or body_bytes > ELEMENTS_BYTES_MAX
            or self.count
        ):
            return 0
        self.body_bytes = body_bytes
        elements = self.elements
        elements.append(element)
        return len(elements)

    def add_first(self, element: Any, size: int) -> int:
        """Like ``add`` to an empty batch: a single message may be larger than a batch."""
        self.elements.append(element)
        self.body_bytes = size
        return 1

    def add_columns(self, values: Columns) -> None:
        """The values of the message that was just added."""
        for name, column in values.items():
            self.columns.setdefault(name, []).extend(column)

    def seal(self) -> None:
        """Packs the elements; from now on only the frames are kept and nothing is added."""
        if self.is_sealed:
            return
        count = len(self.elements)
        batch = encode_batch(self.elements)
        self.frames = (encode_columns(self.columns), batch) if self.columns else (batch,)
        self.count = count
        self.elements = []

    def reopen(self) -> None:
        """As it was before it was sealed and numbered: nothing of it was taken."""
        self.elements = decode_batch(self.frames[-1])
        self.frames = ()
        self.count = self.sending = 0
        self.seq = -1

    def take_pieces(self, pieces: list[tuple[PutBatch, list[int]]]) -> None:
        """From now on it stands for these, and holds nothing itself."""
        self.pieces = pieces
        self.count = len(self.elements)
        self.elements = []

    def maybe_finish(self) -> None:
        """Finishes with the last of the pieces, and with the first error among them."""
        if all(piece.done for piece, _ in self.pieces):
            errors = [piece.error for piece, _ in self.pieces if piece.error is not None]
            self.finish(error=errors[0] if errors else None)

    @property
    def is_sealed(self) -> bool:
        return self.count > 0

    @property
    def leaves(self) -> list[PutBatch]:
        """What was sent for it: itself, or its pieces."""
        return [piece for piece, _ in self.pieces] or [self]

    def part(self, index: int) -> PutResult:
        """The result for one message; raises the batch's error."""
        for piece, places in self.pieces:
            if index in places:
                return piece.part(places.index(index))
        header = self.value()
        first = header.get("first")
        duplicates = header.get("duplicates", ())
        before = bisect_left(duplicates, index)
        sent_again = bool(header.get("duplicate", False))
        is_duplicate = sent_again or index in duplicates[before : before + 1]
        # Positions are given to those that were taken, one after the other.
        position = None if first is None or is_duplicate else first + index - before
        ids = self.columns.get("ids")
        message_id: MessageId | None = ids[index] if ids else None
        if message_id is None and position is not None:
            message_id = f"{self.queue}:{position}"
        copies = header.get("copies", 1)
        return PutResult(self.queue, position, message_id, copies, is_duplicate, sent_again)
