"""A cluster that is disturbed under load loses nothing that it confirmed, and doubles nothing."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.cluster import ClusterChaos
from tests.chaos.schedule import Fault


def test_a_killed_owner_a_stopped_owner_and_the_death_of_all_lose_and_double_nothing(
    tmp_path: Path,
) -> None:
    chaos = ClusterChaos(tmp_path, seed=9, tell=print)
    verdicts = chaos.run([Fault.KILL_PRIMARY, Fault.STOP_PRIMARY, Fault.KILL_ALL])
    assert all(verdict.valid for verdict in verdicts), "\n".join(map(str, verdicts))
    assert verdicts[0].counts["confirmed"] > 0
    assert verdicts[1].counts["acked"] > 0
