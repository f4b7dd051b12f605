"""Publishing: sequences, repeats, what is confirmed when, and what leaves for subscribers."""

from __future__ import annotations

import pytest

from broker import limits
from broker.errors import (
    BadField,
    ChannelNotFound,
    CountMismatch,
    LimitReached,
    NameNotAllowed,
    ProducerExpired,
    ResourceAlarm,
    SequenceTooOld,
    SettingsMismatch,
    ShuttingDown,
    UnknownSetting,
)
from broker.storage.store import Family
from tests.support.channels import (
    Event,
    declare,
    events_of,
    facts,
    heard,
    history,
    kept,
    listen,
    publish,
    send_publish,
)
from tests.support.node_rig import PEER, NodeRig

#: The first sequence of a channel that keeps nothing, in the first reign.
BASE = 1 << 40


def test_a_channel_begins_with_its_first_message(rig: NodeRig) -> None:
    told = publish(rig, "news", b"a", b"b")
    assert (told["first"], told["count"], told["copies"]) == (BASE, 2, 0)
    assert publish(rig, "news", b"c")["first"] == BASE + 2
    assert publish(rig, "other", b"d")["first"] == BASE


def test_what_is_light_is_confirmed_at_once_and_written_nowhere(rig: NodeRig) -> None:
    publish(rig, "news", b"first")
    rows = rig.rows(Family.LOG)
    req = send_publish(rig, "news", b"a")
    assert [sent.req for sent in rig.turn()] == [req]
    assert rig.rows(Family.LOG) == rows
    assert not rig.awaits_sync


def test_subscribers_get_what_is_light_in_the_turn_of_its_publish(rig: NodeRig) -> None:
    listen(rig)
    send_publish(rig, "news", b"a", b"b")
    send_publish(rig, "news", b"c")
    rig.turn()
    assert heard(rig, "news") == [
        Event(BASE + n, body) for n, body in enumerate([b"a", b"b", b"c"])
    ]


def test_subscribers_get_what_is_kept_when_it_is_committed_and_not_before(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    listen(rig)
    send_publish(rig, "news", b"a")
    rig.turn()
    assert heard(rig, "news") == []
    req = rig.command(PEER, "history", channel="news")
    assert [events_of(sent) for sent in rig.turn() if sent.req == req] == [[]]
    rig.run()
    assert kept(rig, "news") == [b"a"]
    assert heard(rig, "news") == [Event(0, b"a")]


def test_publishes_of_one_turn_that_agree_are_kept_as_one_batch(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    reqs = [send_publish(rig, "news", body) for body in (b"a", b"b")]
    reqs.append(send_publish(rig, "news", b"c", type="other"))
    firsts = {sent.req: sent["first"] for sent in rig.run()}
    assert [firsts[req] for req in reqs] == [0, 1, 2]
    assert len(rig.rows(Family.BODY)) == 2
    assert kept(rig, "news") == [b"a", b"b", b"c"]


def test_an_unconfirmed_publish_has_no_answer(rig: NodeRig) -> None:
    listen(rig)
    send_publish(rig, "news", b"a", req=None)
    assert rig.run() == []
    assert heard(rig, "news") == [Event(BASE, b"a")]


@pytest.mark.parametrize("settings", [{}, {"history_messages": 9}, {"durable": True}])
def test_a_repeat_appears_once(rig: NodeRig, settings: dict[str, int]) -> None:
    declare(rig, "news", **settings)
    listen(rig)
    first = publish(rig, "news", b"a", producer=b"p", seq=0)
    again = publish(rig, "news", b"a", producer=b"p", seq=0)
    assert again["duplicate"] is True
    assert again["copies"] == first["copies"]
    assert [event.body for event in heard(rig, "news")] == [b"a"]


@pytest.mark.parametrize("settings", [{}, {"history_messages": 9}, {"durable": True}])
def test_a_sequence_that_was_overtaken_is_no_repeat(rig: NodeRig, settings: dict[str, int]) -> None:
    declare(rig, "news", **settings)
    listen(rig)
    for seq in (0, 2, 1, 2, 1, 0):
        publish(rig, "news", seq, producer=b"p", seq=seq)
    assert [event.body for event in heard(rig, "news")] == [0, 2, 1]


def test_a_repeat_on_its_way_is_confirmed_with_the_first_and_not_before(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    first, second = (send_publish(rig, "news", b"a", producer=b"p", seq=0) for _ in range(2))
    assert rig.turn() == []
    rig.sync()
    answers = {sent.req: sent.header for sent in rig.turn()}
    assert answers[first]["first"] == 0
    assert answers[second]["duplicate"] is True
    assert answers[first]["copies"] == answers[second]["copies"] == 1


def test_repeats_are_known_over_crashes_where_the_history_is_on_disk(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    publish(rig, "news", b"a", producer=b"p", seq=0)
    rig.crash()
    rig.hello()
    assert publish(rig, "news", b"a", producer=b"p", seq=0)["duplicate"] is True
    assert publish(rig, "news", b"b", producer=b"p", seq=1)["first"] == 1


def test_a_light_channel_knows_its_last_producers(rig: NodeRig) -> None:
    producers = [bytes([65 + n]) for n in range(limits.CHANNEL_PRODUCERS_MAX + 1)]
    for producer in producers:
        publish(rig, "news", b"a", producer=producer, seq=7)
    for producer in producers[1:]:
        assert publish(rig, "news", b"a", producer=producer, seq=7)["duplicate"] is True
    assert "duplicate" not in publish(rig, "news", b"a", producer=producers[0], seq=7).header


def test_sequences_below_the_window_are_refused(rig: NodeRig) -> None:
    publish(rig, "light", b"a", producer=b"p", seq=5_000)
    assert publish(rig, "light", b"a", producer=b"p", seq=1).code == SequenceTooOld.code
    declare(rig, "kept", durable=True)
    assert publish(rig, "kept", b"a", producer=b"p", seq=1).code == ProducerExpired.code
    publish(rig, "kept", b"a", producer=b"p", seq=0)
    publish(rig, "kept", b"a", producer=b"p", seq=5_000)
    assert publish(rig, "kept", b"a", producer=b"p", seq=1).code == SequenceTooOld.code


def test_an_alarm_stops_what_is_kept_alone(rig: NodeRig) -> None:
    declare(rig, "kept", durable=True)
    rig.node.set_alarm("the disk is full")
    refused = publish(rig, "kept", b"a", producer=b"p", seq=0)
    assert (refused.code, refused["channel"]) == (ResourceAlarm.code, "kept")
    assert publish(rig, "light", b"a")["first"] == BASE
    rig.node.set_alarm(None)
    assert publish(rig, "kept", b"a", producer=b"p", seq=0)["first"] == 0


@pytest.mark.parametrize("name", ["", "a..b", "a.*", ">", "$sys.alarm", "a b", "a" * 256, 7])
def test_nobody_publishes_to_patterns_or_to_what_is_the_brokers(rig: NodeRig, name: str) -> None:
    assert publish(rig, name, b"a").code == NameNotAllowed.code


def test_a_bad_batch_is_refused(rig: NodeRig) -> None:
    bad = rig.ask(PEER, "publish", b"\x91\xc4\x01a", channel="news", count=2)
    assert bad.code == CountMismatch.code
    columns = b"\x81\xa5at_ms\x91\x01"
    told = rig.ask(PEER, "publish", columns, b"\x91\xc4\x01a", channel="c", count=1)
    assert told.code == BadField.code


def test_nothing_is_published_while_the_broker_ends(rig: NodeRig) -> None:
    rig.node.begin_drain(rig.now)
    assert publish(rig, "news", b"a").code == ShuttingDown.code


def test_a_slot_has_room_for_so_many_names(rig: NodeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANNELS_PER_SLOT_MAX", 3)
    answers = [publish(rig, f"c{n}", b"a") for n in range(12)]
    assert [a.code for a in answers].count(0) == 6
    assert {a.code for a in answers} == {0, LimitReached.code}


# Declaring


def test_a_declaration_is_repeated_with_the_same_settings_alone(rig: NodeRig) -> None:
    told = declare(rig, "news", history_messages=5)
    assert told["created"] is True
    assert told["settings"]["history_messages"] == 5
    assert declare(rig, "news", history_messages=5)["created"] is False
    assert declare(rig, "news")["settings"] == told["settings"]
    assert declare(rig, "news", history_messages=6).code == SettingsMismatch.code
    assert declare(rig, "more", history=6).code == UnknownSetting.code


def test_a_queue_cannot_take_a_channels_setting(rig: NodeRig) -> None:
    for cmd in ("declare", "update"):
        told = rig.ask(PEER, cmd, queue="q", settings={"channel": {"start": 0}})
        assert told.code == BadField.code
    rig.ask(PEER, "declare", queue="q")
    assert "channel" not in rig.stats("q")["settings"]


def test_a_history_is_in_no_list_of_queues(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    publish(rig, "news", b"a")
    assert rig.ask(PEER, "queues")["queues"] == []
    stats = rig.ask(PEER, "stats")["stats"]
    assert (stats["queues"], stats["messages"]) == (0, 0)
    assert rig.put("$channel/news", b"x").code == NameNotAllowed.code


def test_a_light_channel_goes_on_behind_its_messages_when_it_gets_a_history(rig: NodeRig) -> None:
    for settings in ({"durable": True}, {"history_messages": 5}):
        name = f"news{len(settings)}{settings.get('durable', 0)}"
        last = publish(rig, name, b"a", b"b")["first"] + 1
        declare(rig, name, **settings)
        first = publish(rig, name, b"c")["first"]
        assert first > last
        assert facts(rig, name)["start"] == first
        assert kept(rig, name) == [b"c"]


def test_where_a_history_begins_is_known_after_a_crash(rig: NodeRig) -> None:
    publish(rig, "news", b"a")
    declare(rig, "news", durable=True)
    first = publish(rig, "news", b"b")["first"]
    rig.crash()
    rig.hello()
    assert publish(rig, "news", b"c")["first"] == first + 1
    assert facts(rig, "news")["start"] == first
    assert kept(rig, "news") == [b"b", b"c"]


def test_an_update_changes_some_settings(rig: NodeRig) -> None:
    declare(rig, "news", durable=True, history_messages=9)
    for body in range(5):
        publish(rig, "news", body)
    update = {"channel": "news", "settings": {"history_messages": 2}}
    assert rig.ask(PEER, "update_channel", **update)["settings"]["history_messages"] == 2
    assert kept(rig, "news") == [3, 4]
    rig.crash()
    rig.hello()
    assert kept(rig, "news") == [3, 4]
    assert facts(rig, "news")["settings"]["durable"] is True


def test_a_history_cannot_move_between_memory_and_disk(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    told = rig.ask(PEER, "update_channel", channel="news", settings={"durable": False})
    assert told.code == BadField.code
    assert rig.ask(PEER, "update_channel", channel="no", settings={}).code == ChannelNotFound.code


def test_an_update_gives_a_light_channel_a_history_and_takes_it_away(rig: NodeRig) -> None:
    before = publish(rig, "news", b"a")["first"]
    rig.ask(PEER, "update_channel", channel="news", settings={"history_messages": 2})
    assert publish(rig, "news", b"b")["first"] > before
    assert kept(rig, "news") == [b"b"]
    last = publish(rig, "news", b"c")["first"]
    rig.ask(PEER, "update_channel", channel="news", settings={"history_messages": 0})
    assert publish(rig, "news", b"d")["first"] > last
    assert kept(rig, "news") == []
    assert "settings" not in facts(rig, "news")


@pytest.mark.parametrize("settings", [{}, {"history_messages": 9}, {"durable": True}])
def test_another_channel_of_a_deleted_ones_name_begins_behind_it(
    rig: NodeRig, settings: dict[str, int]
) -> None:
    declare(rig, "news", **settings)
    last = [publish(rig, "news", body) for body in range(5)][-1]["first"]
    told = rig.ask(PEER, "delete_channel", channel="news")
    assert told["count"] == (5 if settings else 0)
    assert history(rig, "news").code == ChannelNotFound.code
    declare(rig, "news", **settings)
    first = publish(rig, "news", b"x", producer=b"p", seq=0)["first"]
    assert first > last
    assert facts(rig, "news")["start"] == first
    assert kept(rig, "news") == ([b"x"] if settings else [])
    assert rig.ask(PEER, "delete_channel", channel="no").code == ChannelNotFound.code


def test_nothing_of_a_deleted_channel_comes_behind_its_successors_messages(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    listen(rig)
    send_publish(rig, "news", b"old")
    rig.command(PEER, "delete_channel", channel="news")
    send_publish(rig, "news", b"new")
    rig.run()
    assert [event.body for event in heard(rig, "news")] == [b"new"]


def test_a_deleted_history_leaves_nothing_on_the_disk(rig: NodeRig) -> None:
    declare(rig, "news", durable=True)
    for body in range(50):
        publish(rig, "news", body)
    rig.ask(PEER, "delete_channel", channel="news")
    rig.restart()
    assert rig.rows(Family.BODY) == []
    rig.hello()
    assert rig.ask(PEER, "channels")["channels"] == []


# Ends of reigns


def test_light_channels_are_gone_after_a_crash_and_begin_higher(rig: NodeRig) -> None:
    last = publish(rig, "news", b"a")["first"]
    rig.crash()
    rig.hello()
    assert rig.ask(PEER, "channels")["channels"] == []
    assert publish(rig, "news", b"a")["first"] > last


def test_a_history_in_memory_is_gone_after_a_crash_and_its_settings_stay(rig: NodeRig) -> None:
    declare(rig, "news", history_messages=3)
    last = [publish(rig, "news", body) for body in range(5)][-1]["first"]
    assert kept(rig, "news") == [2, 3, 4]
    rig.crash()
    rig.hello()
    assert kept(rig, "news") == []
    assert facts(rig, "news")["settings"]["history_messages"] == 3
    assert publish(rig, "news", b"x")["first"] > last
    assert kept(rig, "news") == [b"x"]


def test_an_idle_light_channel_is_forgotten_and_its_successor_says_where_it_begins(
    rig: NodeRig,
) -> None:
    last = publish(rig, "news", b"a")["first"]
    rig.pass_time(limits.CHANNEL_IDLE + limits.CHANNEL_SWEEP_EVERY)
    rig.hello()
    rig.pass_time(limits.CHANNEL_SWEEP_EVERY)
    assert history(rig, "news").code == ChannelNotFound.code
    first = publish(rig, "news", b"b")["first"]
    assert first > last
    assert facts(rig, "news")["start"] == first


def test_a_light_channel_that_somebody_listens_to_is_kept_in_mind(rig: NodeRig) -> None:
    listen(rig)
    publish(rig, "news", b"a")
    rig.pass_time(limits.CHANNEL_IDLE + limits.CHANNEL_SWEEP_EVERY)
    rig.hello()
    rig.pass_time(limits.CHANNEL_SWEEP_EVERY)
    assert publish(rig, "news", b"b")["first"] == BASE + 1


# Lists


def test_channels_are_listed_by_pattern_a_page_at_a_time(rig: NodeRig) -> None:
    for name in ("a", "a.b", "a.b.c", "a.c", "ab.c", "b"):
        publish(rig, name, b"x")

    def listed(pattern: str, **fields: object) -> list[str]:
        told = rig.ask(PEER, "channels", pattern=pattern, **fields)
        return [name for name, _ in told["channels"]]

    assert listed(">") == ["a", "a.b", "a.b.c", "a.c", "ab.c", "b"]
    assert listed("a.>") == ["a.b", "a.b.c", "a.c"]
    assert listed("a.*") == ["a.b", "a.c"]
    assert listed("*.c") == ["a.c", "ab.c"]
    assert listed("a.b") == ["a.b"]
    assert listed("no") == []
    assert listed(">", max=2) == ["a", "a.b"]
    assert listed(">", max=2, after="a.b") == ["a.b.c", "a.c"]
    assert listed("a.>", after="a.b") == ["a.b.c", "a.c"]
    assert rig.ask(PEER, "channels", max=2)["more"] is True
    assert rig.ask(PEER, "channels", max=6)["more"] is False


def test_the_facts_of_a_channel(rig: NodeRig) -> None:
    declare(rig, "news", durable=True, history_messages=2)
    for body in (b"a", b"b", b"c"):
        publish(rig, "news", body)
    told = facts(rig, "news")
    assert (told["epoch"], told["next"], told["oldest"]) == (1, 3, 1)
    assert (told["published"], told["subscriptions"], told["at"]) == (3, 0, rig.now)
    assert told["bytes"] == 12
    assert "start" not in told
    rig.pass_time(10_000)
    rig.hello()
    assert facts(rig, "news")["rate"] == 0.3
    rig.pass_time(10_000)
    rig.hello()
    publish(rig, "news", b"d")
    assert facts(rig, "news")["rate"] == 0.1
