"""One timed run: a fresh broker, one producer process and one consumer process at the same time.

Owns the verdict on a run. Never knows which broker it runs. Law: a run in which anything was
lost, doubled or changed is a fault with a reason and has no rate.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench.contender import Contender, Target
from bench.machine import disk_flushes
from bench.processes import Service, running
from bench.sides import Side, consume, produce, run_sides
from bench.traffic import Load, Supply, make_goal

_DRAIN_FACTOR = 6.0
_DRAIN_SECONDS_MIN = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender. Rates are messages a second, 0 where there is a fault."""

    put_rate: float = 0.0
    consume_rate: float = 0.0
    messages: int = 0
    seconds: float = 0.0
    disk_flushes: int = 0
    fault: str = ""

    @property
    def rate(self) -> float:
        """The slower of the two sides."""
        return min(self.put_rate, self.consume_rate)

    def as_json(self) -> dict[str, Any]:
        """Return the run as plain values."""
        return {**asdict(self), "rate": self.rate}


def run_fresh(contender: Contender, load: Load, seconds: float, data_root: Path) -> Run:
    """Start the contender's broker on empty data, run one duel on it, and stop it."""

    def measure(server: Service) -> Run:
        flushes = disk_flushes()
        producer, consumer = run_duel(contender, server, load, seconds)
        return judge(producer, consumer, disk_flushes() - flushes)

    try:
        return on_fresh_server(contender, data_root, measure)
    # Whatever a contender raises becomes its row's fault, and the other rows go on.
    except Exception as error:
        return Run(fault=f"{type(error).__name__}: {error}")


def on_fresh_server(target: Target, data_root: Path, measure: Callable[[Service], T]) -> T:
    """Start the target on empty data, measure it, and stop it."""
    with fresh_server(target.start, data_root) as server:
        target.prepare(server.port)
        return measure(server)


@contextmanager
def fresh_server(start: Callable[[Path], Service], data_root: Path) -> Iterator[Service]:
    """Start a broker on empty data, and stop it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=data_root) as place,
        running(start(Path(place))) as server,
    ):
        yield server


def run_duel(
    contender: Contender, server: Service, load: Load, seconds: float
) -> tuple[Side, Side]:
    """Run producer and consumer at the same time; the consumer ends after as many messages."""
    goal = make_goal()
    supply = Supply(load, goal, seconds)
    producer, consumer = run_sides(
        [
            partial(produce, contender, server.port, load, supply),
            partial(consume, contender, server.port, load, goal),
        ],
        max(seconds * _DRAIN_FACTOR, _DRAIN_SECONDS_MIN),
    )
    return producer, consumer


def judge(producer: Side, consumer: Side, flushes: int) -> Run:
    """Compare what was confirmed with what was consumed and turn both into rates."""
    if fault := fault_of(producer, consumer):
        return Run(fault=fault)
    start = min(producer.started_at, consumer.started_at)
    return Run(
        put_rate=producer.digest.count / (producer.ended_at - start),
        consume_rate=consumer.digest.count / (consumer.ended_at - start),
        messages=producer.digest.count,
        seconds=max(producer.ended_at, consumer.ended_at) - start,
        disk_flushes=flushes,
    )


def fault_of(producer: Side, consumer: Side) -> str:
    """Return why a pair of sides does not count, or an empty text."""
    if fault := producer.fault or consumer.fault:
        return fault
    if consumer.digest.count != producer.digest.count:
        put, consumed = producer.digest.count, consumer.digest.count
        return f"confirmed {put} messages, consumed {consumed}"
    if consumer.digest != producer.digest:
        return "the consumed bodies are not the confirmed ones"
    return ""
