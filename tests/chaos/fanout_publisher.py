"""One process that publishes numbered messages at a pace, each with its number in front.

    python -m tests.chaos.fanout_publisher ENDPOINTS TOTAL RATE

Law: it ends with 0 only when every message was confirmed.  What is late (a broker was away) is
made up for as fast as confirms come.
"""

from __future__ import annotations

import sys
import threading
import time

from patterns import Client
from tests.chaos.fanout_channel import CHANNEL, HISTORY, NUMBER
from tests.support.waiting import DEADLINE_S

FILL = b"a" * 248
STEP_S = 0.01


def main(endpoints: str, total: str, rate: str) -> None:
    step = max(1, int(int(rate) * STEP_S))
    last = int(total)
    tick = threading.Event()
    with Client(endpoints, connect_timeout=None, request_timeout=DEADLINE_S) as mq:
        channel = mq.channel(CHANNEL, history=HISTORY, durable=True)
        began_at = time.monotonic()
        for first in range(0, last, step):
            numbers = range(first, min(first + step, last))
            channel.publish_many([NUMBER.pack(number) + FILL for number in numbers])
            ahead_s = first / int(rate) - (time.monotonic() - began_at)
            if ahead_s > 0:
                tick.wait(ahead_s)
        mq.flush(DEADLINE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
