"""A steady load while brokers join and leave: three, then five, then three again.

Owns one cluster for the whole row. Never compares with other brokers. Law: the fewest copies that
any way of doing it would need stand beside the copies that were made, and every confirmed message
came.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.cluster.local import REPLICATION, SLOTS, LocalCluster
from bench.cluster.ownership import copies_made, held_by, join_copies_min, primaries_moved
from bench.peers.msgqueue_cluster import MsgQueueCluster
from bench.processes import running
from bench.report import Table, rate_text, ratio_text
from bench.settings import Settings, UsageError, say
from bench.sides import Side
from bench.steady import Pace, Progress, consume_numbered, put_paced
from bench.timeline import longest, rates
from bench.traffic import make_goal
from bench.underway import Underway, run_while
from broker.cluster.ownership import SlotConfig

JOINING = ("b3", "b4")
_QUEUES = tuple(f"steady-{number}" for number in range(64))
_QUIET_SECONDS = 5.0
_MOVE_SECONDS_MAX = 600.0
_COLUMNS = (
    "phase",
    "seconds",
    "confirmed/s",
    "lowest second",
    "consumed/s",
    "lowest second",
    "longest put, s",
    "copies made",
    "fewest possible",
    "made / fewest",
    "primaries moved",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run, on the monotonic clock, and what moved in it."""

    name: str
    started_at: float
    ended_at: float
    copies_made: int = 0
    copies_min: float = 0.0
    primaries_moved: int = 0


class _Watch:
    """Adds up what changes from one look at the ownership map to the next."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._slots: Mapping[int, SlotConfig] = cluster.slots()
        self._changed_at = time.monotonic()
        self.copies_made = 0
        self.primaries_moved = 0

    def look(self) -> None:
        slots = self._cluster.slots()
        if slots != self._slots:
            self._changed_at = time.monotonic()
        self.copies_made += copies_made(self._slots, slots)
        self.primaries_moved += primaries_moved(self._slots, slots)
        self._slots = slots

    def copies_on(self, brokers: Sequence[str]) -> int:
        return sum(held_by(self._slots, broker) for broker in brokers)

    @property
    def is_quiet(self) -> bool:
        """True when nothing has moved for some seconds and every slot is in sync."""
        since = time.monotonic() - self._changed_at
        return since >= _QUIET_SECONDS and self._cluster.is_settled()


def measure(settings: Settings, contender: MsgQueueCluster) -> list[Table]:
    """Run the five phases under one load."""
    if missing := contender.missing():
        raise UsageError(f"{contender.name} cannot run: needs {missing}")
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.data_root) as place,
        running(contender.start(Path(place))) as cluster,
    ):
        pace = Pace(contender.addresses(cluster.port), _QUEUES)
        progress = Progress(stop=make_goal(0), confirmed=make_goal(0), goal=make_goal())
        clients = [
            partial(put_paced, pace, progress),
            partial(consume_numbered, pace.addresses, pace.queues, progress),
        ]
        act = partial(_act, cluster, progress, settings.seconds)
        phases, [producer, consumer] = run_while(clients, progress.stop, act)
    return [_table(pace, phases, producer, consumer)]


def _act(
    cluster: LocalCluster, progress: Progress, seconds: float, underway: Underway
) -> list[Phase]:
    """Let brokers join, drain them, and let them leave; the load is calm before and after."""
    underway.wait_until(lambda: progress.confirmed.value > 0, "the first confirm")
    calm = partial(underway.go_on, seconds)

    def join(watch: _Watch) -> float:
        for broker in JOINING:
            cluster.start_broker(broker)
        _await(underway, watch, lambda: watch.copies_on(JOINING) > 0 and watch.is_quiet, "joined")
        brokers = len(cluster.brokers)
        return join_copies_min(SLOTS, REPLICATION, brokers, len(JOINING))

    def leave(watch: _Watch) -> float:
        held = watch.copies_on(JOINING)
        for broker in JOINING:
            cluster.drain_broker(broker)
        _await(underway, watch, lambda: watch.copies_on(JOINING) == 0, "drained")
        for broker in JOINING:
            cluster.stop_broker(broker)
        _await(underway, watch, lambda: watch.is_quiet, "settled")
        return held

    def rest(watch: _Watch) -> float:
        calm(watch.look)
        return 0.0

    steps = (
        ("three brokers", rest),
        ("two join", join),
        ("five brokers", rest),
        ("two are drained and leave", leave),
        ("three brokers again", rest),
    )
    return [_phase(cluster, name, step) for name, step in steps]


def _await(underway: Underway, watch: _Watch, is_so: Callable[[], bool], what: str) -> None:
    def is_so_now() -> bool:
        watch.look()
        return is_so()

    underway.wait_until(is_so_now, what, _MOVE_SECONDS_MAX)


def _phase(cluster: LocalCluster, name: str, step: Callable[[_Watch], float]) -> Phase:
    watch = _Watch(cluster)
    started_at = time.monotonic()
    copies_min = step(watch)
    phase = Phase(
        name, started_at, time.monotonic(), watch.copies_made, copies_min, watch.primaries_moved
    )
    say(f"{name}: {phase.ended_at - started_at:.1f} s, {phase.copies_made} copies made")
    return phase


def _table(pace: Pace, phases: Sequence[Phase], producer: Side, consumer: Side) -> Table:
    seen = {
        phase: (
            rates(producer.marks, pace.batch, phase.started_at, phase.ended_at),
            rates(consumer.marks, 1, phase.started_at, phase.ended_at),
            longest(producer.samples, producer.marks, phase.started_at, phase.ended_at),
        )
        for phase in phases
    }
    return Table(
        title="A steady load while two brokers join three and leave again",
        columns=_COLUMNS,
        lines=[_line(phase, *seen[phase]) for phase in phases],
        data={
            "unit": "messages/s",
            "pace": pace.rate,
            "batch": pace.batch,
            "queues": len(pace.queues),
            "slots": SLOTS,
            "replication": REPLICATION,
            "repeats": consumer.repeats,
            "phases": [
                asdict(phase) | {"confirmed": put, "consumed": consumed, "longest_put": sample}
                for phase, (put, consumed, sample) in seen.items()
            ],
        },
        note=(
            f"The pace is {rate_text(pace.rate)} messages/s in batches of {pace.batch} over "
            f"{len(pace.queues)} queues; {SLOTS} slots, {REPLICATION} copies each; all brokers "
            f"share one disk. Every confirmed message came, {consumer.repeats} came again. A phase "
            f"of change ends when nothing has moved for {_QUIET_SECONDS:g} s. Fewest possible: "
            "for a join the new brokers' even share of all copies, for a leave the copies that "
            "those who leave held."
        ),
    )


def _line(
    phase: Phase, put: Sequence[float], consumed: Sequence[float], longest_put: float
) -> list[str]:
    moved = [f"{phase.copies_made}", "", "", f"{phase.primaries_moved}"]
    if phase.copies_min:
        ratio = ratio_text(phase.copies_made, phase.copies_min)
        moved[1:3] = [f"{phase.copies_min:.0f}", ratio]
    return [
        phase.name,
        f"{phase.ended_at - phase.started_at:.1f}",
        *_middle_and_lowest(put),
        *_middle_and_lowest(consumed),
        f"{longest_put:.2f}",
        *moved,
    ]


def _middle_and_lowest(values: Sequence[float]) -> list[str]:
    if not values:
        return ["-", "-"]
    return [rate_text(statistics.median(values)), rate_text(min(values))]
