"""Fan-out: publishers to subscribers of one channel, and the way of a single message.

Owns the loads: 1 to 1, 1 to 10, 10 to 10 with 256-byte messages. Law: a figure says how many
messages each side really had; one that is missing or out of order makes the line a fault.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

from bench.duel import fresh_server
from bench.fanout.contender import FanoutContender
from bench.fanout.mosquitto import Mosquitto
from bench.fanout.msgqueue_channels import MsgQueueChannels
from bench.fanout.nats_core import NatsCore
from bench.fanout.redis_pubsub import RedisPubSub
from bench.fanout.sides import (
    BATCH,
    BODY_BYTES,
    Course,
    publish,
    publish_slowly,
    subscribe,
)
from bench.peers.registry import turn_order
from bench.processes import Service
from bench.report import Table, one_line, rate_text, ratio_text
from bench.settings import Settings, say
from bench.sides import run_sides
from bench.stats import percentile, summarise

RATE_GOAL = 3.0
"""How many times the best peer's deliveries ours are to be."""
LATENCY_GOAL = 1.5
"""How many times the best peer's median ours may be."""

CONTENDERS: tuple[FanoutContender, ...] = (
    MsgQueueChannels(),
    MsgQueueChannels(durable=True),
    RedisPubSub(),
    NatsCore(),
    Mosquitto(),
)
_LOADS = ((1, 1), (1, 10), (10, 10))
_SINGLES = 2_000
_REST_SECONDS = 0.000_5
_END_SECONDS = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fanned:
    """One run: deliveries a second over all subscribers, and what really came."""

    deliveries_per_second: float = 0.0
    published: int = 0
    delivered: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Timed:
    """One run of single messages, in microseconds."""

    p50_us: float = 0.0
    p99_us: float = 0.0
    delivered: int = 0
    fault: str = ""


def measure(settings: Settings, words: Sequence[str]) -> list[Table]:
    """Let every contender do every load, in turns."""
    contenders = [c for c in CONTENDERS if _is_chosen(c, words)]
    tables = [_measure_load(settings, contenders, load) for load in _LOADS]
    return [*tables, _measure_latency(settings, contenders)]


def _is_chosen(contender: FanoutContender, words: Sequence[str]) -> bool:
    return not words or any(word.lower() in contender.name.lower() for word in words)


def _measure_load(
    settings: Settings, contenders: Sequence[FanoutContender], load: tuple[int, int]
) -> Table:
    publishers, subscribers = load
    title = f"{publishers} to {subscribers}"

    def run(contender: FanoutContender, server: Service) -> Fanned:
        return _fan_out(contender, server, load, settings.seconds)

    runs = _in_turns(settings, contenders, run, lambda fault: Fanned(fault=fault), title)
    rates = {
        c: summarise([r.deliveries_per_second for r in made]).median
        for c, made in runs.items()
        if made and not any(r.fault for r in made)
    }
    best = max((rate for c, rate in rates.items() if c.kind == "peer"), default=0.0)
    lines = []
    for contender in contenders:
        made = runs[contender]
        if contender not in rates:
            lines.append([contender.name, _reason(contender, made), "", "", contender.client])
            continue
        counts = ", ".join(f"{r.delivered:,} of {r.published * subscribers:,}" for r in made)
        rate = rates[contender]
        lines.append(
            [contender.name, rate_text(rate), ratio_text(rate, best), counts, contender.client]
        )
    ours = next((rates[c] for c in rates if c.kind == "ours"), 0.0)
    return Table(
        title=f"Fan-out {title}, {BODY_BYTES} bytes, handed over in lists of {BATCH}",
        columns=("contender", "deliveries/s", "x best peer", "delivered", "client"),
        lines=lines,
        data={
            "unit": "deliveries/s",
            "goal_x_best_peer": RATE_GOAL,
            "entries": [
                {"contender": c.name, "runs": [asdict(r) for r in made]} for c, made in runs.items()
            ],
        },
        note=f"Goal: {RATE_GOAL:g} x the best peer. Reached: {ratio_text(ours, best)}.",
    )


def _fan_out(
    contender: FanoutContender, server: Service, load: tuple[int, int], seconds: float
) -> Fanned:
    publishers, subscribers = load
    course = Course(publishers, subscribers)
    sides = run_sides(
        [
            *(
                partial(publish, contender, server.port, course, number, seconds)
                for number in range(publishers)
            ),
            *(
                partial(subscribe, contender, server.port, course, number, False)
                for number in range(subscribers)
            ),
        ],
        seconds + _END_SECONDS,
    )
    published, delivered = sum(course.sent), sum(course.taken)
    fault = next((one_line(side.fault) for side in sides if side.fault), "")
    if not fault and delivered != published * subscribers:
        fault = f"{delivered} of {published * subscribers} deliveries came"
    ended_at = max(side.ended_at for side in sides[publishers:])
    began_at = min(side.started_at for side in sides[:publishers])
    rate = delivered / (ended_at - began_at) if ended_at > began_at else 0.0
    return Fanned(rate, published, delivered, fault)


def _measure_latency(settings: Settings, contenders: Sequence[FanoutContender]) -> Table:
    runs = _in_turns(settings, contenders, _time_singles, lambda f: Timed(fault=f), "one message")
    medians = {
        c: summarise([r.p50_us for r in made]).median
        for c, made in runs.items()
        if made and not any(r.fault for r in made)
    }
    best = min((us for c, us in medians.items() if c.kind == "peer"), default=0.0)
    lines = []
    for contender in contenders:
        made = runs[contender]
        if contender not in medians:
            lines.append([contender.name, _reason(contender, made), "", "", ""])
            continue
        p50, p99 = summarise([r.p50_us for r in made]), summarise([r.p99_us for r in made])
        spread = f"{p50.low:.0f} - {p50.high:.0f}"
        ratio = ratio_text(p50.median, best)
        lines.append([contender.name, f"{p50.median:.0f}", spread, f"{p99.median:.0f}", ratio])
    ours = next((medians[c] for c in medians if c.kind == "ours"), 0.0)
    return Table(
        title="One message, from the call that publishes it to the subscriber's program",
        columns=("contender", "p50, us", "spread", "p99, us", "x best peer"),
        lines=lines,
        data={
            "unit": "us",
            "goal_x_best_peer": LATENCY_GOAL,
            "entries": [
                {"contender": c.name, "runs": [asdict(r) for r in made]} for c, made in runs.items()
            ],
        },
        note=(
            f"{_SINGLES} messages, each when the one before has come. Goal: at most "
            f"{LATENCY_GOAL:g} x the best peer on a channel in memory. "
            f"Reached: {ratio_text(ours, best)}."
        ),
    )


def _time_singles(contender: FanoutContender, server: Service) -> Timed:
    course = Course(1, 1)
    publisher, subscriber = run_sides(
        [
            partial(publish_slowly, contender, server.port, course, _SINGLES, _REST_SECONDS),
            partial(subscribe, contender, server.port, course, 0, True),
        ],
        _END_SECONDS,
    )
    fault = one_line(publisher.fault or subscriber.fault)
    if fault or len(subscriber.samples) != _SINGLES:
        return Timed(fault=fault or f"{len(subscriber.samples)} of {_SINGLES} messages came")
    p50, p99 = (percentile(subscriber.samples, fraction) * 1e6 for fraction in (0.50, 0.99))
    return Timed(p50, p99, len(subscriber.samples))


def _in_turns(
    settings: Settings,
    contenders: Sequence[FanoutContender],
    run: Callable[[FanoutContender, Service], T],
    failed: Callable[[str], T],
    title: str,
) -> dict[FanoutContender, list[T]]:
    runs: dict[FanoutContender, list[T]] = {contender: [] for contender in contenders}
    present = [contender for contender in contenders if not contender.missing()]
    for repeat in range(settings.repeat):
        for contender in turn_order(present, repeat):
            runs[contender].append(_run_one(settings, contender, run, failed))
            say(f"{title}, {contender.name}: {runs[contender][-1]}")
    return runs


def _run_one(
    settings: Settings,
    contender: FanoutContender,
    run: Callable[[FanoutContender, Service], T],
    failed: Callable[[str], T],
) -> T:
    try:
        with fresh_server(contender.start, settings.data_root) as server:
            return run(contender, server)
    # Whatever a contender raises becomes its row's fault, and the other rows go on.
    except Exception as error:
        return failed(f"{type(error).__name__}: {error}")


def _reason(contender: FanoutContender, made: Sequence[Fanned | Timed]) -> str:
    missing = contender.missing()
    fault = next((run.fault for run in made if run.fault), "")
    return f"not run: needs {missing}" if missing else f"FAULT: {one_line(fault)}"
