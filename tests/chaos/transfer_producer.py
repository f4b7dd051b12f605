"""One producer process of messages that will move on.

    python -m tests.chaos.transfer_producer ENDPOINTS HISTORY SEED

Law: a put is noted before it is made, its answer when it has come.
"""

from __future__ import annotations

import random
import sys
import threading
from itertools import count
from pathlib import Path

from broker.testing.history import Kind
from patterns import Client, MsgQueueError, ProducerExpired
from tests.chaos.load import make_body, stop_on_sigterm
from tests.chaos.transfers import DEAD_LETTERS, STEPS, Recorders
from tests.support.waiting import DEADLINE_S

BATCH_MAX = 20
BACKLOG_MAX = 500
FULL_S = 0.05
WITH_TTL = 0.1
TTLS_S = (0.3, 2.0)


def produce(mq: Client, recorders: Recorders, name: str, chance: random.Random) -> None:
    """One batch, and its answer."""
    queue = chance.choice((DEAD_LETTERS[0], STEPS[0]))
    messages = [f"{name}-{next(NUMBERS)}" for _ in range(chance.randint(1, BATCH_MAX))]
    bodies = [make_body(message, chance.randrange(200)) for message in messages]
    ttl = chance.choice(TTLS_S) if queue != STEPS[0] and chance.random() < WITH_TTL else None
    recorders.of(queue).record(Kind.PUT, messages)
    try:
        mq.queue(queue).put_many(bodies, ttl=ttl).wait(DEADLINE_S)
    except ProducerExpired:
        # The broker died before it took anything of this producer: it may have been taken or not.
        return
    recorders.of(queue).record(Kind.CONFIRMED, messages)


NUMBERS = count()


def wait_for_consumers(mq: Client, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            if all(mq.queue(name).stats()["messages"] <= BACKLOG_MAX for name in ("work", "step")):
                return
        except MsgQueueError:
            # The owner is gone; a put waits for the next one as well.
            return
        stop.wait(FULL_S)


def main(endpoints: str, history: str, seed: str) -> None:
    stop = stop_on_sigterm()
    path, chance = Path(history), random.Random(int(seed))
    recorders = Recorders(path)
    with Client(endpoints, connect_timeout=None, put_timeout=None, on_error=lambda _: None) as mq:
        while not stop.is_set():
            wait_for_consumers(mq, stop)
            produce(mq, recorders, path.stem, chance)


if __name__ == "__main__":
    main(*sys.argv[1:])
