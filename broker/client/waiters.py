"""Who is to be called at the next news of something; each is called once.

It never waits: those who do add a callback, and look again when it was called.
"""

from __future__ import annotations

from collections.abc import Callable


class Waiters:
    __slots__ = ("_calls",)

    def __init__(self) -> None:
        # A dict, for its order and because callers leave again in any.
        self._calls: dict[Callable[[], None], None] = {}

    def add(self, call: Callable[[], None]) -> None:
        self._calls[call] = None

    def discard(self, call: Callable[[], None]) -> None:
        self._calls.pop(call, None)

    def tell(self) -> None:
        if not self._calls:
            return
        calls, self._calls = self._calls, {}
        for call in calls:
            call()
