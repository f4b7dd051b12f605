"""Clients that go on while brokers come and go: a paced load, and a producer that waits.

Never as fast as it can: the pace is fixed, so that what is seen is the cluster and not the load.
Law: what was confirmed must come, at least once, or the side is a fault.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.sides import CONNECT_SECONDS, Side
from bench.timeline import Tally, number_of, numbered_body
from bench.traffic import SharedCount

_CONFIRM_SECONDS = 120.0
_LAST_SECONDS = 90.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """Batches put over several queues in turn, at a rate of messages a second."""

    addresses: str
    queues: tuple[str, ...]
    rate: int = 4_000
    batch: int = 50


@dataclass(frozen=True, slots=True)
class Progress:
    """What the processes share: whether to stop, what is confirmed so far, and the final sum."""

    stop: SharedCount
    confirmed: SharedCount
    goal: SharedCount


def put_paced(pace: Pace, progress: Progress, barrier: Barrier) -> Side:
    """Put at the pace until told to stop, then wait for all confirms."""
    return asyncio.run(_put_paced(pace, progress, barrier))


def consume_numbered(
    addresses: str, queues: Sequence[str], progress: Progress, barrier: Barrier
) -> Side:
    """Consume the queues until all that was confirmed has come."""
    return asyncio.run(_consume_numbered(addresses, queues, progress, barrier))


def put_waiting(addresses: str, queue: str, progress: Progress, barrier: Barrier) -> Side:
    """Put one message, wait for its confirm, and again, until told to stop."""
    from patterns import Client

    samples, marks = [], []
    with Client(addresses) as client:
        put = client.queue(queue).put
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        for number in count():
            if progress.stop.value:
                break
            put_at = time.monotonic()
            put(numbered_body(number)).wait(timeout=_CONFIRM_SECONDS)
            marks.append(time.monotonic())
            samples.append(marks[-1] - put_at)
            progress.confirmed.value += 1
        progress.goal.value = progress.confirmed.value
    return Side(started_at, time.monotonic(), samples=tuple(samples), marks=tuple(marks))


async def _put_paced(pace: Pace, progress: Progress, barrier: Barrier) -> Side:
    from patterns import AsyncClient

    samples: list[float] = []
    marks: list[float] = []

    async def put(queue: Any, first: int) -> None:
        put_at = time.monotonic()
        bodies = [numbered_body(number) for number in range(first, first + pace.batch)]
        confirm = await queue.put_many(bodies, batch=pace.batch)
        await confirm.wait(timeout=_CONFIRM_SECONDS)
        marks.append(time.monotonic())
        samples.append(marks[-1] - put_at)
        progress.confirmed.value += pace.batch

    async with AsyncClient(pace.addresses) as client, asyncio.TaskGroup() as puts:
        queues = [await client.queue(name) for name in pace.queues]
        await asyncio.to_thread(barrier.wait, CONNECT_SECONDS)
        started_at = time.monotonic()
        for turn in count():
            if progress.stop.value:
                progress.goal.value = turn * pace.batch
                break
            due_at = started_at + turn * pace.batch / pace.rate
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            puts.create_task(put(queues[turn % len(queues)], turn * pace.batch))
    return Side(started_at, time.monotonic(), samples=tuple(samples), marks=tuple(marks))


async def _consume_numbered(
    addresses: str, queues: Sequence[str], progress: Progress, barrier: Barrier
) -> Side:
    from patterns import AsyncClient

    tally = Tally()
    marks: list[float] = []

    async def consume(queue: Any) -> None:
        async for batch in queue.consume_batches():
            tally.take(number_of(body) for body in batch.bodies)
            marks.extend([time.monotonic()] * len(batch.bodies))
            await batch.ack()

    async with AsyncClient(addresses) as client:
        named = [await client.queue(name) for name in queues]
        await asyncio.to_thread(barrier.wait, CONNECT_SECONDS)
        started_at = time.monotonic()
        consumers = [asyncio.create_task(consume(queue)) for queue in named]
        await _until_all_came(tally, progress, consumers)
        for consumer in consumers:
            consumer.cancel()
        await asyncio.wait(consumers)
        await client.flush()
    return Side(started_at, time.monotonic(), marks=tuple(marks), repeats=tally.repeats)


async def _until_all_came(
    tally: Tally, progress: Progress, consumers: Sequence[asyncio.Task[None]]
) -> None:
    """Look now and then; a consumer that ends, or a message that never comes, raises."""
    deadline = float("inf")
    while (goal := progress.goal.value) < 0 or tally.missing_of(goal):
        if goal >= 0 and deadline == float("inf"):
            deadline = time.monotonic() + _LAST_SECONDS
        for consumer in consumers:
            if consumer.done():
                consumer.result()
        if time.monotonic() > deadline:
            raise RuntimeError(f"of {goal} confirmed messages {tally.missing_of(goal)} never came")
        await asyncio.sleep(_LOOK_SECONDS)
