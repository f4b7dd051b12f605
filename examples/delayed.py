"""Puts messages that are ready later: delayed, cancelled, moved, and again and again.

python examples/delayed.py [tcp://127.0.0.1:5570]
"""

import sys
from datetime import UTC, datetime, timedelta

from patterns import Client

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with Client(address) as mq:
    reminders = mq.queue("reminders")
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    call = reminders.put("call back", delay=3600).wait(timeout=10)
    reminders.put("pay the rent", at=tomorrow).wait(timeout=10)
    visit = reminders.put("visit", at=tomorrow).wait(timeout=10)
    # Each message of a batch may have an instant of its own; None is at once.
    reminders.put_many(["stand up", "sit down"], at=[None, tomorrow]).wait(timeout=10)
    assert call.id is not None
    assert visit.id is not None

    for seen in reminders.browse():
        due = "now" if seen.due_at is None else datetime.fromtimestamp(seen.due_at, UTC)
        print(seen.id, seen.body, seen.state, due)

    print("cancelled:", reminders.cancel(visit.id))
    print("moved:", reminders.reschedule(call.id, delay=0).messages)
    # What is ready has the place of its put.
    for message in reminders.consume(timeout=1):
        with message:
            print("ready:", message.body)

    # The broker puts this one itself, each second; five fields are minutes and longer.
    tick = {"cron": "* * * * * *", "body": "a second", "content_type": "text/plain"}
    ticking = mq.queue("ticking", schedules={"tick": {**tick, "zone": "Europe/Berlin"}})
    for message in ticking.consume(max=2, timeout=5):
        with message:
            print("recurring:", message.body)

    for queue in (reminders, ticking):
        queue.delete(if_empty=False)
