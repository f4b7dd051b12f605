"""Prints the price of each currency as it stands now.

python examples/last_value.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client
from patterns.last_value import LastValues

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"

with Client(address) as mq, LastValues(mq, "price.*", timeout=2) as prices:
    for _change in prices:
        pass  # What stands comes first; a program that shows prices stays in this loop.
    for channel in prices.channels:
        print(channel, prices[channel].body)
