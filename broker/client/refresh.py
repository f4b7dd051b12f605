"""When to ask for the map, and whom: the pace of one client's questions.

Owns the pause between two questions, which grows while they do not help.  It never reads the
answer.  Law: no two questions within ``PAUSE_MS_MIN``, whatever happens.
"""

from __future__ import annotations

from broker.client.connection import Draw

PAUSE_MS_MIN = 100
PAUSE_MS_MAX = 1_000
#: An answer that takes longer is waited for no more.
ANSWER_MS = 1_000


class RefreshPace:
    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._pause_ms = PAUSE_MS_MIN
        self._asked_at: int | None = None
        #: The earliest instant of the next question.
        self._not_before = 0
        #: Until when the answer to the last one is waited for; None when it came.
        self._answer_until: int | None = None

    def may_ask(self, now: int) -> bool:
        return now >= self.next_at()

    def next_at(self) -> int:
        """When a question may be asked, if there is reason to."""
        return max(self._not_before, self._answer_until or 0)

    def asked(self, now: int) -> None:
        if self._asked_at is None or now - self._asked_at > 2 * PAUSE_MS_MAX:
            self._pause_ms = PAUSE_MS_MIN
        # Up to half as long again: clients that lost one broker do not ask as one.
        self._not_before = now + self._pause_ms + self._pause_ms * self._draw(1)[0] // 512
        self._pause_ms = min(self._pause_ms * 2, PAUSE_MS_MAX)
        self._asked_at = now
        self._answer_until = now + ANSWER_MS

    def answered(self) -> None:
        """Also when it is known that no answer will come."""
        self._answer_until = None
