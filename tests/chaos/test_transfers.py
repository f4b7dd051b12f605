"""Messages that move between queues, of one broker or of several, are neither lost nor doubled."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.cluster import ClusterChaos
from tests.chaos.kill9 import Kill9
from tests.chaos.schedule import Fault
from tests.chaos.workloads import TRANSFERS


def test_two_kills_of_a_lone_broker_lose_and_double_nothing_that_moves(tmp_path: Path) -> None:
    verdicts = Kill9(tmp_path, 5, print, TRANSFERS).run(rounds=2)
    assert all(verdict.valid for verdict in verdicts), "\n".join(map(str, verdicts))
    assert verdicts[0].counts["moved"] > 0
    assert verdicts[1].counts["carried"] > 0


def test_kills_of_an_owner_and_of_all_lose_and_double_nothing_that_moves(tmp_path: Path) -> None:
    chaos = ClusterChaos(tmp_path, 5, print, TRANSFERS)
    verdicts = chaos.run([Fault.KILL_PRIMARY, Fault.KILL_ALL])
    assert all(verdict.valid for verdict in verdicts), "\n".join(map(str, verdicts))
    assert verdicts[0].counts["moved"] > 0
    assert verdicts[1].counts["carried"] > 0
