"""What can be read of a delivered message and of a batch of them.

It never settles: the sync and async faces do.
"""

from __future__ import annotations

from typing import Any

from broker.client.delivery import HELD, LOST, TAKEN, Part, Run
from broker.client.readable import ReadableMessage
from broker.errors import LeaseLost


class MessageView(ReadableMessage):
    """One delivered message."""

    __slots__ = ()

    _run: Run

    @property
    def is_held(self) -> bool:
        """True until it is settled here, or known to be lost."""
        return self._run.marks[self._index] == HELD

    @property
    def part(self) -> Part:
        """Where it stands in its delivery."""
        return self._run, self._index, self._index + 1


class BatchView:
    """Messages that were delivered together, in order."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self._parts)

    @property
    def bodies(self) -> list[Any]:
        """All bodies, decoded as their content types say."""
        bodies: list[Any] = []
        for run, start, stop in self._parts:
            elements = run.elements[run.offset + start : run.offset + stop]
            if run.content_type is None and set(map(type, elements)) == {bytes}:
                bodies += elements
            else:
                bodies += [MessageView(run, index).body for index in range(start, stop)]
        return bodies

    @property
    def queue(self) -> str:
        return self._parts[0][0].queue

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} messages of {self.queue!r}>"


def without_lost(parts: list[Part]) -> list[Part]:
    """``parts`` without what a reconnect gave to somebody else."""
    kept: list[Part] = []
    for run, start, stop in parts:
        if run.marks.find(LOST, start, stop) < 0:
            kept.append((run, start, stop))
            continue
        for first, count, _ in run.held(start, stop):
            kept.append((run, first - run.first, first - run.first + count))
    return kept


def parts_of(view: MessageView | BatchView) -> list[Part]:
    """What is held of a message or a batch; raises LeaseLost for what is lost, or taken."""
    parts = view._parts if isinstance(view, BatchView) else [view.part]
    held: list[Part] = []
    for run, start, stop in parts:
        if run.marks.find(LOST, start, stop) >= 0 or run.marks.find(TAKEN, start, stop) >= 0:
            raise LeaseLost("a message was given to somebody else, or taken with auto_ack")
        for first, count, _ in run.held(start, stop):
            held.append((run, first - run.first, first - run.first + count))
    if not held:
        raise LeaseLost("the message is settled already")
    return held
