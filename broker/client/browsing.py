"""Looking at what waits in a queue, page by page, without taking any of it.

Owns the place that a browse has come to.  It never changes anything, here or at the broker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from broker.client.codec import decode_batch, decode_columns
from broker.client.naming import Which, commands_for, sort_out
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
    """``command`` gives the next question, until it is None; ``take`` reads the answer to it.

    ``places`` are the queue, behind its partitions where it has any.
    """

    def __init__(
        self,
        places: list[str],
        after: int | None,
        count_max: int | None,
        selector: Selector | None,
        which: Which | None,
    ) -> None:
        if count_max is not None and count_max < 1:
            raise BadField("max is at least 1")
        if after is not None and len(places) > 1:
            raise BadField(f"{places[-1]} has partitions: a position is of one of them")
        self._after = after
        self._left = count_max
        self._conditions = wire_selector(selector)
        self._questions = _questions(places, which)
        self._question = next(self._questions, None)

    def command(self) -> Ask | None:
        if self._question is None or self._left == 0:
            return None
        page = PAGE_MESSAGES if self._left is None else min(self._left, PAGE_MESSAGES)
        fields: Ask = {"cmd": "browse", "max": page, **self._question}
        if self._after is not None:
            fields["after"] = self._after
        if self._conditions is not None:
            fields["selector"] = self._conditions
        return fields

    def take(self, reply: Reply) -> Iterator[BrowsedMessage]:
        """The messages of one page."""
        assert self._question is not None
        queue: str = self._question["queue"]
        self._after = reply.header.get("next")
        if self._after is None:
            self._question = next(self._questions, None)
        for stretch in _read(queue, reply):
            for index in range(stretch.count):
                if self._left == 0:
                    return
                if self._left is not None:
                    self._left -= 1
                yield BrowsedMessage(stretch, index)

    def skip(self) -> None:
        """The place is a partition that is not there: it holds nothing."""
        self._after = None
        self._question = next(self._questions, None)


def _questions(places: list[str], which: Which | None) -> Iterator[Ask]:
    """Where to ask, and for which messages."""
    if which is None:
        yield from ({"queue": name} for name in places)
        return
    named = sort_out(places[-1], places, which)
    for name, positions in named.positions.items():
        yield from ({"queue": name, **part} for part in commands_for(positions, []))
    for name in places if named.ids else []:
        yield from ({"queue": name, **part} for part in commands_for([], named.ids))


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
