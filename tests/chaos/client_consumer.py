"""One consumer process that uses the client: it follows its queue from broker to broker.

    python -m tests.chaos.client_consumer ENDPOINTS HISTORY SEED

Every settle waits for its confirm.  Law: a delivery is noted before its settle is made, a settle
when its confirm has come.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from broker.testing.history import Kind
from patterns import Client, LeaseLost, Message, MessageBatch, MsgQueueError, Queue
from tests.chaos.load import QUEUE, read_id, reign_of, stop_on_sigterm
from tests.checkers.history import Recorder
from tests.support.waiting import DEADLINE_S

BATCH_MAX = 100
CREDIT = 200
IDLE_S = 0.5
RETURNED = 0.05
HELD = 0.1
HELD_S_MAX = 0.3


class ClientConsumer:
    def __init__(self, queue: Queue, recorder: Recorder, chance: random.Random) -> None:
        self._queue = queue
        self._recorder = recorder
        self._chance = chance

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            for batch in self._queue.consume_batches(BATCH_MAX, credit=CREDIT, timeout=IDLE_S):
                self._work(batch, stop)
                if stop.is_set():
                    break

    def _work(self, batch: MessageBatch, stop: threading.Event) -> None:
        self._record(Kind.DELIVERED, list(batch))
        if self._chance.random() < HELD:
            stop.wait(self._chance.uniform(0, HELD_S_MAX))
        # What a change of owner took away meanwhile is not settled with the others.
        held = [message for message in batch if message.is_held]
        kind = Kind.NACKED if self._chance.random() < RETURNED else Kind.ACKED
        try:
            if kind is Kind.ACKED:
                batch.ack(wait=True)
            else:
                batch.nack(delay=self._chance.uniform(0, 0.2), wait=True)
        except LeaseLost:
            # Some of them: which ones is not told, so that nothing may be concluded.
            return
        # What its queue's new owner delivers may wait in the client already while the former one's
        # delivery is settled with the new one: then a later delivery is no fault.
        self._record(kind, [message for message in held if not self._is_past(message)])

    def _record(self, kind: Kind, messages: Sequence[Message]) -> None:
        """An event tells of one reign, a batch may hold messages of two."""
        for reign in dict.fromkeys(map(_reign, messages)):
            those = [message for message in messages if _reign(message) == reign]
            ids = [read_id(message.raw) for message in those]
            positions = [m.position for m in those] if kind is Kind.DELIVERED else []
            attempts = [message.attempts for message in those]
            self._recorder.record(kind, ids, positions, attempts, reign)

    def _is_past(self, message: Message) -> bool:
        """The client knows of a later reign than the one that delivered the message."""
        return self._queue._calls.session._directory.is_past(message._run.ledger.tag)


def _reign(message: Message) -> int:
    """No business of an application, so the client keeps it to itself; the judges need it."""
    return reign_of(message._run.ledger.tag)


def expect_lost_leases(error: MsgQueueError) -> None:
    if not isinstance(error, LeaseLost):
        raise error


def main(endpoints: str, history: str, seed: str) -> None:
    stop = stop_on_sigterm()
    path = Path(history)
    with (
        Recorder(path, path.stem) as recorder,
        Client(
            endpoints,
            connect_timeout=None,
            request_timeout=DEADLINE_S,
            on_error=expect_lost_leases,
        ) as mq,
    ):
        ClientConsumer(mq.queue(QUEUE), recorder, random.Random(int(seed))).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
