"""The examples do what they say, against a real broker."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.broker_process import ROOT, BrokerProcess


def run(example: str, broker: BrokerProcess) -> str:
    done = subprocess.run(
        [sys.executable, f"examples/{example}.py", broker.endpoint],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("producer", ["producer", "async_producer"])
@pytest.mark.parametrize("consumer", ["consumer", "async_consumer"])
def test_what_one_example_puts_another_consumes(
    producer: str, consumer: str, broker: BrokerProcess
) -> None:
    assert "all confirmed: 100" in run(producer, broker)
    assert len(run(consumer, broker).splitlines()) == 100


def test_the_protocol_can_be_spoken_without_a_client_library(broker: BrokerProcess) -> None:
    printed = run("raw_pyzmq", broker)
    assert "got [b'first', b'second']" in printed
    assert "acked 2" in printed
