"""One producer process: single messages and batches, through the client, as fast as they are taken.

    python -m tests.chaos.producer ENDPOINT HISTORY SEED

Law: a put is noted before it is made, its answer when it has come.
"""

from __future__ import annotations

import random
import sys
import threading
from collections import deque
from itertools import count
from pathlib import Path

from broker.testing.history import Kind
from patterns import BulkConfirm, Client, Confirm, MsgQueueError, ProducerExpired, Queue, QueueFull
from tests.chaos.load import QUEUE, make_body, stop_on_sigterm
from tests.checkers.history import Recorder
from tests.support.waiting import DEADLINE_S

UNCONFIRMED_MAX = 100
BATCH_MAX = 100
FILL_BYTES_MAX = 1_000
FULL_S = 0.05
#: The queue is looked at after so many puts, and left alone while it holds more than this.  Its own
#: limit is far above: a batch that is refused as too much, with an answer that is lost, comes again
#: behind smaller ones that were taken, and says nothing about order.
LOOK_EVERY = 50
BACKLOG_MAX = 2_000


class Producer:
    def __init__(self, queue: Queue, recorder: Recorder, name: str, chance: random.Random) -> None:
        self._queue = queue
        self._recorder = recorder
        self._name = name
        self._chance = chance
        self._numbers = count()
        self._unconfirmed: deque[tuple[Confirm | BulkConfirm, list[str]]] = deque()

    def run(self, stop: threading.Event) -> None:
        for number in count():
            if stop.is_set():
                break
            if number % LOOK_EVERY == 0:
                self._wait_for_consumers(stop)
            self._put()
            if len(self._unconfirmed) > UNCONFIRMED_MAX and not self._maybe_confirm():
                stop.wait(FULL_S)
        while self._unconfirmed:
            self._maybe_confirm()

    def _wait_for_consumers(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                if self._queue.stats()["messages"] <= BACKLOG_MAX:
                    return
            except MsgQueueError:
                # The owner is gone; a put waits for the next one as well.
                return
            stop.wait(FULL_S)

    def _put(self) -> None:
        chance = self._chance
        number = chance.choice((1, 1, 1, chance.randint(2, BATCH_MAX)))
        messages = [f"{self._name}-{next(self._numbers)}" for _ in range(number)]
        bodies = [make_body(message, chance.randrange(FILL_BYTES_MAX)) for message in messages]
        named = chance.random() < 0.5
        confirm: Confirm | BulkConfirm
        self._recorder.record(Kind.PUT, messages)
        if number == 1:
            confirm = self._queue.put(bodies[0], id=messages[0] if named else None)
        else:
            confirm = self._queue.put_many(bodies, ids=messages if named else None)
        self._unconfirmed.append((confirm, messages))

    def _maybe_confirm(self) -> bool:
        """Waits for the oldest answer; False when it was a refusal.

        A put that has none within the deadline, over all restarts, hangs: that ends the run.
        """
        confirm, messages = self._unconfirmed.popleft()
        try:
            confirm.wait(DEADLINE_S)
        except QueueFull:
            self._recorder.record(Kind.REFUSED, messages)
            return False
        except ProducerExpired:
            # Killed before it took anything of this producer, the broker does not know it; what
            # was under way then may have been taken or not, and nothing is noted.
            return False
        self._recorder.record(Kind.CONFIRMED, messages)
        return True


def main(endpoint: str, history: str, seed: str) -> None:
    stop = stop_on_sigterm()
    path = Path(history)
    # A refusal reaches whoever waits for its confirm; here that is always somebody.
    with (
        Recorder(path, path.stem) as recorder,
        Client(endpoint, connect_timeout=None, put_timeout=None, on_error=lambda _: None) as mq,
    ):
        Producer(mq.queue(QUEUE), recorder, path.stem, random.Random(int(seed))).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
