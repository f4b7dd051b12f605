"""Puts a hundred orders and waits until all of them are on disk.

python examples/producer.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with Client(address) as mq:
    orders = mq.queue("orders")

    # One that matters at once: wait for its own confirm.
    confirm = orders.put({"item": "laptop"}, {"customer": "c-17"}, type="order.created")
    print("on disk:", confirm.wait(timeout=10).id)

    # Many: the client gathers them into batches, and flush waits for all.
    for number in range(98):
        orders.put({"item": "book", "number": number})
    orders.put({"item": "flowers"}, priority=9)
    mq.flush(timeout=10)
    print("all confirmed:", mq.counters["puts_confirmed"])
