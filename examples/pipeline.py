"""Two stages between three queues; each result appears once, whatever is killed.

python examples/pipeline.py [tcp://127.0.0.1:5570]
"""

import sys
from collections.abc import Iterator

from patterns import Client, Message
from patterns.pipeline import Output, Stage

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"


def split(message: Message) -> Iterator[Output]:
    for word in message.body.split():
        yield Output(word, to="words")


def shout(message: Message) -> Iterator[Output]:
    yield Output(message.body.upper(), to="shouts")


with Client(address) as mq:
    mq.queue("lines").put("every word once").wait(timeout=10)
    # In earnest each stage is a process of its own: Stage(mq, "lines", split).run()
    Stage(mq, "lines", split).run_until_idle()
    Stage(mq, "words", shout).run_until_idle()
    for message in mq.queue("shouts").consume(timeout=1):
        with message:
            print(message.body)
