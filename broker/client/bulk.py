"""Many bodies at once: cut into batches that keep every bound, packed by msgpack in C.

Owns no state of the session: the batches are numbered and sent by their queue.
Law: a list of bytes is never encoded message by message in Python, with headers or without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby, islice
from typing import Any

from broker.client.codec import ELEMENT_OVERHEAD
from broker.client.content import Headers
from broker.client.options import instant_ms, put_element, require_id, require_size
from broker.client.put_batch import ELEMENTS_BYTES_MAX, Columns, MessageId, PutBatch, PutSpec
from broker.errors import BadField, CountMismatch
from broker.limits import BATCH_COUNT_MAX


class BulkBatches:
    """``spec`` is what all messages share, without their content type."""

    def __init__(
        self, queue: str, spec: PutSpec, headers: Headers | None, content_type: str | None
    ) -> None:
        self._queue = queue
        self._spec = spec
        self._headers = headers
        self._content_type = content_type
        # What the headers are and take beside every body, looked at once.
        element, size, _ = put_element(b"", headers, None)
        self._plain = element[1] if headers else None
        self._plain_bytes = size - ELEMENT_OVERHEAD

    def cut(
        self, bodies: Iterable[Any], columns: BulkColumns, count_max: int
    ) -> Iterator[PutBatch]:
        """Batches of at most ``count_max`` messages."""
        if not 1 <= count_max <= BATCH_COUNT_MAX:
            raise BadField(f"a batch has from 1 to {BATCH_COUNT_MAX} messages, not {count_max}")
        source = iter(bodies)
        count_max = min(count_max, self._spec.count_max)
        while chunk := list(islice(source, count_max)):
            yield from self._batches(chunk, columns.take(len(chunk)))

    def _batches(self, chunk: list[Any], columns: Columns) -> Iterator[PutBatch]:
        if self._content_type is None and set(map(type, chunk)) == {bytes}:
            sizes = list(map(len, chunk))
            elements = chunk
            if self._plain is not None:
                sizes = [size + self._plain_bytes for size in sizes]
                elements = [[body, self._plain] for body in chunk]
            yield from self._sized(elements, sizes, columns, self._spec)
            return
        encoded = [put_element(body, self._headers, self._content_type) for body in chunk]
        start = 0
        for content_type, group in groupby(encoded, key=lambda made: made[2]):
            alike = list(group)
            fields = self._spec.fields
            if content_type is not None:
                fields = (*fields, ("content_type", content_type))
            yield from self._sized(
                [element for element, _, _ in alike],
                [size - ELEMENT_OVERHEAD for _, size, _ in alike],
                _slice(columns, start, start + len(alike)),
                PutSpec(fields, self._spec.columns),
            )
            start += len(alike)

    def _sized(
        self, elements: list[Any], sizes: list[int], columns: Columns, spec: PutSpec
    ) -> Iterator[PutBatch]:
        """Cuts where the bytes would be too many for one batch."""
        start = 0
        for stop in _borders(sizes):
            size = sum(sizes[start:stop]) + (stop - start) * ELEMENT_OVERHEAD
            require_size(size if stop - start == 1 else 0)
            batch = PutBatch(self._queue, spec, stop - start, 0)
            batch.elements = elements[start:stop]
            batch.body_bytes = size
            batch.columns = _slice(columns, start, stop)
            yield batch
            start = stop


class BulkColumns:
    """One value a message, from iterables that go along with the bodies."""

    def __init__(
        self,
        ids: Iterable[MessageId] | None,
        keys: Iterable[MessageId] | None,
        at: Iterable[float | datetime | None] | None,
    ) -> None:
        given = {"ids": ids, "keys": keys, "at_ms": at}
        self._sources = {name: iter(each) for name, each in given.items() if each is not None}
        self.names = tuple(self._sources)

    def take(self, count: int) -> Columns:
        """The values of the next messages; raises CountMismatch when they are too few."""
        columns: Columns = {}
        for name, source in self._sources.items():
            values: list[Any] = list(islice(source, count))
            if len(values) != count:
                raise CountMismatch(f"put_many needs a value in {name} for each message")
            if name == "at_ms":
                values = [0 if at is None else instant_ms(at) for at in values]
            else:
                for value in values:
                    require_id(value)
            columns[name] = values
        return columns


def _slice(columns: Columns, start: int, stop: int) -> Columns:
    return {name: values[start:stop] for name, values in columns.items()}


def _borders(sizes: list[int]) -> Iterator[int]:
    """Where batches end; one border, the end, for a list that fits as a whole."""
    if sum(sizes) + len(sizes) * ELEMENT_OVERHEAD > ELEMENTS_BYTES_MAX:
        gathered = 0
        for index, size in enumerate(sizes):
            gathered += size + ELEMENT_OVERHEAD
            if gathered > ELEMENTS_BYTES_MAX and gathered > size + ELEMENT_OVERHEAD:
                yield index
                gathered = size + ELEMENT_OVERHEAD
    yield len(sizes)
