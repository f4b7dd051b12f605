"""Recurring schedules: the calendar, and a real broker that puts what is due, once."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from broker.errors import BadField
from broker.server.cron import latest_until, next_after
from tests.support.broker_process import BrokerProcess
from tests.support.waiting import wait_until
from tests.support.wire import WireClient, WireClients

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(local.timestamp() * 1_000)


def following(cron: str, start: int, count: int) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        instant = next_after(cron, BERLIN, found[-1] if found else start)
        assert instant is not None
        found.append(instant)
    return found


def test_what_lies_in_the_missing_hour_is_due_at_its_end() -> None:
    found = following("30 2 * * *", at("2026-03-28T12:00"), 2)
    assert found == [at("2026-03-29T03:00"), at("2026-03-30T02:30")]


def test_a_fixed_time_in_the_hour_that_comes_twice_is_due_once() -> None:
    found = following("30 2 * * *", at("2026-10-24T12:00"), 2)
    assert found == [at("2026-10-25T02:30"), at("2026-10-26T02:30")]


def test_what_is_due_every_hour_is_due_in_both_hours() -> None:
    found = following("30 * * * *", at("2026-10-25T02:00"), 3)
    assert found == [
        at("2026-10-25T02:30"),
        at("2026-10-25T02:30", fold=1),
        at("2026-10-25T03:30"),
    ]


def test_the_latest_instant_may_be_now() -> None:
    now = at("2026-06-01T09:00")
    assert latest_until("0 9 * * *", BERLIN, now) == now
    assert latest_until("0 9 * * *", BERLIN, now - 1) == at("2026-05-31T09:00")
    assert next_after("0 9 * * *", BERLIN, now) == at("2026-06-02T09:00")


@pytest.mark.parametrize(("cron", "zone"), [("61 * * * *", BERLIN), ("* * * * *", "Mars/Olympus")])
def test_what_nobody_can_read_is_refused_by_name(cron: str, zone: str) -> None:
    with pytest.raises(BadField):
        next_after(cron, zone, 0)


def schedule(cron: str, body: str) -> dict[str, object]:
    return {"cron": cron, "zone": "UTC", "body": body, "type": "tick"}


def declare(client: WireClient, **schedules: object) -> None:
    settings = {"schedules": schedules}
    assert client.request("declare", queue="q", settings=settings).header["re"] == "ok"


def notes(client: WireClient) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = client.request("stats", queue="q").header["stats"][
        "schedules"
    ]
    return found


def ready(client: WireClient) -> int:
    return int(client.request("stats", queue="q").header["stats"]["ready"])


def test_a_schedule_puts_its_message_again_and_again(client: WireClient) -> None:
    declare(client, each_second=schedule("* * * * * *", "hello"))
    wait_until(lambda: ready(client) >= 2, "two messages of the schedule")
    runs = client.request("get", queue="q", max=2).header["runs"]
    assert all(run["type"] == "tick" for run in runs)


def test_a_restart_neither_doubles_nor_forgets(
    broker: BrokerProcess, client: WireClient, clients: WireClients
) -> None:
    declare(client, each_second=schedule("* * * * * *", "hello"))
    wait_until(lambda: ready(client) >= 1, "a message of the schedule")
    broker.kill()
    broker.start()
    again = clients.open(broker.endpoint)
    before = int(str(notes(again)["each_second"].get("last_at", 0)))
    wait_until(lambda: int(str(notes(again)["each_second"].get("last_at", 0))) > before, "one more")
    counters = again.request("stats", queue="q").header["stats"]["counters"]
    assert counters["duplicates"] == 0


def test_what_is_wrong_with_one_stands_in_the_stats_and_stops_no_other(
    client: WireClient,
) -> None:
    declare(client, bad=schedule("61 * * * *", "never"), good=schedule("* * * * * *", "x"))
    wait_until(lambda: ready(client) >= 1, "a message of the good one")
    assert "bad_field" in str(notes(client)["bad"]["error"])
    assert notes(client)["good"]["error"] == ""


@pytest.mark.parametrize(
    "bad",
    [
        {"cron": "* * * * *", "zone": "UTC"},
        {"cron": "every day", "zone": "UTC", "body": "x"},
        {"cron": "* * * * *", "zone": "../etc/passwd", "body": "x"},
        {"cron": "* * * * *", "zone": "UTC", "body": 1},
        {"cron": "* * * * *", "zone": "UTC", "body": "x", "colour": "red"},
        {"cron": "* * * * *", "zone": "UTC", "body": "x", "priority": 10},
    ],
)
def test_a_schedule_of_a_wrong_shape_is_refused(client: WireClient, bad: object) -> None:
    settings = {"schedules": {"s": bad}}
    assert client.request("declare", queue="q", settings=settings).header["error"] == "bad_field"


def test_no_client_puts_as_a_schedule(client: WireClient) -> None:
    refused = client.put("q", [b"x"], producer=b"$schedule/x", seq=0)
    assert refused.header["error"] == "bad_field"
