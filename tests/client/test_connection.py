"""When a session connects, to whom, and when it counts a connection as lost."""

from __future__ import annotations

import pytest

from tests.client.rig import Rig


def test_the_first_command_is_a_hello_and_nothing_precedes_the_welcome() -> None:
    rig = Rig(connected=False, name="demo")
    rig.put(b"a")
    rig.session.requests.ask({"cmd": "stats"}, rig.now)
    hello = rig.only("hello")
    assert (hello["v"], hello["client"], hello["timeout_ms"]) == (1, "demo", 15_000)
    assert "resume" not in hello.header


def test_a_reconnect_resumes_the_former_session() -> None:
    rig = Rig()
    rig.lose()
    hello = rig.only("hello")
    assert hello["resume"] == b"session"


def test_the_next_address_is_tried_after_a_loss_and_the_first_again_after_the_last() -> None:
    rig = Rig(addresses=["tcp://first:1", "tcp://second:2"])
    tried = []
    for _ in range(4):
        tried.append(rig.session.connection.address)
        rig.lose()
    assert tried == ["tcp://first:1", "tcp://second:2"] * 2


def test_every_connection_has_a_number_of_its_own() -> None:
    rig = Rig()
    number = rig.session.connection.number
    rig.session.connection_lost(rig.now, "cut")
    assert rig.session.connection.number > number
    assert not rig.session.connection.needs_socket
    rig.after(2_000)
    assert rig.session.connection.needs_socket


def test_pauses_between_attempts_grow_to_a_second() -> None:
    rig = Rig(connected=False)
    pauses = []
    for _ in range(10):
        rig.session.connection_lost(rig.now, "refused")
        at = rig.session.connection.next_at()
        assert at is not None
        pauses.append(at - rig.now)
        rig.after(at - rig.now)
    assert pauses == sorted(pauses)
    assert pauses[0] <= 20
    assert 500 <= pauses[-1] <= 1_000


def test_a_quiet_connection_is_pinged_at_a_third_of_the_timeout() -> None:
    rig = Rig()
    rig.after(4_999)
    assert rig.sent() == []
    rig.after(1)
    ping = rig.only("ping")
    rig.reply(ping, re="pong")
    rig.after(5_000)
    assert [sent.cmd for sent in rig.sent()] == ["ping"]


def test_a_connection_whose_pong_is_missing_is_lost() -> None:
    rig = Rig()
    rig.after(5_000)
    assert [sent.cmd for sent in rig.sent()] == ["ping"]
    rig.after(5_000)
    assert not rig.session.connection.is_open


def test_a_hello_without_an_answer_is_given_up() -> None:
    rig = Rig(connected=False)
    number = rig.session.connection.number
    rig.after(5_000)
    assert rig.session.connection.number > number


@pytest.mark.parametrize("name", ["limit_reached", "shutting_down", "unknown_version"])
def test_a_refused_hello_is_tried_again_and_its_reason_kept(name: str) -> None:
    rig = Rig(connected=False)
    rig.refuse(rig.only("hello"), name)
    assert name in rig.session.connection.trouble
    rig.after(100)
    rig.welcome()
    assert rig.session.connection.is_open


def test_no_session_in_any_answer_begins_a_new_one() -> None:
    rig = Rig()
    rig.put(b"a")
    rig.refuse(rig.only("put"), "no_session")
    assert not rig.session.connection.is_open
    rig.after(100)
    rig.welcome()
    assert [sent.elements for sent in rig.sent("put")] == [[b"a"]]


def test_a_closed_session_is_begun_anew() -> None:
    rig = Rig()
    rig.receive({"v": 1, "re": "closed", "code": 302, "error": "session_closed", "text": "slow"})
    assert not rig.session.connection.is_open
    assert "slow" in rig.session.connection.trouble


@pytest.mark.parametrize(
    "frames",
    [
        [b"\xc1"],
        [b""],
        [b"\x80"],
        [b"\x83\xa1v\x02\xa2re\xa2ok\xa3req\x02"],
        [b"\x82\xa1v\x01\xa2re\xa8messages"],
        [b"\x80", b"", b"", b""],
    ],
)
def test_a_reply_that_is_none_costs_the_connection_and_nothing_else(frames: list[bytes]) -> None:
    rig = Rig()
    rig.put(b"a")
    rig.sent()
    rig.session.receive(rig.line, frames, rig.now)
    assert not rig.session.connection.is_open
    assert rig.session.counters.replies_broken == 1
    rig.after(100)
    rig.welcome()
    assert [sent.elements for sent in rig.sent("put")] == [[b"a"]]


def test_unknown_replies_and_fields_are_ignored() -> None:
    rig = Rig()
    rig.receive({"v": 1, "re": "weather", "sunny": True})
    rig.receive({"v": 1, "re": "ok", "req": 999_999})
    assert rig.session.connection.is_open


def test_an_answer_of_an_older_connection_finds_nobody() -> None:
    rig = Rig()
    rig.put(b"a")
    old = rig.only("put")
    rig.reconnect()
    rig.reply(old, first=0, count=1, copies=1)
    assert len(rig.session.unconfirmed) == 1


def test_a_request_refused_while_shutting_down_is_asked_again() -> None:
    rig = Rig()
    request = rig.session.requests.ask({"cmd": "stats"}, rig.now)
    rig.refuse(rig.only("stats"), "shutting_down")
    assert not request.done
    rig.after(200)
    rig.reply(rig.only("stats"), stats={"ready": 1})
    assert request.value()["stats"] == {"ready": 1}
