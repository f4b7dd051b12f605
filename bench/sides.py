"""The client processes: one for the producer, one for the consumer, started together.

Owns the two clocks, which are one clock: CLOCK_MONOTONIC is shared by all processes. Never judges
what it saw. Law: connecting is over before the clock starts, and the clock stops only when the
last confirm has come or the last settle is out.
"""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier

from bench.bodies import Digest
from bench.contender import Contender, Target
from bench.traffic import Load, SharedCount, Sink, Supply

CONNECT_SECONDS = 60.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Side:
    """What one client process saw: confirmed bodies, or consumed ones.

    Where a row looks into a run, `marks` are the times at which something was confirmed or came,
    `samples` how long each confirm took, and `repeats` how many messages came again.
    """

    started_at: float = 0.0
    ended_at: float = 0.0
    digest: Digest = field(default_factory=Digest)
    samples: tuple[float, ...] = ()
    marks: tuple[float, ...] = ()
    repeats: int = 0
    fault: str = ""

    @property
    def seconds(self) -> float:
        """How long this side took."""
        return self.ended_at - self.started_at

    @property
    def rate(self) -> float:
        """Messages a second of this side alone."""
        return self.digest.count / self.seconds if self.seconds else 0.0


def run_sides(sides: Sequence[Callable[[Barrier], Side]], seconds_max: float) -> list[Side]:
    """Run each side in a process of its own; one that outlives the limit is ended."""
    barrier = _SPAWN.Barrier(len(sides))
    deadline = time.monotonic() + CONNECT_SECONDS + seconds_max
    started = []
    for side in sides:
        receiving, sending = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_report, args=(sending, side, barrier), daemon=True)
        process.start()
        sending.close()
        started.append((process, receiving))
    try:
        return _collect([receiving for _, receiving in started], deadline)
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def produce(contender: Contender, port: int, load: Load, supply: Supply, barrier: Barrier) -> Side:
    """Put all that the supply gives."""
    with contender.open_producer(port, load) as put_all:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        put_all(supply)
        ended_at = time.monotonic()
    return Side(started_at, ended_at, _confirmed(supply))


def produce_waiting(target: Target, port: int, supply: Supply, barrier: Barrier) -> Side:
    """Put one message at a time, wait for each confirm, and note how long each took."""
    samples = []
    with target.open_waiting_producer(port) as put_one:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        for body in supply.singles():
            put_at = time.perf_counter()
            put_one(body)
            samples.append(time.perf_counter() - put_at)
        ended_at = time.monotonic()
    return Side(started_at, ended_at, _confirmed(supply), tuple(samples))


def consume(
    contender: Contender, port: int, load: Load, goal: SharedCount, barrier: Barrier
) -> Side:
    """Consume until the goal is reached."""
    sink = Sink(goal)
    with contender.open_consumer(port, load) as consume_all:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        consume_all(sink)
        ended_at = time.monotonic()
    return Side(started_at, ended_at, sink.digest)


def _confirmed(supply: Supply) -> Digest:
    digest = Digest()
    digest.add_pool(supply.count)
    return digest


def _collect(results: Sequence[Connection], deadline: float) -> list[Side]:
    """Return what each process sent, or the first fault in place of all that is still missing."""
    sides: dict[Connection, Side] = {}
    fault = ""
    while not fault and len(sides) < len(results):
        missing = [result for result in results if result not in sides]
        ready = wait(missing, max(0.0, deadline - time.monotonic()))
        if not ready:
            fault = "a client process did not end in time"
        for result in missing:
            if result in ready:
                sides[result] = _receive(result)
                fault = fault or sides[result].fault
    return [sides.get(result, Side(fault=fault)) for result in results]


def _receive(result: Connection) -> Side:
    try:
        side: Side = result.recv()
    except EOFError:
        return Side(fault="a client process died")
    return side


def _report(sending: Connection, side: Callable[[Barrier], Side], barrier: Barrier) -> None:
    """Run one side and send what it saw; one that fails lets the other go at once."""
    try:
        seen = side(barrier)
    # The reason must reach the table, whatever a client raised.
    except Exception:
        barrier.abort()
        seen = Side(fault=traceback.format_exc(limit=-3))
    sending.send(seen)
