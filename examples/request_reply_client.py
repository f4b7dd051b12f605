"""Calls the functions of request_reply_server.py.

python examples/request_reply_client.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client, HandlerFailed, NoResponder
from patterns.request_reply import BadArguments, Caller

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"


class NoSuchItem(Exception):
    """Comes back as itself: the caller below names it."""


with Client(address) as mq:
    shop = Caller(mq, timeout=10, errors=[NoSuchItem])
    print("1 + 2 =", shop.call("shop.add", 1, b=2))
    print("a laptop is", shop.call("shop.price", "laptop", idempotent=True))
    print("parts:", *shop.stream("shop.count", 3))

    try:
        shop.call("shop.price", "unicorn")
    except NoSuchItem as error:
        print("no such item:", error)
    try:
        shop.call("shop.add", 1, c=3)
    except BadArguments as error:
        print("bad arguments:", error)
    try:
        shop.call("shop.add", 1, "x")
    except HandlerFailed as error:
        print("failed there:", error.remote_error)
    try:
        shop.call("shop.nobody")
    except NoResponder:
        print("nobody serves that")
