"""A whole run of the benchmark, over its own bare broker."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the benchmark needs its extra")

from bench.duel import run_fresh
from bench.peers.floor import Floor
from bench.traffic import SINGLES, Load


@pytest.mark.parametrize("load", [Load(100), SINGLES], ids=lambda load: load.label)
def test_a_run_accounts_for_every_message(tmp_path: Path, load: Load) -> None:
    run = run_fresh(Floor(), load, 0.1, tmp_path)
    assert run.fault == ""
    assert run.messages >= load.batch
    assert run.messages % load.batch == 0


def test_a_broker_that_does_not_start_is_a_fault_and_not_an_exception(tmp_path: Path) -> None:
    run = run_fresh(Floor(), Load(100), 0.1, tmp_path / "nowhere")
    assert "FileNotFoundError" in run.fault
    assert run.rate == 0.0
