"""The examples do what they say, against a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.broker_process import ROOT, BrokerProcess


def run(example: str, broker: BrokerProcess, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, f"examples/{example}.py", broker.endpoint, *more],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(example: str, broker: BrokerProcess) -> Iterator[list[str]]:
    """From its first line until Ctrl-C; gives the lines, all of them once the block is left."""
    with subprocess.Popen(
        [sys.executable, f"examples/{example}.py", broker.endpoint],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline()]
        try:
            yield printed
        finally:
            process.send_signal(signal.SIGINT)
            printed += process.communicate(timeout=60)[0].splitlines(keepends=True)
    assert process.returncode == 0


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


def test_functions_are_called_and_their_errors_come_back(broker: BrokerProcess) -> None:
    with running("request_reply_server", broker) as printed:
        assert run("request_reply_client", broker).splitlines() == [
            "1 + 2 = 3",
            "a laptop is 1200",
            "parts: 0 1 2",
            "no such item: unicorn",
            "bad arguments: shop.add: got an unexpected keyword argument 'c'",
            "failed there: TypeError",
            "nobody serves that",
        ]
    assert printed[-1] == "closing: what is in hand is answered\n"


def test_the_best_quote_of_those_that_came_in_time_is_taken(broker: BrokerProcess) -> None:
    assert run("scatter_gather", broker).splitlines() == [
        "best: cheap 70",
        "came: 2 missing: 1",
        "first: table",
    ]


def test_a_report_is_ordered_once_made_later_and_read_twice(broker: BrokerProcess) -> None:
    assert run("durable_request", broker).splitlines() == [
        "no reply to report-5 yet; the request stands",
        "report of month 5",
        "report of month 5",
        "failed: ValueError: there is no month 13",
        "forgotten: True True None",
    ]


def test_services_can_be_spoken_to_without_a_client_library(broker: BrokerProcess) -> None:
    assert run("raw_pyzmq_call", broker).splitlines() == [
        "served: ok",
        "asked: b'hello' attempt 1",
        "answered: [b'HELLO']",
        "nobody: no_responder",
    ]


def test_channels_can_be_had_without_a_client_library(broker: BrokerProcess) -> None:
    assert run("raw_pyzmq_channels", broker, broker.raw_endpoint).splitlines() == [
        "subscribed: [b'$sync.1']",
        "published to 1",
        "heard: b'news.eu\\x00' True [b'first', b'second']",
        "raw: b'unconfirmed'",
    ]


def test_work_is_done_tried_again_or_kept_until_the_worker_is_told_to_end(
    broker: BrokerProcess,
) -> None:
    assert "three e-mails" in run("jobs", broker)
    worker = subprocess.Popen(
        [sys.executable, "-u", "examples/worker.py", broker.endpoint],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdout is not None
    lines = [worker.stdout.readline().strip() for _ in range(2)]
    worker.terminate()
    worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert sorted(lines) == ["sent to ada@example.org", "sent to flaky@example.org"]


def test_a_late_subscriber_gets_what_is_kept_and_what_stands(broker: BrokerProcess) -> None:
    assert "gbp 1.27 to 0 subscribers" in run("publisher", broker)
    kept = run("subscriber", broker).splitlines()
    assert sorted(kept) == ["price.eur 1.08", "price.eur 1.09", "price.gbp 1.27"]
    assert run("last_value", broker).splitlines() == ["price.eur 1.09", "price.gbp 1.27"]


def test_stages_hand_on(broker: BrokerProcess) -> None:
    assert run("pipeline", broker).splitlines() == ["EVERY", "WORD", "ONCE"]


def test_what_comes_again_is_not_booked_again(broker: BrokerProcess) -> None:
    lines = run("idempotent_consumer", broker).splitlines()
    assert sorted(lines) == ["10 was booked before", "20 is new", "30 is new", "balance: 60"]


def test_what_was_rolled_back_is_not_put(broker: BrokerProcess) -> None:
    assert run("outbox", broker).splitlines() == [
        "relayed: 2",
        "ordered: book",
        "ordered: ring",
    ]
