"""What the README shows a newcomer runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.broker_process import BrokerProcess

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "tcp://127.0.0.1:5570"
RUN_S = 60


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_program_puts_and_takes_publishes_and_calls(broker: BrokerProcess) -> None:
    first, _ = programs()
    assert ADDRESS in first
    said = run(first.replace(ADDRESS, broker.endpoint)).splitlines()
    assert said == ["{'item': 'laptop'} 0", "{'item': 'book'} 0", "price.eur 1.09", "42"]


def test_the_test_with_a_broker_in_memory_passes() -> None:
    _, second = programs()
    assert "MemoryBroker" in second
    run(second)
