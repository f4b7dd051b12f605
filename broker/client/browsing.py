"""Looking at what waits in a queue, page by page, without taking any of it.

Owns the place that a browse has come to.  It never changes anything, here or at the broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from broker.client.codec import decode_batch, decode_columns
from broker.client.operations import IDS_PER_COMMAND, RANGES_PER_COMMAND, Which, sort_out
from broker.client.readable import ReadableMessage
from broker.client.selector import Selector, wire_selector
from broker.client.stretch import Stretch
from broker.errors import BadField, NotAnEnvelope

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.client.plans import Ask

PAGE_MESSAGES = 1_000


class BrowsedStretch(Stretch):
    """``state`` is ready, delayed, in_flight, resting or departing."""

    __slots__ = ("due_at", "state")

    def __init__(
        self,
        queue: str,
        fields: dict[str, Any],
        elements: list[Any],
        offset: int,
        columns: dict[str, list[Any]],
    ) -> None:
        super().__init__(queue, fields, elements, offset, columns)
        self.state: str = fields.get("state", "ready")
        self.due_at: int | None = fields.get("due_at")


class BrowsedMessage(ReadableMessage):
    """A message as it waits, or is held by somebody; it cannot be settled from here."""

    __slots__ = ()

    _run: BrowsedStretch

    @property
    def state(self) -> str:
        """``ready``, ``delayed``, ``in_flight``, ``resting`` after a nack, or ``departing``."""
        return self._run.state

    @property
    def due_at(self) -> float | None:
        """When it is ready, in seconds since the Unix epoch; None for what waits for nothing."""
        return None if self._run.due_at is None else self._run.due_at / 1000


class Browse:
    """``command`` gives the next question, until it is None; ``take`` reads the answer to it."""

    def __init__(
        self,
        queue: str,
        after: int | None,
        count_max: int | None,
        selector: Selector | None,
        which: Which | None,
    ) -> None:
        if count_max is not None and count_max < 1:
            raise BadField("max is at least 1")
        self._queue = queue
        self._after = after
        self._left = count_max
        self._conditions = wire_selector(selector)
        self._named = None if which is None else _named(queue, which)
        self._question: Ask | None = self._next_named() if which is not None else {}

    def command(self) -> Ask | None:
        if self._question is None or self._left == 0:
            return None
        page = PAGE_MESSAGES if self._left is None else min(self._left, PAGE_MESSAGES)
        fields: Ask = {"cmd": "browse", "queue": self._queue, "max": page, **self._question}
        if self._after is not None:
            fields["after"] = self._after
        if self._conditions is not None:
            fields["selector"] = self._conditions
        return fields

    def take(self, reply: Reply) -> Iterator[BrowsedMessage]:
        """The messages of one page."""
        self._after = reply.header.get("next")
        if self._after is None:
            self._question = self._next_named()
        for stretch in _read(self._queue, reply):
            for index in range(stretch.count):
                if self._left == 0:
                    return
                if self._left is not None:
                    self._left -= 1
                yield BrowsedMessage(stretch, index)

    def _next_named(self) -> Ask | None:
        return None if self._named is None else next(self._named, None)


def _named(queue: str, which: Which) -> Iterator[Ask]:
    positions, ids = sort_out(queue, which)
    for start in range(0, len(positions), RANGES_PER_COMMAND):
        yield {"ranges": [[each, 1] for each in positions[start : start + RANGES_PER_COMMAND]]}
    for start in range(0, len(ids), IDS_PER_COMMAND):
        yield {"ids": ids[start : start + IDS_PER_COMMAND]}


def _read(queue: str, reply: Reply) -> list[BrowsedStretch]:
    elements = decode_batch(reply.batch) if reply.batch else []
    columns = decode_columns(reply.columns) if reply.columns else {}
    stretches: list[BrowsedStretch] = []
    offset = 0
    try:
        for fields in reply.header["runs"]:
            stretches.append(BrowsedStretch(queue, fields, elements, offset, columns))
            offset += stretches[-1].count
    except (KeyError, TypeError, ValueError) as error:
        raise NotAnEnvelope(f"a run is not well formed: {error!r}") from None
    if offset != len(elements):
        raise NotAnEnvelope(f"the runs tell {offset} messages, the batch {len(elements)}")
    return stretches
