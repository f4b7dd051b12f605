"""One consumer process: take a piece, count it, commit, acknowledge.

    python -m examples.word_count.consumer ENDPOINT QUEUE TALLY

It needs no thought about being killed: what it had not committed comes again.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from examples.word_count.tally import Tally
from examples.word_count.text import count_words
from patterns import Client, LeaseLost, MsgQueueError

#: How soon the broker gives the messages of a dead consumer to others.
SESSION_S = 3.0


def expect_lost_leases(error: MsgQueueError) -> None:
    """An ack that came too late: the message goes to somebody, who finds it counted."""
    if not isinstance(error, LeaseLost):
        raise error


def main(endpoint: str, queue: str, path: str) -> None:
    tally = Tally(Path(path))
    with Client(endpoint, session_timeout=SESSION_S, on_error=expect_lost_leases) as mq:
        for message in mq.queue(queue).consume():
            tally.count(str(message.id), count_words(message.body))
            message.ack()


if __name__ == "__main__":
    # The parent ends its consumers with SIGTERM; leaving the client's block sends the last acks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main(*sys.argv[1:])
