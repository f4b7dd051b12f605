"""Serves functions, until it is ended: a sum, a price that may be missing, a count in parts.

python examples/request_reply_server.py [tcp://127.0.0.1:5570]
"""

import sys
import time
from collections.abc import Iterator

from patterns import Client
from patterns.request_reply import serve, service

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"
prices = {"laptop": 1_200, "mouse": 25}


class NoSuchItem(Exception):
    """Raised on purpose: it is told to the caller, and not logged here."""


@service("shop.add")
def add(a: int, b: int = 0) -> int:
    return a + b


@service("shop.price", errors=[NoSuchItem])
def price(item: str) -> int:
    if item not in prices:
        raise NoSuchItem(item)
    return prices[item]


@service("shop.count")
def count(to: int) -> Iterator[int]:
    for number in range(to):
        time.sleep(0.1)  # each part is there as soon as it is yielded
        yield number


with Client(address) as mq:
    servers = [serve(mq, add), serve(mq, price, concurrency=4), serve(mq, count, concurrency=2)]
    print("serving", ", ".join(server.service for server in servers), flush=True)
    try:
        for server in servers:
            server.wait()
    except KeyboardInterrupt:
        print("closing: what is in hand is answered")
