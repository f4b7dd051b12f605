"""Asks three suppliers for a price at once, and takes the best that came within half a second.

python examples/scatter_gather.py [tcp://127.0.0.1:5570]
"""

import sys
import time
from collections.abc import Callable

from patterns import Client, Request
from patterns.scatter_gather import ask_all

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"


def supplier(name: str, price: int, takes: float) -> Callable[[Request], dict[str, object]]:
    def quote(request: Request) -> dict[str, object]:
        time.sleep(takes)
        return {"supplier": name, "item": request.body["item"], "price": price}

    return quote


with Client(address) as mq, Client(address) as suppliers:
    suppliers.serve("quotes", supplier("dear", 90, takes=0))
    suppliers.serve("quotes", supplier("cheap", 70, takes=0.1))
    suppliers.serve("quotes", supplier("asleep", 10, takes=2))

    quotes = ask_all(mq, "quotes", {"item": "chair"}, timeout=0.5)
    best = min(quotes.values, key=lambda quote: quote["price"])
    print("best:", best["supplier"], best["price"])
    print("came:", len(quotes.values), "missing:", quotes.missing)

    first = ask_all(mq, "quotes", {"item": "table"}, timeout=5, enough=1)
    print("first:", first.values[0]["item"])
