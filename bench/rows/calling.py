"""Calls: how long one takes with 1 and with 16 callers, and how many a second 4 workers answer.

Owns the loads. Law: every answer is compared with its question; the bare proxy, which does nothing
but pass frames on, is measured in the same run, in turns with the contenders.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

from bench.calling.contender import CallContender
from bench.calling.frames import BareProxy, MsgQueueFrames
from bench.calling.msgqueue_calls import MsgQueueTasks, MsgQueueThreads
from bench.calling.nats_requests import NatsRequests
from bench.calling.rabbitmq_direct import RabbitMQDirect
from bench.calling.redis_lists import RedisLists
from bench.calling.sides import Shift, call, work
from bench.duel import fresh_server
from bench.peers.registry import turn_order
from bench.report import Table, one_line, rate_text, ratio_text
from bench.settings import Settings, say
from bench.sides import run_sides
from bench.stats import percentile, summarise

CLIENT_GOAL = 1.0
"""How many times nats-py's median that of our `Client` may be."""
RAW_GOAL = 1.3
"""How many times the bare proxy's median that of frames through our broker may be."""

CONTENDERS: tuple[CallContender, ...] = (
    MsgQueueThreads(),
    MsgQueueTasks(),
    MsgQueueFrames(),
    BareProxy(),
    NatsRequests(),
    RabbitMQDirect(),
    RedisLists(),
)
#: Callers and workers.
_LOADS = ((1, 1), (16, 1), (16, 4))
_END_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Called:
    """One run: how long calls took, in microseconds, and how many there were a second."""

    p50_us: float = 0.0
    p99_us: float = 0.0
    calls_per_second: float = 0.0
    fault: str = ""


Runs = dict[CallContender, list[Called]]


def measure(settings: Settings, words: Sequence[str]) -> list[Table]:
    """Let every contender carry every load, in turns."""
    chosen = [c for c in CONTENDERS if not words or any(w.lower() in c.name.lower() for w in words)]
    return [_measure_load(settings, chosen, load) for load in _LOADS]


def _measure_load(
    settings: Settings, contenders: Sequence[CallContender], load: tuple[int, int]
) -> Table:
    runs: Runs = {contender: [] for contender in contenders}
    present = [contender for contender in contenders if not contender.missing()]
    for repeat in range(settings.repeat):
        for contender in turn_order(present, repeat):
            made = _run(settings, contender, load)
            runs[contender].append(made)
            told = one_line(made.fault) or f"p50 {made.p50_us:.0f} us"
            say(f"{load[0]} callers, {load[1]} workers, {contender.name}: {told}")
    return _table(runs, load)


def _run(settings: Settings, contender: CallContender, load: tuple[int, int]) -> Called:
    callers, workers = load
    try:
        with fresh_server(contender.start, settings.data_root) as server:
            shift = Shift()
            calling, *_ = sides = run_sides(
                [
                    partial(call, contender, server.port, shift, callers, settings.seconds),
                    *[partial(work, contender, server.port, shift) for _ in range(workers)],
                ],
                settings.seconds + _END_SECONDS,
            )
    # Whatever a contender raises becomes its row's fault, and the other rows go on.
    except Exception as error:
        return Called(fault=f"{type(error).__name__}: {error}")
    fault = next((side.fault for side in sides if side.fault), "")
    if fault or not calling.samples:
        return Called(fault=fault or "no call was answered")
    p50, p99 = (percentile(calling.samples, fraction) * 1e6 for fraction in (0.50, 0.99))
    return Called(p50, p99, len(calling.samples) / settings.seconds)


def _table(runs: Runs, load: tuple[int, int]) -> Table:
    callers, workers = load
    medians = {
        c: summarise([made.p50_us for made in of]).median
        for c, of in runs.items()
        if of and not any(made.fault for made in of)
    }
    best = min((us for c, us in medians.items() if c.kind == "peer"), default=0.0)
    return Table(
        title=f"Calls, {callers} callers, {workers} workers, 256 bytes each way, in memory",
        columns=("contender", "p50, us", "spread", "p99, us", "calls/s", "x best peer", "client"),
        lines=[_line(c, of, medians, best) for c, of in runs.items()],
        data={
            "unit": "us",
            "entries": [
                {"contender": c.name, "runs": [asdict(made) for made in of]}
                for c, of in runs.items()
            ],
        },
        note=_note(medians) if callers == 1 else "Workers echo at once; the machine is the bound.",
    )


def _line(
    contender: CallContender,
    runs: Sequence[Called],
    medians: dict[CallContender, float],
    best: float,
) -> list[str]:
    if contender not in medians:
        missing = contender.missing()
        fault = next((made.fault for made in runs if made.fault), "")
        reason = f"not run: needs {missing}" if missing else f"FAULT: {one_line(fault)}"
        return [contender.name, reason, "", "", "", "", contender.client]
    p50 = summarise([made.p50_us for made in runs])
    return [
        contender.name,
        f"{p50.median:.0f}",
        f"{p50.low:.0f} - {p50.high:.0f}",
        f"{summarise([made.p99_us for made in runs]).median:.0f}",
        rate_text(summarise([made.calls_per_second for made in runs]).median),
        ratio_text(p50.median, best),
        contender.client,
    ]


def _note(medians: dict[CallContender, float]) -> str:
    told = [
        (MsgQueueThreads(), NatsRequests(), CLIENT_GOAL),
        (MsgQueueFrames(), BareProxy(), RAW_GOAL),
    ]
    return " ".join(
        f"Goal: {ours.name} at most {goal:g} x {other.name}; "
        f"reached {ratio_text(medians[ours], medians[other])}."
        for ours, other, goal in told
        if ours in medians and other in medians
    )
