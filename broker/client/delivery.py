"""What a ``messages`` reply brought: runs of messages, and what became of each.

Owns the marks of what is settled.  It never decodes a body.  Law: a position is settled here
at most once, however many hands hold its message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from broker.client.codec import ELEMENT_OVERHEAD, Reply, decode_batch, decode_columns
from broker.client.stretch import Stretch
from broker.errors import NotAnEnvelope

if TYPE_CHECKING:
    from broker.client.ledger import Ledger

HELD, SETTLED, LOST, TAKEN = range(4)

#: (first position, number of positions, attempts told by the delivery)
Range = tuple[int, int, int]


class Run(Stretch):
    """A stretch that was delivered, and is settled by its ledger.

    ``marks`` has a byte a message: HELD, SETTLED, LOST (the lease is somebody else's), or TAKEN
    (an auto-ack delivery, with nothing to settle).
    """

    __slots__ = ("__weakref__", "ledger", "marks", "size")

    def __init__(
        self,
        ledger: Ledger,
        fields: dict[str, Any],
        elements: list[Any],
        offset: int,
        columns: dict[str, list[Any]],
    ) -> None:
        super().__init__(ledger.queue, fields, elements, offset, columns)
        self.ledger = ledger
        self.marks = bytearray(self.count)
        #: This run's share of the bytes of the delivery.
        self.size = 0

    def bytes_between(self, start: int, stop: int) -> int:
        """The share of ``size`` of a part; shares of disjoint parts add up exactly."""
        return self.size * stop // self.count - self.size * start // self.count

    def lose(self, first: int, count: int) -> int:
        """Marks those of the positions that are held here as lost; how many that were."""
        low = max(first - self.first, 0)
        high = min(first + count - self.first, self.count)
        held = [i for i in range(low, high) if self.marks[i] == HELD]
        for index in held:
            self.marks[index] = LOST
        return len(held)

    def held(self, start: int = 0, stop: int | None = None) -> Iterator[Range]:
        """The ranges that are neither settled nor lost, within ``start`` and ``stop``."""
        end = self.count if stop is None else stop
        low = self.marks.find(HELD, start, end)
        while low >= 0:
            rest = self.marks[low:end]
            count = len(rest) - len(rest.lstrip(b"\0"))
            yield self.first + low, count, self.attempts
            low = self.marks.find(HELD, low + count, end)


#: (run, start, stop): the messages of ``run`` from ``start`` to before ``stop``
Part = tuple[Run, int, int]


def cut(prefetched: deque[Part], limit: int, at_end: bool = False) -> list[Part]:
    """Takes ``limit`` messages out of ``prefetched``, from the front or from the end."""
    parts: list[Part] = []
    while prefetched and limit > 0:
        run, start, stop = prefetched.pop() if at_end else prefetched.popleft()
        if stop - start > limit:
            border = stop - limit if at_end else start + limit
            prefetched_part, part = (run, start, border), (run, border, stop)
            if not at_end:
                prefetched_part, part = part, prefetched_part
            (prefetched.append if at_end else prefetched.appendleft)(prefetched_part)
        else:
            part = (run, start, stop)
        parts.append(part)
        limit -= part[2] - part[1]
    return parts


def split(part: Part, ranges: list[Range]) -> tuple[list[Part], list[Part]]:
    """What is held of ``part`` within ``ranges`` (with its attempts), and all the rest."""
    run, start, stop = part
    if not ranges:
        return [], [part]
    covered = bytearray(stop - start)
    for first, count, attempts in ranges:
        low, high = max(first - run.first, start), min(first + count - run.first, stop)
        if attempts == run.attempts and low < high:
            covered[low - start : high - start] = b"\1" * (high - low)
    inside: list[Part] = []
    outside: list[Part] = []
    held = (mark == HELD for mark in run.marks[start:stop])
    for is_inside, group in groupby(map(all, zip(covered, held, strict=True))):
        end = start + len(list(group))
        (inside if is_inside else outside).append((run, start, end))
        start = end
    return inside, outside


def credit_bytes(reply: Reply, messages: int) -> int:
    """How many bytes of credit the delivery has used up.

    Told by the broker; else at least as many: it counts each stored batch with its own header
    and columns.  To give back too little would make the credit dwindle for ever.
    """
    told: int | None = reply.header.get("bytes")
    if told is not None:
        return told
    return len(reply.batch) + len(reply.columns) + messages * ELEMENT_OVERHEAD


def read_runs(reply: Reply, ledger: Ledger) -> list[Run]:
    """The runs of a delivery; raises NotAnEnvelope when the frames contradict each other."""
    elements = decode_batch(reply.batch)
    size = credit_bytes(reply, len(elements))
    columns = decode_columns(reply.columns) if reply.columns else {}
    runs: list[Run] = []
    offset = 0
    try:
        for fields in reply.header["runs"]:
            run = Run(ledger, fields, elements, offset, columns)
            start, offset = offset, offset + run.count
            run.size = size * offset // len(elements) - size * start // len(elements)
            runs.append(run)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise NotAnEnvelope(f"a run is not well formed: {error}") from None
    if offset != len(elements) or any(len(values) != offset for values in columns.values()):
        raise NotAnEnvelope(f"the runs tell {offset} messages, the batch {len(elements)}")
    return runs
