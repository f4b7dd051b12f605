"""One put at a time, each waiting for its confirm, beside the floor under it.

Owns the two percentiles. Never counts a put whose body did not come out again. Law: the floor (a
bare round trip and one fdatasync of the same body) is measured in the same run, in turns with the
contenders.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

from bench.contender import Contender, Target
from bench.duel import fault_of, on_fresh_server
from bench.peers.registry import turn_order
from bench.peers.round_trip import RoundTrip
from bench.processes import Service
from bench.report import Table, one_line, ratio_text
from bench.settings import Settings, say
from bench.sides import Side, consume, produce_waiting, run_sides
from bench.stats import percentile, summarise
from bench.traffic import SINGLES, Load, Supply, make_goal

GOAL = 2.0
"""How many floors our median may cost."""

_FLOOR = RoundTrip(synced=True)
_DRAIN = Load(100)
_DRAIN_SECONDS = 120.0
_COLUMNS = ("contender", "p50, us", "spread", "p99, us", "x floor (p50)", "durability in force")


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: how long puts took, in microseconds."""

    p50_us: float = 0.0
    p99_us: float = 0.0
    puts: int = 0
    fault: str = ""


Trials = dict[Target, list[Trial]]


def measure(settings: Settings) -> list[Table]:
    """Let every contender and the two floors put, wait, and put again."""
    brokers = [broker for broker in settings.contenders if broker.kind != "floor"]
    drains: dict[Target, Contender | None] = {_FLOOR: None, RoundTrip(synced=False): None}
    drains |= {broker: broker for broker in brokers}
    missing = {target: target.missing() for target in drains}
    trials: Trials = {target: [] for target in drains}
    for repeat in range(settings.repeat):
        for target in turn_order([t for t in drains if not missing[t]], repeat):
            trial = _run(target, drains[target], settings)
            trials[target].append(trial)
            say(f"one put, {target.name}: {one_line(trial.fault) or f'{trial.p50_us:.0f} us'}")
    return [_table(trials, missing)]


def _run(target: Target, drain: Contender | None, settings: Settings) -> Trial:
    def measure_it(server: Service) -> Trial:
        return _measure(target, drain, server, settings.seconds)

    try:
        return on_fresh_server(target, settings.data_root, measure_it)
    # Whatever a contender raises becomes its row's fault, and the other rows go on.
    except Exception as error:
        return Trial(fault=f"{type(error).__name__}: {error}")


def _measure(target: Target, drain: Contender | None, server: Service, seconds: float) -> Trial:
    """Put for a time, one by one; what a broker confirmed must then come out of it."""
    supply = Supply(SINGLES, make_goal(), seconds)
    [producer] = run_sides([partial(produce_waiting, target, server.port, supply)], seconds * 2)
    fault = producer.fault
    if drain and not fault:
        fault = _drain_fault(drain, server, producer)
    if fault:
        return Trial(fault=fault)
    p50, p99 = (percentile(producer.samples, fraction) * 1e6 for fraction in (0.50, 0.99))
    return Trial(p50, p99, len(producer.samples))


def _drain_fault(broker: Contender, server: Service, producer: Side) -> str:
    """Consume what was put and return what is wrong with it."""
    goal = make_goal(producer.digest.count)
    [consumer] = run_sides([partial(consume, broker, server.port, _DRAIN, goal)], _DRAIN_SECONDS)
    return fault_of(producer, consumer)


def _table(trials: Trials, missing: dict[Target, str]) -> Table:
    medians = {target: _median_us(of_target) for target, of_target in trials.items()}
    floor = medians[_FLOOR]
    ours = next((medians[target] for target in trials if target.kind == "ours"), 0.0)
    return Table(
        title="One put at a time, waiting for its confirm",
        columns=_COLUMNS,
        lines=[_line(target, of, floor, missing[target]) for target, of in trials.items()],
        data={
            "unit": "us",
            "floor_p50_us": floor,
            "goal_x_floor": GOAL,
            "entries": [
                {
                    "contender": target.name,
                    "kind": target.kind,
                    "durability": target.durability,
                    "missing": missing[target],
                    "median_p50_us": medians[target],
                    "runs": [asdict(trial) for trial in of_target],
                }
                for target, of_target in trials.items()
            ],
        },
        note=(
            f"Goal: p50 within {GOAL:g} x the floor. "
            f"Reached: {ratio_text(ours, floor) if ours else '-'}."
        ),
    )


def _median_us(trials: Sequence[Trial]) -> float:
    if not trials or any(trial.fault for trial in trials):
        return 0.0
    return summarise([trial.p50_us for trial in trials]).median


def _line(target: Target, trials: Sequence[Trial], floor: float, missing: str) -> list[str]:
    fault = next((trial.fault for trial in trials if trial.fault), "")
    if missing or fault:
        reason = f"not run: needs {missing}" if missing else f"FAULT: {one_line(fault)}"
        return [target.name, reason, "", "", "", target.durability]
    p50 = summarise([trial.p50_us for trial in trials])
    p99 = summarise([trial.p99_us for trial in trials])
    return [
        target.name,
        f"{p50.median:.0f}",
        f"{p50.low:.0f} - {p50.high:.0f}",
        f"{p99.median:.0f}",
        ratio_text(p50.median, floor),
        target.durability,
    ]
