"""Prints all prices: those that are kept, then each as it comes, until five seconds are quiet.

python examples/subscriber.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with Client(address) as mq, mq.subscribe("price.*", start="all", timeout=5) as events:
    for event in events:
        print(event.channel, event.body)
