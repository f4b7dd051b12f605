"""``python -m tests.integration.worker ADDRESS SERVICE [CONCURRENCY]``: a worker to be killed.

It prints a line when it serves.  What it is to do stands in the body: ``{"do": "tell"}`` gives its
process and what it knows of the request, ``count`` gives numbers in parts, ``fail`` raises.
``hang`` makes the file ``mark`` and waits until nobody waits for the answer; where the file is
there already it tells.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patterns import Client, Request
from tests.support.waiting import DEADLINE_S, wait_until


def count(to: int) -> Iterator[int]:
    yield from range(to)


def handle(request: Request) -> Any:
    body = request.body
    told = {"pid": os.getpid(), "attempt": request.attempt, "left": request.remaining}
    match body["do"]:
        case "hang" if not (mark := Path(body["mark"])).exists():
            mark.write_text(str(os.getpid()))
            wait_until(lambda: request.is_cancelled, "nobody waits", deadline_s=10 * DEADLINE_S)
            mark.write_text("cancelled")
        case "count":
            return count(body["to"])
        case "fail":
            raise ValueError("as asked")
    return told


def main() -> None:
    address, service, *rest = sys.argv[1:]
    # Much longer than a test waits: that a worker is gone must be seen by its connection.
    with Client(address, session_timeout=300.0) as mq:
        concurrency = int(rest[0]) if rest else 1
        with mq.serve(service, handle, concurrency=concurrency) as server:
            print("serving", flush=True)
            server.wait()


main()
