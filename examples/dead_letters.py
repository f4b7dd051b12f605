"""Messages that fail go to a queue of their own, say why, and are sent back when all is mended.

python examples/dead_letters.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client, Message

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"
is_mended = False


def charge(message: Message) -> None:
    if message.body["amount"] < 0:
        message.reject()  # trying again is no use
    elif message.body["amount"] > 100 and not is_mended:
        # Spends an attempt.  Without a delay the queue's backoff says when it comes again.
        message.nack()
    else:
        message.ack()
        print("charged", message.body)


with Client(address) as mq:
    failed = mq.queue("payments.failed")
    payments = mq.queue(
        "payments", dead_letter="payments.failed", max_attempts=3, backoff=0.1, backoff_max=1.0
    )
    for amount in (5, -1, 500):
        payments.put({"amount": amount})
    for message in payments.consume(timeout=2):
        charge(message)

    for letter in failed.browse():
        death = letter.death
        assert death is not None
        print("dead:", letter.body, death.reason, "after", death.attempts, "attempts")

    is_mended = True
    redrive = failed.redrive(selector={"$reason": "attempts"}, per_second=100)
    print("sent back:", redrive.wait(timeout=10))
    for message in payments.consume(timeout=1):
        charge(message)

    failed.delete(if_empty=False)
    payments.delete(if_empty=False)
