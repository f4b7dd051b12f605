"""Puts work for examples/worker.py.

python examples/jobs.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with Client(address) as mq:
    emails = mq.queue("emails", dead_letter="emails.failed", max_attempts=5, backoff=0.1)
    for to in ("ada@example.org", "flaky@example.org", "nobody"):
        emails.put({"to": to})
    mq.flush()
    print("three e-mails to send")
