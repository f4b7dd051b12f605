"""Publishes prices; each subscriber gets each of them, and late ones the last of each channel.

python examples/publisher.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with Client(address) as mq:
    for currency, prices in {"eur": ["1.08", "1.09"], "gbp": ["1.27"]}.items():
        channel = mq.channel(f"price.{currency}", history=10)
        for price in prices:
            result = channel.publish(price).wait(timeout=10)
            print(currency, price, "to", result.subscriptions, "subscribers")
