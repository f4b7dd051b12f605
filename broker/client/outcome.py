"""What the broker still has to answer: done once, with a result or with an error.

Owns who is told when it is done.  It never waits: the shells do, each in its own way.
Law: an outcome is finished once; whatever comes later is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from broker.client.waiters import Waiters
from broker.errors import MsgQueueError


def all_done(outcomes: Iterable[Outcome]) -> Callable[[], bool]:
    """A question to ask again and again; what is done is not looked at twice."""
    rest = list(outcomes)

    def is_done() -> bool:
        while rest and rest[-1].done:
            rest.pop()
        return not rest

    return is_done


class Outcome:
    __slots__ = ("done", "error", "result", "waiters")

    def __init__(self) -> None:
        self.done = False
        self.result: Any = None
        self.error: MsgQueueError | None = None
        #: Called once each when it is done.
        self.waiters = Waiters()

    def finish(self, result: Any = None, error: MsgQueueError | None = None) -> None:
        if self.done:
            return
        self.result = result
        self.error = error
        self.done = True
        self.waiters.tell()

    def value(self) -> Any:
        """The result of a finished outcome; raises its error."""
        if self.error is not None:
            raise self.error
        return self.result
