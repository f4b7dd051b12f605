"""Keyed queues and selectors: put, consume and acknowledge at once, where messages are chosen.

Owns three loads of batches of 1 000 x 256 bytes: a keyed queue with mostly distinct keys; two
consumers whose selectors take half each, of batches that match as a whole, and of batches in which
every second message matches. The client has no call for a batch with other headers in each
message, so the last load is put message by message. Law: every message comes once, to whom it is
for, and those of a key in their order, or the run is a fault.
"""

import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.contender import QUEUE
from bench.duel import on_fresh_server
from bench.peers.msgqueue import MsgQueue
from bench.processes import Service
from bench.report import Table, rate_text
from bench.settings import Settings, say
from bench.sides import CONNECT_SECONDS, Side, run_sides
from bench.stats import summarise
from patterns import Client

GOAL_RATE = 150_000
_BATCH = 1_000
_KEYS = 50_000
_BODY = struct.Struct(">q248x")
_IDLE_SECONDS = 30.0
_KINDS = ("even", "odd")
_HEADERS = tuple({"kind": kind} for kind in _KINDS)

Put = Callable[[Any, int], None]


def measure_keyed(settings: Settings) -> list[Table]:
    """Messages with keys, of which few are the same at a time."""
    return [
        _table("A keyed queue", settings, {"mostly distinct keys": (_put_keyed, (None,), True)})
    ]


def measure_selector(settings: Settings) -> list[Table]:
    """Two consumers, each of which takes half."""
    loads: dict[str, _Load] = {
        "batches match as a whole": (_put_whole, _KINDS, False),
        "every second message matches, put one by one": (_put_mixed, _KINDS, False),
    }
    return [_table("Two consumers with selectors", settings, loads)]


#: (how to put, the consumers' kinds, whether the queue is keyed)
_Load = tuple[Put, tuple[str | None, ...], bool]


def _table(title: str, settings: Settings, loads: dict[str, _Load]) -> Table:
    lines: list[list[str]] = []
    data: list[dict[str, object]] = []
    for label, load in loads.items():
        runs = [_run(settings, load) for _ in range(settings.repeat)]
        fault = next((fault for _, fault in runs if fault), "")
        rates = summarise([rate for rate, _ in runs])
        say(f"{label}: {fault or rate_text(rates.median)}")
        spread = f"{rate_text(rates.low)} - {rate_text(rates.high)}"
        lines.append([label, f"FAULT: {fault}" if fault else rate_text(rates.median), spread])
        data.append({"load": label, "rates": [rate for rate, _ in runs], "fault": fault})
    return Table(
        title=f"{title}: put, consume and acknowledge at once, batches of {_BATCH}",
        columns=("load", "messages/s", "spread"),
        lines=lines,
        data={"unit": "messages/s", "goal": GOAL_RATE, "entries": data},
        note=f"Goal: {rate_text(GOAL_RATE)} messages/s.",
    )


def _run(settings: Settings, load: _Load) -> tuple[float, str]:
    """(messages a second until the last side has ended, fault)"""
    put, kinds, is_keyed = load
    count = max(int(settings.seconds * GOAL_RATE) // (2 * _BATCH), 1) * 2 * _BATCH

    def run(server: Service) -> tuple[float, str]:
        address = MsgQueue().addresses(server.port)
        with Client(address) as client:
            client.queue(QUEUE, ordering="key" if is_keyed else "queue")
        takers = [partial(_take, address, count // len(kinds), kind) for kind in kinds]
        sides = run_sides(
            [partial(_produce, address, count, put), *takers], settings.seconds * 10 + 60
        )
        start = min(side.started_at for side in sides)
        seconds = max(side.ended_at for side in sides) - start
        return count / (seconds or 1e9), next((side.fault for side in sides if side.fault), "")

    return on_fresh_server(MsgQueue(), settings.data_root, run)


def _produce(address: str, count: int, put: Put, barrier: Barrier) -> Side:
    with Client(address) as client:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        put(client.queue(QUEUE), count)
        client.flush()
        return Side(started_at, time.monotonic())


def _put_keyed(queue: Any, count: int) -> None:
    keys = [f"customer-{number}" for number in range(_KEYS)]
    for first in range(0, count, _BATCH):
        low = first % _KEYS
        queue.put_many(_bodies(first), batch=_BATCH, keys=keys[low : low + _BATCH])


def _put_whole(queue: Any, count: int) -> None:
    """One batch of even numbers and one of odd ones in turn."""
    for first in range(0, count, 2 * _BATCH):
        for parity, headers in enumerate(_HEADERS):
            numbers = range(first + parity, first + 2 * _BATCH, 2)
            queue.put_many([_BODY.pack(n) for n in numbers], batch=_BATCH, headers=headers)


def _put_mixed(queue: Any, count: int) -> None:
    put = queue.put
    for number in range(count):
        put(_BODY.pack(number), headers=_HEADERS[number % 2])


def _bodies(first: int) -> list[bytes]:
    return [_BODY.pack(number) for number in range(first, first + _BATCH)]


def _take(address: str, count: int, kind: str | None, barrier: Barrier) -> Side:
    """Takes all that is for it and judges what came."""
    selector = None if kind is None else [["kind", "=", kind]]
    with Client(address) as client:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        fault = _judge(_numbers(client, count, selector), count, kind)
        client.flush()
        return Side(started_at, time.monotonic(), fault=fault)


def _numbers(client: Any, count: int, selector: Any) -> Iterator[list[int]]:
    batches = client.queue(QUEUE).consume_batches(
        max=_BATCH, selector=selector, timeout=_IDLE_SECONDS
    )
    for batch in batches:
        numbers = [_BODY.unpack(body)[0] for body in batch.bodies]
        batch.ack()
        yield numbers
        count -= len(numbers)
        if count <= 0:
            return


def _judge(taken: Iterator[list[int]], count: int, kind: str | None) -> str:
    """Why the run does not count, or an empty text; of each key the numbers must rise."""
    newest = [-1] * _KEYS
    total = seen = 0
    parity = None if kind is None else _KINDS.index(kind)
    for numbers in taken:
        seen += len(numbers)
        total += sum(numbers)
        for number in numbers:
            if parity is None:
                if newest[number % _KEYS] >= number:
                    return f"message {number} came behind a later one of its key"
                newest[number % _KEYS] = number
            elif number % 2 != parity:
                return f"message {number} came to who did not want it"
    step = 1 if parity is None else 2
    expected = sum(range(parity or 0, count * step, step))
    return "" if (seen, total) == (count, expected) else f"{seen} of {count} messages came"
