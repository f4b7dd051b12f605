"""Works on orders until none has come for five seconds.

python examples/consumer.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client, Message

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"


def handle(message: Message) -> None:
    print(message.id, message.body, f"attempt {message.attempts + 1}")


with Client(address) as mq:
    for message in mq.queue("orders").consume(timeout=5):
        # Acked at the end of the block; given back to be tried again when it raises.
        with message:
            handle(message)
