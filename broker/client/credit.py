"""How much a consumer has on hand: the window of credit, fixed or adapting to its pace.

Owns the window's size and the account of where its messages are.  It never talks to the broker.
Law: at the broker + prefetched + in hand is never made larger than the window.

    granted --delivered--> prefetched --taken--> in hand --settled--> (granted again)
"""

from __future__ import annotations

from typing import NamedTuple

from broker.limits import CREDIT_BYTES_DEFAULT, CREDIT_DEFAULT, CREDIT_MAX

#: A consumer has about this much of its own work on hand.
TARGET_MS = 20


class Grant(NamedTuple):
    messages: int
    bytes: int

    def __bool__(self) -> bool:
        return self.messages > 0 or self.bytes > 0


class CreditWindow:
    """``fixed`` None adapts, from ``start``, between ``concurrency`` and CREDIT_MAX."""

    def __init__(
        self,
        fixed: int | None = None,
        concurrency: int = 1,
        start: int = CREDIT_DEFAULT,
        remaining: int | None = None,
    ) -> None:
        self.adapts = fixed is None
        self.size = start if fixed is None else fixed
        self.at_broker = 0
        self.bytes_at_broker = 0
        self.prefetched = 0
        self.prefetched_bytes = 0
        self.in_hand = 0
        self._size_min = concurrency
        #: How many more the application will ever take; None is no end.
        self._remaining = remaining
        # The pace: messages settled since ``_paced_at``, without the time spent waiting.
        self._settled = 0
        self._paced_at: int | None = None
        self._waiting_at: int | None = None

    def share(self, parts: int) -> CreditWindow:
        """One of so many windows of equal size, each of one message at least."""
        size = max(self.size // parts, 1)
        fixed = None if self.adapts else size
        return CreditWindow(fixed, self._size_min, size, self._remaining)

    def due(self) -> Grant:
        """What may be granted now."""
        on_the_way = self.at_broker + self.prefetched
        messages = self.size - on_the_way - self.in_hand
        if self._remaining is not None:
            messages = min(messages, self._remaining - on_the_way)
        free = CREDIT_BYTES_DEFAULT - self.bytes_at_broker - self.prefetched_bytes
        return Grant(max(messages, 0), max(free, 0))

    def grant(self) -> Grant:
        """Takes what is due: the caller tells the broker."""
        due = self.due()
        self.at_broker += due.messages
        self.bytes_at_broker += due.bytes
        return due

    @property
    def is_worth_a_grant(self) -> bool:
        """Half the window, or all that is ever wanted: less is not worth a command."""
        due = self.due().messages
        return due > 0 and (due * 2 >= self.size or due == self._remaining)

    def delivered(self, messages: int, size: int) -> None:
        self.at_broker -= messages
        self.bytes_at_broker -= size
        self.prefetched += messages
        self.prefetched_bytes += size

    def taken(self, messages: int, size: int, now: int) -> None:
        """The application begins to work on prefetched messages."""
        self.prefetched -= messages
        self.prefetched_bytes -= size
        self.in_hand += messages
        if self._remaining is not None:
            self._remaining -= messages
        if self._paced_at is None:
            self._paced_at = now
        self._leave_out_waiting(now)
        self._waiting_at = None

    def settled(self, messages: int) -> None:
        self.in_hand -= messages
        self._settled += messages

    def lost(self, messages: int) -> None:
        """A reconnect gave them to somebody else: nobody settles them here, others may come.

        Those of them that are still prefetched count back when they are taken.
        """
        self.in_hand -= messages
        if self._remaining is not None:
            self._remaining += messages

    def waits(self, now: int) -> None:
        """The application wants the next message and there is none."""
        if self.in_hand == 0:
            if self._waiting_at is None:
                self._waiting_at = now
        elif self.adapts and self._size_min == 1 and self.at_broker == 0:
            # It gathers messages before it settles them: a window that is all in hand would
            # stand still.  With a concurrency of its own it only means that all hands are full.
            self.size = min(max(self.size, self.in_hand) * 2, CREDIT_MAX)

    def adapt(self, now: int) -> int:
        """Follows the pace; gives how many prefetched messages are now too many.

        None are while more are on the way: giving back would let those overtake.
        """
        if not self.adapts or self._paced_at is None:
            return 0
        self._leave_out_waiting(now)
        busy_ms = now - self._paced_at
        if self._settled < self.size and busy_ms < TARGET_MS:
            return 0
        target = self._settled * TARGET_MS // busy_ms if busy_ms > 0 else CREDIT_MAX
        # Half or double at most: one slow message is no pace.
        target = min(max(target, self.size // 2), self.size * 2)
        self.size = min(max(target, self._size_min), CREDIT_MAX)
        self._settled = 0
        self._paced_at = now
        return max(self.prefetched - self.size, 0) if self.at_broker <= 0 else 0

    def _leave_out_waiting(self, now: int) -> None:
        if self._paced_at is not None and self._waiting_at is not None:
            self._paced_at += now - self._waiting_at
            self._waiting_at = now

    def given_back(self, messages: int, size: int) -> None:
        self.prefetched -= messages
        self.prefetched_bytes -= size

    def void(self) -> None:
        """A new session has granted nothing yet."""
        self.at_broker = 0
        self.bytes_at_broker = 0
