"""Sends e-mails, four at a time, until SIGTERM or Ctrl-C: failures are tried again, then kept.

python examples/worker.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client, Message
from patterns.work_queue import Reject, Worker

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"


def send(message: Message) -> None:
    to = message.body["to"]
    if "@" not in to:
        raise Reject(f"{to} is no address")  # a dead letter at once
    if to.startswith("flaky") and message.attempts == 0:
        raise ConnectionError("the mail server is away")  # tried again after the backoff
    print("sent to", to, flush=True)


with Client(address) as mq:
    mq.queue("emails", dead_letter="emails.failed", max_attempts=5, backoff=0.1)
    Worker(mq, "emails", send, concurrency=4).run()
