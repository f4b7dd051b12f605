"""The scenario of calls, short; the long run is ``make chaos``."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.calls import chaos


def test_every_call_ends_while_workers_are_killed(tmp_path: Path) -> None:
    verdict = chaos(tmp_path, seconds=5.0, brokers=1, count=200, seed=1)
    assert verdict.valid, str(verdict)
    assert verdict.counts["reply"]
    assert verdict.counts["workers killed"]
