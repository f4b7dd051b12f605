"""What the features of queues cost those who use them, each beside the same load without them.

Owns the loads with a priority or a time to live for each batch. Keyed queues, selectors and own
due times have rows of their own (choice.py, due.py) and are run here too. Law: the plain load runs
beside the others in each round, and a ratio is of two runs of one round.
"""

from collections.abc import Sequence
from dataclasses import replace

from bench.duel import Run, run_fresh
from bench.peers.msgqueue import MsgQueue
from bench.report import Table, one_line, rate_text
from bench.rows import choice, due
from bench.settings import Settings, say
from bench.stats import summarise
from bench.traffic import Dress, Load

GOAL_RATIO = 0.7
_LOADS = (Load(1_000), Load(100))
_DRESSES = (Dress.PLAIN, Dress.PRIORITY, Dress.TTL)

Round = dict[Dress, Run]


def measure(settings: Settings, late_messages: int) -> list[Table]:
    """Run every row of features."""
    return [
        *(measure_dressed(settings, load) for load in _LOADS),
        *choice.measure_keyed(settings),
        *choice.measure_selector(settings),
        *due.measure(settings, late_messages),
    ]


def measure_dressed(settings: Settings, load: Load) -> Table:
    """Rounds of the plain load and the dressed ones, forward and backward in turns."""
    rounds: list[Round] = []
    for number in range(settings.repeat):
        runs: Round = {}
        for dress in _DRESSES if number % 2 == 0 else reversed(_DRESSES):
            dressed = replace(load, dress=dress)
            runs[dress] = run_fresh(MsgQueue(), dressed, settings.seconds, settings.data_root)
            result = one_line(runs[dress].fault) or rate_text(runs[dress].rate)
            say(f"{load.label}, {dress.value or 'plain'}: {result}")
        rounds.append(runs)
    return Table(
        title=f"Priorities and times to live: put, consume and acknowledge at once, {load.label}",
        columns=("every batch has", "messages/s", "spread", "x plain, median", "spread"),
        lines=[_line(dress, rounds) for dress in _DRESSES],
        data={
            "load": load.label,
            "unit": "messages/s",
            "goal_x_plain": GOAL_RATIO,
            "rounds": [{d.name.lower(): r.as_json() for d, r in runs.items()} for runs in rounds],
        },
        note=(
            f"Goal: {GOAL_RATIO:g} x the plain load of the same round. Priorities are 0 to 9 in"
            " turn, so that batches overtake one another."
        ),
    )


def _line(dress: Dress, rounds: Sequence[Round]) -> list[str]:
    name = dress.value or "nothing besides"
    fault = next((r[d].fault for r in rounds for d in (dress, Dress.PLAIN) if r[d].fault), "")
    if fault:
        return [name, f"FAULT: {one_line(fault)}", "", "", ""]
    rate = summarise([runs[dress].rate for runs in rounds])
    ratio = summarise([runs[dress].rate / runs[Dress.PLAIN].rate for runs in rounds])
    return [
        name,
        rate_text(rate.median),
        f"{rate_text(rate.low)} - {rate_text(rate.high)}",
        f"{ratio.median:.2f}",
        f"{ratio.low:.2f} - {ratio.high:.2f}",
    ]
