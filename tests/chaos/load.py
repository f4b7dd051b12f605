"""What producers and consumers agree on: the body tells which message it is.

p0-17|aaaaaaaa...          id, a bar, filling
"""

from __future__ import annotations

import signal
import threading

QUEUE = "chaos"


def make_body(message: str, fill_bytes: int) -> bytes:
    return f"{message}|".encode() + b"a" * fill_bytes


def read_id(body: bytes) -> str:
    message, bar, fill = body.partition(b"|")
    if not bar or fill.strip(b"a"):
        raise ValueError(f"a body came changed: {body[:80]!r}")
    return message.decode()


def reign_of(tag: bytes) -> int:
    """A delivery's tag begins with its slot, of two bytes, and its reign, of eight."""
    return int.from_bytes(tag[2:10], "big")


def stop_on_sigterm() -> threading.Event:
    """Set when the process is asked to end in order."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop
