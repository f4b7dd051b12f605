"""Messages with due times of their own: how many a second, and how late.

Owns two measurements. Throughput: batches of 1 000 whose messages have random instants within a
second are put, come due, are consumed and acknowledged, all at once. Lateness: a million messages
are loaded whose instants spread evenly over a minute that begins when the loading ends; one
consumer takes each as it comes. Law: every message comes once and none before its instant, or the
run is a fault. Client and broker read one clock, the wall's.
"""

import random
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
from bench.stats import percentile, summarise
from patterns import Client

GOAL_RATE = 150_000
GOAL_P99_MS = 100.0
LATE_MESSAGES = 1_000_000
_BATCH = 1_000
_BODY = struct.Struct(">dq240x")
_FLOW_SPREAD_SECONDS = 1.0
_LATE_SPREAD_SECONDS = 60.0
#: For the loading, generously; the minute begins when the last batch of the plan is put.
_LOAD_RATE = 60_000
_IDLE_SECONDS = 30.0


def measure(settings: Settings, messages: int) -> list[Table]:
    """Run both, the first as often as was asked."""
    flows = [_flow(settings) for _ in range(settings.repeat)]
    lates = [_late(settings, messages) for _ in range(settings.repeat)]
    return [_flow_table(flows), _late_table(lates, messages)]


def _flow(settings: Settings) -> tuple[float, str]:
    """(messages a second of the slower side, fault)"""

    def run(server: Service) -> tuple[float, str]:
        contender = MsgQueue()
        count = max(int(settings.seconds * GOAL_RATE) // _BATCH, 1) * _BATCH
        address = contender.addresses(server.port)
        producer, consumer = run_sides(
            [partial(_put, address, count, 0.0), partial(_take, address, count)],
            settings.seconds * 10 + 60,
        )
        say(f"own due times: put {rate_text(count / producer.seconds)}/s")
        fault = producer.fault or consumer.fault
        return count / max(producer.seconds, consumer.seconds or 1e9), fault

    return on_fresh_server(MsgQueue(), settings.data_root, run)


def _late(settings: Settings, messages: int) -> tuple[Side, int]:
    """(the consumer, the broker's memory)"""

    def run(server: Service) -> tuple[Side, int]:
        address = MsgQueue().addresses(server.port)
        starts_at = time.time() + messages / _LOAD_RATE
        [producer] = run_sides([partial(_put, address, messages, starts_at)], 600)
        say(f"loaded at {rate_text(messages / producer.seconds)}/s")
        [consumer] = run_sides([partial(_take, address, messages)], 600)
        return consumer, server.resident_bytes()

    return on_fresh_server(MsgQueue(), settings.data_root, run)


def _put(address: str, count: int, starts_at: float, barrier: Barrier) -> Side:
    """Put batches; with ``starts_at`` 0 each message is due within a second of its put."""
    draw = random.Random(1)
    with Client(address) as client:
        queue = client.queue(QUEUE)
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        confirms = []
        for first in range(0, count, _BATCH):
            base = starts_at or time.time()
            spread = _LATE_SPREAD_SECONDS if starts_at else _FLOW_SPREAD_SECONDS
            at = [base + draw.random() * spread for _ in range(_BATCH)]
            bodies = [_BODY.pack(each, first + index) for index, each in enumerate(at)]
            confirms.append(queue.put_many(bodies, at=at))
        for confirm in confirms:
            confirm.wait()
        return Side(started_at, time.monotonic())


def _take(address: str, count: int, barrier: Barrier) -> Side:
    """Consume all; ``samples`` are how late each came, in milliseconds."""
    seen = bytearray(count)
    late: list[float] = []
    repeats = 0
    with Client(address) as client:
        queue = client.queue(QUEUE)
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        for batch in queue.consume_batches(_BATCH, timeout=_IDLE_SECONDS):
            now = time.time()
            for body in batch.bodies:
                due_at, index = _BODY.unpack(body)
                repeats += seen[index]
                seen[index] = 1
                late.append((now - due_at) * 1_000)
            batch.ack()
            if len(late) >= count:
                break
        client.flush()
        ended_at = time.monotonic()
    fault = ""
    # The wire counts in whole milliseconds.
    if len(late) != count or repeats or min(late) < -1:
        earliest = min(late, default=0.0)
        fault = f"{len(late)} came, {repeats} again, the earliest {earliest:.1f} ms late"
    return Side(started_at, ended_at, samples=tuple(late), repeats=repeats, fault=fault)


def _flow_table(flows: list[tuple[float, str]]) -> Table:
    summary = summarise([rate for rate, _ in flows])
    faults = "; ".join(fault for _, fault in flows if fault)
    spread = f"{rate_text(summary.low)} - {rate_text(summary.high)}"
    return Table(
        title="Own due times: put, come due, consume and acknowledge at once",
        columns=("batches of", "messages/s", "spread", "fault"),
        lines=[[str(_BATCH), rate_text(summary.median), spread, faults or "-"]],
        data={"goal": GOAL_RATE, "rates": [rate for rate, _ in flows], "faults": faults},
        note=f"Random instants within a second of the put. Goal: {rate_text(GOAL_RATE)} a second.",
    )


def _late_table(lates: list[tuple[Side, int]], messages: int) -> Table:
    lines = []
    values = []
    for side, resident in lates:
        late = sorted(side.samples) or [0.0]
        figures = [percentile(late, 0.5), percentile(late, 0.99), late[-1]]
        values.append({"p50_ms": figures[0], "p99_ms": figures[1], "max_ms": figures[2]})
        texts = [f"{figure:.0f}" for figure in figures]
        lines.append([*texts, str(resident >> 20), side.fault or "-"])
    return Table(
        title=f"Lateness of {messages / 1e6:g} M messages with random instants over a minute",
        columns=("p50, ms", "p99, ms", "max, ms", "resident memory, MiB", "fault"),
        lines=lines,
        data={"goal_p99_ms": GOAL_P99_MS, "runs": values},
        note=f"One consumer, bodies of {_BODY.size} bytes. Goal: p99 under {GOAL_P99_MS:g} ms.",
    )
