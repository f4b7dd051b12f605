"""The example that counts words is exact, in peace and while everything is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.broker_process import ROOT, BrokerProcess

DEADLINE_S = 180.0


def count_words(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.word_count", *arguments]
    texts = ["docs/protocol.md", "docs/architecture.md"]
    return subprocess.run(
        [*command, *texts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_tally_of_a_broker_in_peace_is_exact(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker:
        run = count_words("--endpoint", broker.endpoint, "--consumers", "2")
    assert run.returncode == 0, run.stderr
    assert "exact" in run.stdout


def test_the_tally_is_exact_while_broker_and_consumers_are_killed() -> None:
    run = count_words("--chaos", "--consumers", "2", "--repeat", "10", "--seed", "1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "exact" in run.stdout
    assert "killed brokers" in run.stdout


def test_the_tally_is_exact_while_brokers_of_a_cluster_and_consumers_are_killed() -> None:
    run = count_words("--chaos", "--brokers", "3", "--consumers", "2", "--repeat", "10")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "exact" in run.stdout
    assert "killed brokers" in run.stdout
