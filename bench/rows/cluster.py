"""Clusters of three on one machine: the work of the throughput row, replicated three times.

Never compares with a lone broker. Law: all brokers of a cluster share this machine's processors
and its one disk, so the row shows what replication costs in work, not what three machines give.
"""

from bench.report import Table
from bench.rows import throughput
from bench.settings import Settings
from bench.traffic import SINGLES, Load

GOALS = {Load(1_000): 5.0, Load(100): 5.0, SINGLES: 5.0}
"""Each load, and how many times the best peer's rate is the goal."""

_TITLE = "Three brokers on one machine, three copies: put, consume and acknowledge at once"


def measure(settings: Settings) -> list[Table]:
    """Run every load on every cluster."""
    return throughput.measure(settings, GOALS, _TITLE)
