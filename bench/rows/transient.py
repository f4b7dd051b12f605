"""A transient queue beside a durable one: put, consume and acknowledge at once.

Owns the one load: batches of 1 000 x 256 bytes through a queue of each kind, in turns. Law: every
message comes once and in order, or the run is a fault.
"""

import struct
import time
from functools import partial
from multiprocessing.synchronize import Barrier

from bench.contender import QUEUE
from bench.duel import on_fresh_server
from bench.peers.msgqueue import MsgQueue
from bench.processes import Service
from bench.report import Table, rate_text
from bench.settings import Settings, say
from bench.sides import CONNECT_SECONDS, Side, run_sides
from bench.stats import summarise
from patterns import Client

#: Sets the length of a run, together with `--seconds`.
_RATE = 300_000
_BATCH = 1_000
_BODY = struct.Struct(">q248x")
_IDLE_SECONDS = 30.0
_KINDS = {"durable": True, "transient": False}


def measure(settings: Settings) -> list[Table]:
    """Run both kinds in turns, each as often as was asked."""
    runs: dict[str, list[tuple[float, str]]] = {kind: [] for kind in _KINDS}
    for _ in range(settings.repeat):
        for kind, is_durable in _KINDS.items():
            runs[kind].append(_run(settings, is_durable))
    lines: list[list[str]] = []
    data: list[dict[str, object]] = []
    for kind, made in runs.items():
        fault = next((fault for _, fault in made if fault), "")
        rates = summarise([rate for rate, _ in made])
        say(f"{kind}: {fault or rate_text(rates.median)}")
        spread = f"{rate_text(rates.low)} - {rate_text(rates.high)}"
        lines.append([kind, f"FAULT: {fault}" if fault else rate_text(rates.median), spread])
        data.append({"queue": kind, "rates": [rate for rate, _ in made], "fault": fault})
    return [
        Table(
            title=f"Durable and transient: put, consume, acknowledge at once, batches of {_BATCH}",
            columns=("queue", "messages/s", "spread"),
            lines=lines,
            data={"unit": "messages/s", "entries": data},
            note="A transient queue keeps its messages in memory alone and waits for no disk.",
        )
    ]


def _run(settings: Settings, is_durable: bool) -> tuple[float, str]:
    """(messages a second until both sides have ended, fault)"""
    count = max(int(settings.seconds * _RATE) // _BATCH, 1) * _BATCH

    def run(server: Service) -> tuple[float, str]:
        address = MsgQueue().addresses(server.port)
        with Client(address) as client:
            client.queue(QUEUE, durable=is_durable)
        producer, consumer = run_sides(
            [partial(_put, address, count), partial(_take, address, count)],
            settings.seconds * 10 + 60,
        )
        seconds = max(producer.ended_at, consumer.ended_at) - producer.started_at
        return count / seconds, producer.fault or consumer.fault

    return on_fresh_server(MsgQueue(), settings.data_root, run)


def _put(address: str, count: int, barrier: Barrier) -> Side:
    with Client(address) as client:
        queue = client.queue(QUEUE)
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        for first in range(0, count, _BATCH):
            queue.put_many([_BODY.pack(n) for n in range(first, first + _BATCH)], batch=_BATCH)
        client.flush()
        return Side(started_at, time.monotonic())


def _take(address: str, count: int, barrier: Barrier) -> Side:
    expected, fault = 0, ""
    with Client(address) as client:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        batches = client.queue(QUEUE).consume_batches(max=_BATCH, timeout=_IDLE_SECONDS)
        for batch in batches:
            for body in batch.bodies:
                fault = fault or _judge(_BODY.unpack(body)[0], expected)
                expected += 1
            batch.ack()
            if expected >= count:
                break
        client.flush()
        fault = fault or ("" if expected == count else f"{expected} of {count} messages came")
        return Side(started_at, time.monotonic(), fault=fault)


def _judge(number: int, expected: int) -> str:
    return "" if number == expected else f"message {number} came in the place of {expected}"
