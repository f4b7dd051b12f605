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


def test_later_messages_are_cancelled_moved_and_put_again_and_again(
    broker: BrokerProcess,
) -> None:
    lines = run("delayed", broker).splitlines()
    assert [line.split()[0] for line in lines[:5]] == [f"reminders:{n}" for n in range(5)]
    assert lines[5:] == [
        "cancelled: True",
        "moved: 1",
        "ready: call back",
        "ready: stand up",
        "recurring: a second",
        "recurring: a second",
    ]


def test_what_failed_is_kept_with_its_reason_and_sent_back(broker: BrokerProcess) -> None:
    assert run("dead_letters", broker).splitlines() == [
        "charged {'amount': 5}",
        "dead: {'amount': -1} rejected after 0 attempts",
        "dead: {'amount': 500} attempts after 3 attempts",
        "sent back: 1",
        "charged {'amount': 500}",
    ]


def test_each_order_has_one_invoice_though_one_transaction_was_given_up(
    broker: BrokerProcess,
) -> None:
    lines = run("transaction", broker).splitlines()
    assert lines[0] == "given up: the tax office does not answer"
    assert sorted(lines[1:]) == [
        *(f"shop.invoices {{'order': {n}, 'total': 20}}" for n in range(3)),
        *(f"shop.log order {n} is invoiced" for n in range(3)),
    ]
