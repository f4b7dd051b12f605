"""A primary that dies, and one that leaves: how long a producer waits.

Owns one cluster for all rounds. Never compares with other brokers. Law: the goal is set by the
tenure that the brokers really have, read from the coordinator, and every confirmed message came.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.cluster.local import LocalCluster
from bench.peers.msgqueue_cluster import MsgQueueCluster
from bench.processes import running
from bench.report import Table
from bench.settings import Settings, UsageError, say
from bench.stats import summarise
from bench.steady import Pace, Progress, consume_numbered, put_paced, put_waiting
from bench.timeline import longest, silence_end
from bench.traffic import make_goal
from bench.underway import Underway, run_while

ROUNDS_MIN = 5
GOAL_SECONDS_BEYOND_TENURE = 2.0
_CONFIRMS_AFTER = 20
_CALM_SECONDS = 2.0
_QUEUES = tuple(f"steady-{number}" for number in range(16))
_COLUMNS = ("what happens to the primary", "median, s", "spread, s", "rounds", "came again")


@dataclass(frozen=True, slots=True)
class Round:
    """How long the producer waited, and how many messages came a second time."""

    seconds: float
    repeats: int


@dataclass(frozen=True, slots=True)
class _Event:
    """Which broker was ended and when, and when its successor had confirmed some puts."""

    broker: str
    at: float
    over_at: float


def measure(settings: Settings, contender: MsgQueueCluster) -> list[Table]:
    """Kill primaries, then let primaries leave under load."""
    if missing := contender.missing():
        raise UsageError(f"{contender.name} cannot run: needs {missing}")
    count = max(settings.repeat, ROUNDS_MIN)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.data_root) as place,
        running(contender.start(Path(place))) as cluster,
    ):
        tenure = cluster.tenure_seconds()
        addresses = contender.addresses(cluster.port)
        kills = [_kill_round(cluster, addresses, f"kill-{turn}") for turn in range(count)]
        leaves = [_leave_round(cluster, addresses, f"leave-{turn}") for turn in range(count)]
    return [_table(tenure, kills, leaves)]


def _kill_round(cluster: LocalCluster, addresses: str, queue: str) -> Round:
    """Return the time from SIGKILL of the primary to the first confirm of its successor."""
    progress = _new_progress()
    clients = [
        partial(put_waiting, addresses, queue, progress),
        partial(consume_numbered, addresses, [queue], progress),
    ]
    act = partial(_end_primary, cluster, queue, progress, cluster.kill_broker)
    event, [producer, consumer] = run_while(clients, progress.stop, act)
    _bring_back(cluster, event.broker)
    seconds = silence_end(producer.marks, event.at, event.over_at) - event.at
    say(f"{queue}: first confirm after {seconds:.2f} s")
    return Round(seconds, consumer.repeats)


def _leave_round(cluster: LocalCluster, addresses: str, queue: str) -> Round:
    """Return the longest put while the primary hands over and ends, under a steady load."""
    progress, beside = _new_progress(), _new_progress()
    pace = Pace(addresses, tuple(f"{queue}-{name}" for name in _QUEUES))
    clients = [
        partial(put_waiting, addresses, queue, progress),
        partial(consume_numbered, addresses, [queue], progress),
        partial(put_paced, pace, beside),
        partial(consume_numbered, addresses, pace.queues, beside),
    ]

    def act(underway: Underway) -> _Event:
        try:
            underway.wait_until(lambda: beside.confirmed.value > 0, "the load was confirmed")
            return _end_primary(cluster, queue, progress, cluster.stop_broker, underway)
        finally:
            beside.stop.value = 1

    event, [producer, consumer, load, _] = run_while(clients, progress.stop, act)
    _bring_back(cluster, event.broker)
    seconds = max(
        longest(side.samples, side.marks, event.at, event.over_at) for side in (producer, load)
    )
    say(f"{queue}: longest put {seconds:.2f} s")
    return Round(seconds, consumer.repeats)


def _end_primary(
    cluster: LocalCluster,
    queue: str,
    progress: Progress,
    end: Callable[[str], None],
    underway: Underway,
) -> _Event:
    """End the primary of the queue and wait for its successor."""
    underway.wait_until(lambda: progress.confirmed.value > 0, "the first confirm")
    underway.go_on(_CALM_SECONDS)
    victim = cluster.primary_of(queue)
    at = time.monotonic()
    end(victim)
    underway.wait_until(lambda: cluster.primary_of(queue) != victim, "another broker leads")
    enough = progress.confirmed.value + _CONFIRMS_AFTER
    underway.wait_until(lambda: progress.confirmed.value >= enough, "the successor confirmed")
    return _Event(victim, at, time.monotonic())


def _bring_back(cluster: LocalCluster, broker: str) -> None:
    """Start it again; the next round begins with all copies in sync."""
    cluster.start_broker(broker)
    cluster.await_settled()


def _new_progress() -> Progress:
    return Progress(stop=make_goal(0), confirmed=make_goal(0), goal=make_goal())


def _table(tenure: float, kills: Sequence[Round], leaves: Sequence[Round]) -> Table:
    goal = tenure + GOAL_SECONDS_BEYOND_TENURE
    reached = summarise([turn.seconds for turn in kills]).median
    return Table(
        title="Three brokers, and the primary of a queue ends",
        columns=_COLUMNS,
        lines=[
            _line("SIGKILL: until the first confirm of its successor", kills),
            _line("SIGTERM under a steady load: the longest put", leaves),
        ],
        data={
            "unit": "s",
            "tenure_seconds": tenure,
            "goal_seconds": goal,
            "kills": [asdict(turn) for turn in kills],
            "leaves": [asdict(turn) for turn in leaves],
        },
        note=(
            f"Goal after SIGKILL: {goal:g} s at most, the tenure of {tenure:g} s and "
            f"{GOAL_SECONDS_BEYOND_TENURE:g} s. Reached: {reached:.2f} s. One producer puts, waits "
            "for the confirm, and puts again. Every confirmed message came."
        ),
    )


def _line(what: str, rounds: Sequence[Round]) -> list[str]:
    seconds = summarise([turn.seconds for turn in rounds])
    repeats = sum(turn.repeats for turn in rounds)
    spread = f"{seconds.low:.2f} - {seconds.high:.2f}"
    return [what, f"{seconds.median:.2f}", spread, str(len(rounds)), str(repeats)]
