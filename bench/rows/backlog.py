"""A long backlog: millions of messages waiting, half of them with a priority and a time to live.

Owns one broker for the whole row, over a `kill -9`. Never compares with other brokers: each figure
stands beside the same figure of the same broker with an empty queue. Law: at the end every
confirmed message has been consumed, once, or the row is a fault.

The empty queue is measured before the backlog and again after it, since the row takes minutes and
the machine may change meanwhile.
"""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from bench.bodies import Digest
from bench.contender import Contender
from bench.duel import run_duel
from bench.processes import Service
from bench.report import Table, rate_text, ratio_text
from bench.settings import Settings, UsageError, say
from bench.sides import Side, consume, produce, run_sides
from bench.stats import summarise
from bench.traffic import SINGLES, Dress, Load, Sink, Supply, make_goal

LOADS = (
    Load(SINGLES.batch, singly=True, dress=Dress.HALF),
    Load(100, dress=Dress.HALF),
)
GOAL_RATIO = 0.8
GOAL_RESTART_SECONDS = 10.0
GOAL_MESSAGE_BYTES = 64

_STEPS = 10
_STEP_SECONDS_MAX = 1_800.0
_NO_TIME_LIMIT = float("inf")

Rates = tuple[float, float]


@dataclass(slots=True)
class Account:
    """What was confirmed and what was consumed, over the life of the broker."""

    confirmed: Digest = field(default_factory=Digest)
    consumed: Digest = field(default_factory=Digest)

    def take(self, producer: Side | None, consumer: Side | None) -> None:
        """Add what two sides saw; a side with a fault raises RuntimeError."""
        for side, digest in ((producer, self.confirmed), (consumer, self.consumed)):
            if side is not None and side.fault:
                raise RuntimeError(side.fault)
            if side is not None:
                digest.merge(side.digest)

    @property
    def waiting(self) -> int:
        """How many messages must still be in the queue."""
        return self.confirmed.count - self.consumed.count


@dataclass(frozen=True, slots=True)
class Step:
    """The broker after a part of the backlog was put."""

    waiting: int
    put_rate: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Restart:
    """From `kill -9` on: until the broker listens, until the first message is out, and the rest."""

    listening_seconds: float
    first_message_seconds: float
    resident_bytes: int
    drain_rate: float


def measure(settings: Settings, contender: Contender, messages: int) -> list[Table]:
    """Run the whole row on one broker."""
    unit = _STEPS * len(LOADS) * math.lcm(*(load.batch for load in LOADS))
    if messages % unit:
        raise UsageError(f"the length of the backlog must be a multiple of {unit}")
    account = Account()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=settings.data_root) as place:
        server = contender.start(Path(place))
        try:
            contender.prepare(server.port)
            before = _duels(contender, server, settings, account)
            steps = [_fill(contender, server, account, messages // _STEPS) for _ in range(_STEPS)]
            full = _duels(contender, server, settings, account)
            server.kill()
            killed_at = time.monotonic()
            server = contender.start(Path(place))
            restart = _restart(contender, server, account, killed_at)
            after = _duels(contender, server, settings, account)
        finally:
            server.stop()
    if account.confirmed != account.consumed:
        raise RuntimeError(
            f"confirmed {account.confirmed.count} messages and consumed {account.consumed.count},"
            " or other bodies than those"
        )
    empty = {load: before[load] + after[load] for load in LOADS}
    return [_rate_table(empty, full, messages), _memory_table(steps), _restart_table(restart)]


def _duels(
    contender: Contender, server: Service, settings: Settings, account: Account
) -> dict[Load, list[Rates]]:
    """Put and consume at once, under each load in turn."""
    rates: dict[Load, list[Rates]] = {load: [] for load in LOADS}
    for _ in range(settings.repeat):
        for load in LOADS:
            producer, consumer = run_duel(contender, server, load, settings.seconds)
            account.take(producer, consumer)
            rates[load].append((producer.rate, consumer.rate))
            put, consumed = rate_text(producer.rate), rate_text(consumer.rate)
            say(f"{account.waiting} waiting, {load.label}: put {put}, consume {consumed}")
    return rates


def _fill(contender: Contender, server: Service, account: Account, messages: int) -> Step:
    """Put a part of the backlog, half of it under each load."""
    seconds = 0.0
    for load in LOADS:
        supply = Supply(load, make_goal(), _NO_TIME_LIMIT, messages // len(LOADS))
        put = partial(produce, contender, server.port, load, supply)
        [producer] = run_sides([put], _STEP_SECONDS_MAX)
        account.take(producer, None)
        seconds += producer.seconds
    step = Step(account.waiting, messages / seconds, server.resident_bytes())
    say(f"{step.waiting} waiting: {step.resident_bytes >> 20} MiB, put {rate_text(step.put_rate)}")
    return step


def _restart(contender: Contender, server: Service, account: Account, killed_at: float) -> Restart:
    """Time the start after a kill, then drain the queue."""
    listening_at = time.monotonic()
    load = Load(100)
    first = Sink(make_goal(1))
    with contender.open_consumer(server.port, load) as consume_all:
        consume_all(first)
        first_at = time.monotonic()
    account.consumed.merge(first.digest)
    resident_bytes = server.resident_bytes()
    goal = make_goal(account.waiting)
    drain = partial(consume, contender, server.port, load, goal)
    [consumer] = run_sides([drain], _STEP_SECONDS_MAX)
    account.take(None, consumer)
    return Restart(listening_at - killed_at, first_at - killed_at, resident_bytes, consumer.rate)


def _rate_table(
    empty: dict[Load, list[Rates]], full: dict[Load, list[Rates]], messages: int
) -> Table:
    lines = []
    for load in LOADS:
        for index, side in enumerate(("put", "consume + ack")):
            before = summarise([rates[index] for rates in empty[load]])
            after = summarise([rates[index] for rates in full[load]])
            lines.append(
                [
                    f"{load.label}, {side}",
                    rate_text(before.median),
                    f"{rate_text(before.low)} - {rate_text(before.high)}",
                    rate_text(after.median),
                    f"{rate_text(after.low)} - {rate_text(after.high)}",
                    ratio_text(after.median, before.median),
                ]
            )
    return Table(
        title=f"Rates with {messages / 1e6:g} M messages waiting",
        columns=("load, side", "empty queue", "spread", "backlog", "spread", "backlog / empty"),
        lines=lines,
        data={
            "unit": "messages/s (put, consume)",
            "goal_ratio": GOAL_RATIO,
            "empty": {load.label: rates for load, rates in empty.items()},
            "backlog": {load.label: rates for load, rates in full.items()},
        },
        note=f"Goal: at least {GOAL_RATIO:g} of the empty queue's rates.",
    )


def _memory_table(steps: Sequence[Step]) -> Table:
    first, last = steps[0], steps[-1]
    growth = (last.resident_bytes - first.resident_bytes) / (last.waiting - first.waiting)
    return Table(
        title="Memory of the broker while the backlog grows",
        columns=("waiting", "resident memory, MiB", "put/s of this part"),
        lines=[
            [f"{s.waiting / 1e6:g} M", f"{s.resident_bytes >> 20}", rate_text(s.put_rate)]
            for s in steps
        ],
        data={"steps": [asdict(step) for step in steps], "bytes_per_message": growth},
        note=(
            f"Goal: flat, {GOAL_MESSAGE_BYTES} bytes a message at the very most. "
            f"Reached: {growth:.1f} bytes a message between the first and the last line."
        ),
    )


def _restart_table(restart: Restart) -> Table:
    return Table(
        title="Restart after kill -9 with the backlog",
        columns=("listening, s", "first message, s", "resident memory, MiB", "drain, messages/s"),
        lines=[
            [
                f"{restart.listening_seconds:.2f}",
                f"{restart.first_message_seconds:.2f}",
                f"{restart.resident_bytes >> 20}",
                rate_text(restart.drain_rate),
            ]
        ],
        data=asdict(restart),
        note=f"Goal: under {GOAL_RESTART_SECONDS:g} s. Every confirmed message was consumed, once.",
    )
