"""Puts the orders that a database has committed, and not the one that was rolled back.

python examples/outbox.py [tcp://127.0.0.1:5570]
"""

import sqlite3
import sys
import tempfile
from pathlib import Path

from patterns import Client
from patterns.outbox import Outbox, Relay

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with tempfile.TemporaryDirectory() as directory, Client(address) as mq:
    path = Path(directory) / "shop.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE orders (item TEXT)")
    outbox = Outbox(db)
    outbox.create()
    for item in ("book", "ring", "car"):
        db.execute("INSERT INTO orders VALUES (?)", (item,))
        outbox.put("shop.orders", {"item": item})
        if item == "car":
            db.rollback()
        else:
            db.commit()
    db.close()

    orders = mq.queue("shop.orders", dedup="window")
    # In earnest a process of its own: Relay(mq, lambda: sqlite3.connect(path)).run()
    relayed = sqlite3.connect(path)
    print("relayed:", Relay(mq, lambda: sqlite3.connect(path)).relay(relayed))
    relayed.close()
    for message in orders.consume(timeout=1):
        with message:
            print("ordered:", message.body["item"])
