"""A broker that is killed under load loses nothing that it confirmed."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.kill9 import Kill9


def test_three_kills_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    verdicts = Kill9(tmp_path, seed=9, tell=print).run(rounds=3)
    assert all(verdict.valid for verdict in verdicts), "\n".join(map(str, verdicts))
    assert verdicts[0].counts["confirmed"] > 0
    assert verdicts[1].counts["acked"] > 0
