"""A subscription as the sync client shows it: events to iterate, or for a callback."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self

from broker.client.channels.event import Event
from broker.client.channels.handing import Handed, Handing, log
from broker.client.channels.intake import Intake
from broker.client.channels.runs import Gap, Part
from broker.client.sync_calls import SyncCalls
from broker.errors import ClientClosed, ConnectionLost, MsgQueueError

Callback = Callable[[Event], object]


class Subscription:
    """Made by ``Client.subscribe``; iterating it gives events, in the order of each channel.

    It ends with ``close``, at the end of its ``with`` block, or when nobody has it any more.
    """

    def __init__(
        self,
        calls: SyncCalls,
        intake: Intake,
        handing: Handing,
        timeout: float | None,
        limit: int | None,
    ) -> None:
        self._calls = calls
        self._intake = intake
        self._handing = handing
        self._timeout = timeout
        self._limit = limit

    @property
    def patterns(self) -> tuple[str, ...]:
        return self._intake.patterns

    @property
    def missed(self) -> int:
        """Messages that could not be had, as far as anybody knows how many."""
        return self._intake.missed

    def join(self, timeout: float) -> None:
        """Waits until nothing is missed that is published from now on; raises why not."""
        intake = self._intake
        if not self._calls.wait(lambda: intake.is_joined or intake.has_ended, timeout):
            raise ConnectionLost("the subscription is not confirmed in time")
        if intake.error is not None:
            raise intake.error

    def __iter__(self) -> Generator[Event, None, None]:
        """Events until ``max``, ``timeout`` idle seconds, or the end of the subscription."""
        handed = Handed(self._handing)
        # Counts down to 0; without a limit it begins below.
        left = -1 if self._limit is None else self._limit
        run, index, stop = None, 0, 0
        try:
            while left:
                part = handed.next_part()
                if part is None:
                    items = self._take()
                    if not items:
                        return
                    handed.fill(items)
                    continue
                run, start, stop = part
                if 0 < left < stop - start:
                    handed.put_back((run, start + left, stop))
                    stop = start + left
                left -= stop - start
                for index in range(start, stop):
                    yield Event(run, index)
                run = None
        finally:
            if run is not None and index + 1 < stop:
                handed.put_back((run, index + 1, stop))
            self._give_back(handed.rest())

    def call(self, callback: Callback) -> None:
        """Hands each event to ``callback``, in a thread of its own, until the end."""
        threading.Thread(
            target=self._hand_to, args=(callback,), name="msgqueue-events", daemon=True
        ).start()

    def close(self) -> None:
        """Ends the subscription; what waits is dropped."""
        calls = self._calls
        if calls.is_forked or calls.is_closed or self._intake.is_closed:
            return
        with calls.changing:
            calls.session.subscriptions.remove(self._intake)
            calls.turn(is_due=True)

    def _take(self) -> deque[Part | Gap]:
        """What waits; nothing when there will be no more, or ``timeout`` brought none."""
        calls, intake = self._calls, self._intake
        session = calls.session
        while True:
            with calls.changing:
                items = session.subscriptions.take(intake, calls.now_ms())
                if session.wants_turn:
                    calls.turn()
                calls.keep_receiving(bool(items))
            if items:
                return items
            if intake.error is not None:
                raise intake.error
            if intake.is_closed or not calls.wait(lambda: intake.has_news, self._timeout):
                return items

    def _give_back(self, items: deque[Part | Gap]) -> None:
        if items and not self._calls.is_forked:
            with self._calls.lock:
                self._intake.give_back(items)

    def _hand_to(self, callback: Callback) -> None:
        try:
            for event in self:
                try:
                    callback(event)
                except Exception:
                    log.exception("the callback of %r failed", self)
        except ClientClosed:
            return
        except MsgQueueError as error:
            log.error("%r ended: %s: %s", self, error.name, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # By any thread, in the middle of anything: the next turn ends it.
        self._calls.session.subscriptions.abandon(self._intake)

    def __repr__(self) -> str:
        return f"<Subscription to {', '.join(self.patterns)}>"
