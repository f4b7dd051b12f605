"""Books each payment once, though one of them is delivered twice.

python examples/idempotent_consumer.py [tcp://127.0.0.1:5570]
"""

import sqlite3
import sys

from patterns import Client
from patterns.idempotent_consumer import Inbox

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

db = sqlite3.connect(":memory:")
db.execute("CREATE TABLE account (balance INTEGER)")
db.execute("INSERT INTO account VALUES (0)")
db.commit()
inbox = Inbox(db)

with Client(address) as mq:
    payments = mq.queue("bookings", lease=1.0)
    payments.put_many([10, 20, 30]).wait(timeout=10)
    first = payments.get(timeout=5)
    assert first is not None
    with inbox.noted(first):
        db.execute("UPDATE account SET balance = balance + ?", (first.body,))
    # The program dies here, before the ack: the message comes again when its lease is over.

    for message in payments.consume(timeout=3):
        with inbox.once(message) as is_new:
            if is_new:
                db.execute("UPDATE account SET balance = balance + ?", (message.body,))
            print(message.body, "is new" if is_new else "was booked before")
    print("balance:", *db.execute("SELECT balance FROM account").fetchone())
