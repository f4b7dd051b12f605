"""Takes orders and puts an invoice and a log line for each: all of it happens once, or nothing.

python examples/transaction.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client, LeaseLost

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with Client(address) as mq:
    orders = mq.queue("shop.orders")
    orders.put_many([{"order": number} for number in range(3)]).wait(timeout=10)

    for message in orders.consume(timeout=2):
        try:
            with mq.transaction() as tx:  # commits at its end, gives up on an exception
                tx.ack(message)
                tx.put("shop.invoices", {**message.body, "total": 20})
                tx.put("shop.log", f"order {message.body['order']} is invoiced")
                if message.body["order"] == 1 and message.attempts == 0:
                    raise ConnectionError("the tax office does not answer")
        except ConnectionError as error:
            message.nack(delay=0.1)  # still held: nothing was sent
            print("given up:", error)
        except LeaseLost:
            print("somebody else has it by now, and its invoice is his to write")

    for name in ("shop.invoices", "shop.log"):
        for message in mq.queue(name).consume(timeout=1):
            with message:
                print(name, message.body)
    for name in ("shop.orders", "shop.invoices", "shop.log"):
        mq.queue(name).delete()
