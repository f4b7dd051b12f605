"""The puts of one client to a queue that is spread over partitions.

A batch of the whole becomes a batch of one partition, or a piece in each that its keys name.  Owns
whose turn it is.  Laws: the messages of a key go to one partition, and in their order; a batch is
confirmed when all its pieces are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.client.put_batch import MessageId, PutBatch
from broker.model.partitions import partition_of

if TYPE_CHECKING:
    from broker.client.partitions import Partitions
    from broker.client.put_queue import PutQueue
    from broker.client.puts import Puts


class Spread:
    def __init__(self, puts: Puts, whole: PutQueue, partitions: Partitions) -> None:
        self._puts = puts
        self._queues = [puts.queue(name) for name in partitions.names]
        for queue in self._queues:
            queue.whole = whole
        #: Messages without a key go by their ids where the partitions tell doubles by these.
        self._by_id = partitions.settings.get("dedup", "off") != "off"
        self._turn = 0

    @property
    def has_room(self) -> bool:
        return all(queue.has_room for queue in self._queues)

    @property
    def is_under_way(self) -> bool:
        return any(queue.unconfirmed for queue in self._queues)

    def take(self, batch: PutBatch) -> None:
        """Sends a batch that is complete and not sealed."""
        if batch.seq >= 0 or batch.pieces:
            return  # Ctrl-C struck the call that took it, when it was done.
        names = self._names(batch)
        if names is None:
            self._turn = (self._turn + 1) % len(self._queues)
            self._hand_over(batch, self._turn)
            return
        places: dict[int, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(partition_of(name, len(self._queues)), []).append(place)
        if len(places) == 1:
            self._hand_over(batch, next(iter(places)))
        else:
            self._cut(batch, places)

    def _names(self, batch: PutBatch) -> list[MessageId] | None:
        names = batch.columns.get("keys")
        return names if names or not self._by_id else batch.columns.get("ids")

    def _hand_over(self, batch: PutBatch, index: int) -> None:
        queue = self._queues[index]
        batch.queue = queue.name
        queue.add(batch)

    def _cut(self, batch: PutBatch, places: dict[int, list[int]]) -> None:
        count = len(batch.elements)
        pieces: list[tuple[int, PutBatch]] = []
        for index, own in places.items():
            piece = PutBatch(self._queues[index].name, batch.spec, len(own), batch.created_at)
            piece.elements = [batch.elements[place] for place in own]
            piece.columns = {
                name: [values[place] for place in own] for name, values in batch.columns.items()
            }
            piece.body_bytes = batch.body_bytes * len(own) // count
            # Its error is the batch's, which somebody waits for or nobody does.
            piece.waited = True
            pieces.append((index, piece))
        batch.take_pieces(
            [(piece, own) for (_, piece), own in zip(pieces, places.values(), strict=True)]
        )
        for index, piece in pieces:
            piece.waiters.add(lambda: self._piece_done(batch))
            self._queues[index].add(piece)

    def _piece_done(self, batch: PutBatch) -> None:
        batch.maybe_finish()
        if batch.done:
            self._puts.tell_failure(batch)
