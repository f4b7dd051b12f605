"""One process that makes messages move: it rejects, fails, redrives, and settles by transactions.

    python -m tests.chaos.transfer_consumer ENDPOINTS HISTORY SEED

Law: a delivery is noted before it is settled, a settle when its confirm has come.
"""

from __future__ import annotations

import random
import sys
import threading
from contextlib import suppress
from pathlib import Path

from broker.testing.history import Kind
from patterns import Client, LeaseLost, Message, MsgQueueError
from tests.chaos.load import read_id, stop_on_sigterm
from tests.chaos.transfers import DEAD_LETTERS, SETTINGS, STEPS, Recorders
from tests.support.waiting import DEADLINE_S

TAKEN_MAX = 30
WAIT_S = 0.05
REJECTED, FAILED = 0.15, 0.2
REDRIVEN = 0.3
LEASE_S = 5.0


class TransferConsumer:
    def __init__(self, mq: Client, recorders: Recorders, chance: random.Random) -> None:
        self._mq = mq
        self._recorders = recorders
        self._chance = chance

    def run(self, stop: threading.Event) -> None:
        queues = list(SETTINGS)
        while not stop.is_set():
            queue = self._chance.choice(queues)
            with suppress(MsgQueueError):
                # Where an owner is gone there is nothing to take for now.
                self._work(queue)

    def _work(self, queue: str) -> None:
        if queue == DEAD_LETTERS[1] and self._chance.random() < REDRIVEN:
            self._mq.queue(queue).redrive(to=DEAD_LETTERS[2], max=10)
            return
        messages = self._mq.queue(queue).get_many(TAKEN_MAX, WAIT_S, lease=LEASE_S)
        if not messages:
            return
        recorder = self._recorders.of(queue)
        positions = [message.position for message in messages]
        recorder.record(Kind.DELIVERED, [read_id(m.raw) for m in messages], positions)
        if queue == STEPS[0]:
            self._transact(messages)
            return
        for message in messages:
            self._settle(queue, message)

    def _settle(self, queue: str, message: Message) -> None:
        chance = self._chance.random() if queue == DEAD_LETTERS[0] else 1.0
        kind = Kind.ACKED
        with suppress(LeaseLost):
            if chance < REJECTED:
                kind = Kind.REJECTED
                message.reject(wait=True)
            elif chance < REJECTED + FAILED:
                message.nack(wait=True)
                return
            else:
                message.ack(wait=True)
            self._recorders.of(queue).record(kind, [read_id(message.raw)])

    def _transact(self, messages: list[Message]) -> None:
        ids = [read_id(message.raw) for message in messages]
        self._recorders.of(STEPS[1]).record(Kind.PUT, ids)
        with suppress(LeaseLost):
            with self._mq.transaction() as transaction:
                for message in messages:
                    transaction.ack(message)
                    transaction.put(STEPS[1], message.raw)
            self._recorders.of(STEPS[0]).record(Kind.ACKED, ids)
            self._recorders.of(STEPS[1]).record(Kind.CONFIRMED, ids)


def main(endpoints: str, history: str, seed: str) -> None:
    stop = stop_on_sigterm()
    with Client(
        endpoints, connect_timeout=None, request_timeout=DEADLINE_S, on_error=lambda _: None
    ) as mq:
        recorders = Recorders(Path(history))
        TransferConsumer(mq, recorders, random.Random(int(seed))).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
