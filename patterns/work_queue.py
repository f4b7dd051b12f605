"""A worker on a queue: several messages at a time, retries, and an end that loses nothing.

``async_work_queue`` has the same for asyncio.

    def send(message: Message) -> None:
        deliver(message.body)                  # raise to have it tried again

    with Client() as mq:
        mq.queue("emails", dead_letter="emails.failed", max_attempts=5, backoff=2)
        Worker(mq, "emails", send, concurrency=8).run()      # until SIGTERM or Ctrl-C

A handler that returns has acked, one that raises has given back: after the queue's backoff, after
a time of its own (``Retry``), or never again (``Reject``).  What is in hand keeps its lease however
long it takes.  At the end no more is taken, what is in hand is finished, and what is not finished
after ``drain`` seconds goes back without having spent an attempt.

Law: at least once.  A worker that dies, or stands still beyond its lease, has its messages handed
to others, so handlers are to be idempotent: see ``idempotent_consumer``.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

from broker.client.async_message import AsyncMessage
from broker.client.message import Message
from broker.client.sync_client import Client
from broker.errors import LeaseLost, MsgQueueError

log = logging.getLogger("msgqueue.work_queue")

#: A worker looks so often whether it is to stop.
POLL_S = 0.25
#: They end a worker.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Reject(Exception):
    """Raised by a handler: to try again is no use.  The message is a dead letter."""


class Retry(Exception):
    """Raised by a handler: not now, but in ``delay`` seconds; ``charge=False`` is no attempt."""

    def __init__(self, delay: float | None = None, *, charge: bool = True) -> None:
        super().__init__(f"again in {delay} s" if delay is not None else "again after the backoff")
        self.delay = delay
        self.charge = charge


class Worker:
    """Calls ``handle`` in threads, ``concurrency`` at a time.

    ``lease`` is how soon others get what a dead worker held; a live one extends it.  ``prefetch``
    messages more are on hand, for handlers so short that a round trip matters; their leases are
    not extended.  Work for the processor is best done by a pool of processes from ``handle``.
    """

    def __init__(
        self,
        mq: Client,
        queue: str,
        handle: Callable[[Message], object],
        *,
        concurrency: int = 1,
        lease: float = 30.0,
        prefetch: int = 0,
        drain: float = 30.0,
    ) -> None:
        self._mq = mq
        self._queue = mq.queue(queue)
        self._handle = handle
        self._concurrency = concurrency
        self._lease = lease
        self._credit = concurrency + prefetch
        self._drain = drain
        self._in_hand: set[Message] = set()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._ended = threading.Event()

    def stop(self) -> None:
        """Ends ``run`` soon; from any thread, and from a signal handler."""
        self._is_stopping = True

    def run(self) -> None:
        """Works until ``stop``, SIGTERM or Ctrl-C; raises what the client raises."""
        pool = ThreadPoolExecutor(self._concurrency, "worker")
        keeper = threading.Thread(target=self._keep_leases, daemon=True)
        keeper.start()
        try:
            with stopped_by_signals(self.stop):
                try:
                    while not self._is_stopping:
                        self._take(pool)
                finally:
                    self._finish()
        finally:
            self._ended.set()
            keeper.join()
            pool.shutdown(wait=False, cancel_futures=True)
        self._mq.flush()

    def _take(self, pool: ThreadPoolExecutor) -> None:
        """Until it is to stop, or nothing came for a moment; what was not begun goes back free."""
        coming = self._queue.consume(
            credit=self._credit, concurrency=self._concurrency, lease=self._lease, timeout=POLL_S
        )
        with closing(coming):
            for message in coming:
                with self._changed:
                    self._in_hand.add(message)
                pool.submit(self._work, message)
                self._wait_until(lambda: len(self._in_hand) < self._concurrency)
                if self._is_stopping:
                    return

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        with self._changed:
            while not (is_so() or self._is_stopping):
                self._changed.wait(POLL_S)

    def _work(self, message: Message) -> None:
        settle: Callable[[], None] = message.ack
        try:
            self._handle(message)
        except Exception as error:
            again = retry_of(error, message)
            settle = message.reject
            if again is not None:
                delay, charge = again.delay, again.charge
                settle = lambda: message.nack(delay, charge)  # noqa: E731
        try:
            if message.is_held:
                settle()
        except MsgQueueError as error:
            log.warning("%s comes again: %s: %s", message.id, error.name, error)
        finally:
            with self._changed:
                self._in_hand.discard(message)
                self._changed.notify_all()

    def _keep_leases(self) -> None:
        while not self._ended.wait(self._lease / 3):
            with self._changed:
                held = [message for message in self._in_hand if message.is_held]
            for message in held:
                try:
                    message.extend(self._lease)
                except MsgQueueError as error:
                    log.warning("the lease of %s: %s: %s", message.id, error.name, error)

    def _finish(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._in_hand, self._drain)
            for message in self._in_hand:
                with suppress(LeaseLost):
                    message.nack(charge=False)


def retry_of(error: Exception, message: Message | AsyncMessage) -> Retry | None:
    """What becomes of a message whose handler raised; None when it is rejected."""
    if isinstance(error, Reject):
        log.warning("%s is rejected: %s", message.id, error)
        return None
    if isinstance(error, Retry):
        return error
    log.error("%s failed, attempt %d", message.id, message.attempts + 1, exc_info=error)
    return Retry()


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Only the main thread may handle signals; in others somebody else calls ``stop``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop()) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
