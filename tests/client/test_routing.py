"""Which broker of a cluster a session speaks to, and where its puts go when a queue moves."""

from __future__ import annotations

from broker.model.slots import slot_of
from tests.client.cluster_rig import (
    OTHER,
    SLOTS,
    ClusterRig,
    Q,
    confirm,
    connected,
    taken_over_by,
    told,
)
from tests.client.rig import Rig


def test_the_names_of_this_file_are_in_the_slots_that_it_takes_for_granted() -> None:
    assert slot_of(Q, SLOTS) != slot_of(OTHER, SLOTS)


def test_nothing_of_a_queue_is_sent_before_the_map_is_known() -> None:
    rig = ClusterRig()
    rig.put(b"x")
    assert [sent.cmd for sent in rig.sent()] == ["map"]


def test_a_queue_goes_to_its_owner_over_one_connection_for_each_broker() -> None:
    rig = ClusterRig()
    rig.tell_map()
    rig.put(b"x")
    rig.put(b"y", queue=OTHER)
    rig.put(b"z", queue=OTHER)
    assert told(rig.at("a"), "queue") == [("put", Q)]
    b = rig.connect("b")
    assert b.connection.address == "tcp://b:1"
    assert told(rig.at("b"), "queue", "seq") == [("put", OTHER, 0), ("put", OTHER, 1)]
    assert len(rig.session.lines) == 2


def test_what_belongs_to_no_queue_goes_to_any_broker() -> None:
    rig = connected()
    rig.session.requests.ask({"cmd": "queues"}, rig.now)
    assert told(rig.at("a")) == [("queues",)]
    rig.lose_line(rig.session.lines[0])
    assert told(rig.at("b")) == [("queues",)]


def test_a_lone_broker_is_asked_for_no_map_and_every_queue_goes_there() -> None:
    rig = Rig()
    rig.put(b"x")
    assert [sent.cmd for sent in rig.sent()] == ["put"]
    assert len(rig.session.lines) == 1


def test_puts_without_a_confirm_go_to_the_new_owner_in_order_under_their_numbers() -> None:
    rig = connected()
    rig.put(b"1", b"2", b"3")
    first, _, _ = rig.at("a")
    confirm(rig, first)
    taken_over_by(rig, "b")
    again = rig.at("b", "put")
    assert [(put["seq"], put.elements) for put in again] == [(1, [b"2"]), (2, [b"3"])]
    assert {put["producer"] for put in again} == {first["producer"]}


def test_the_other_queues_of_a_client_do_not_notice_the_loss_of_a_broker() -> None:
    rig = connected()
    rig.put(b"1", queue=OTHER)
    assert told(rig.at("b"), "seq") == [("put", 1)]
    taken_over_by(rig, "b")
    assert rig.at("b") == []


def test_not_primary_makes_the_client_look_at_the_map_and_follow_it() -> None:
    rig = connected()
    rig.put(b"1")
    (put,) = rig.at("a")
    rig.move(Q, "b")
    rig.refuse(put, "not_primary")
    rig.after(0)
    rig.tell_map()
    assert told(rig.at("b"), "seq") == [("put", 0)]
    assert rig.at("a") == []


def test_the_map_is_asked_for_a_few_times_a_second_at_most() -> None:
    rig = connected()
    rig.put(b"1")
    asked = 0
    for _ in range(1_000):
        rig.after(1)
        for broker in ("a", "b"):
            for sent in rig.sent(None, rig.line_to(broker)):
                if sent.cmd == "put":
                    rig.refuse(sent, "not_primary")
                elif sent.cmd == "map":
                    asked += 1
                    rig.answer_map(sent)
    assert 2 <= asked <= 10


def test_an_unknown_outcome_is_sent_again_with_all_that_is_behind_it() -> None:
    rig = connected()
    rig.put(b"1", b"2", b"3")
    first, second, third = rig.at("a")
    rig.refuse(second, "outcome_unknown")
    confirm(rig, first)
    rig.refuse(third, "not_primary")
    assert told(rig.at("a"), "seq") == [("put", 1), ("put", 2)]


def test_a_late_answer_of_the_former_owner_does_not_end_what_is_under_way_at_the_new_one() -> None:
    rig = connected()
    (batch,) = rig.put(b"1")
    (put,) = rig.at("a")
    rig.move(Q, "b")
    rig.session.requests.ask({"cmd": "stats", "queue": Q}, rig.now)
    rig.refuse(rig.at("a")[0], "not_primary")
    rig.after(0)
    rig.tell_map()
    *_, again = rig.at("b")
    rig.refuse(put, "queue_full")
    assert not batch.done
    confirm(rig, again)
    assert batch.part(0).position == 0


def test_an_owner_that_cannot_be_reached_is_spoken_to_through_another_broker() -> None:
    rig = ClusterRig()
    rig.tell_map()
    rig.put(b"1", queue=OTHER)
    b = rig.line_to("b")
    rig.after(0)
    assert rig.at("a") == []
    rig.after(600)
    assert told(rig.at("a"), "queue") == [("put", OTHER)]
    rig.open("b", b)
    assert told(rig.at("b"), "queue") == [("put", OTHER)]


def test_a_slot_without_an_owner_is_asked_for_until_there_is_one() -> None:
    rig = connected()
    rig.owners[slot_of(Q, SLOTS)] = ""
    rig.put(b"1")
    rig.refuse(rig.at("a")[0], "not_primary")
    rig.after(0)
    rig.tell_map()
    rig.move(Q, "b")
    rig.after(2_000)
    rig.tell_map()
    assert told(rig.at("b"), "seq") == [("put", 0)]


def test_a_broker_that_tells_an_older_map_is_not_believed() -> None:
    rig = connected()
    rig.move(Q, "b")
    rig.session.requests.ask({"cmd": "stats", "queue": Q}, rig.now)
    rig.refuse(rig.at("a")[0], "not_primary")
    rig.after(0)
    rig.tell_map()
    assert told(rig.at("b")) == [("stats",)]
    slot = slot_of(Q, SLOTS)
    rig.owners[slot], rig.epochs[slot] = "a", 1
    rig.session._routing.doubt()
    rig.after(2_000)
    rig.tell_map()
    assert rig.at("a") == []


def test_a_broker_that_came_back_as_another_is_not_taken_for_the_owner() -> None:
    rig = ClusterRig()
    rig.tell_map()
    rig.put(b"1", queue=OTHER)
    b = rig.line_to("b")
    rig.after(0)
    rig.open("c", b)
    assert not b.connection.is_open
    assert "'c'" in b.connection.trouble


def test_the_first_connection_goes_to_any_broker_that_is_known_when_it_is_lost() -> None:
    rig = connected()
    entry = rig.session.lines[0]
    tried = set()
    for _ in range(4):
        rig.lose_line(entry)
        rig.after(2_000)
        tried.add(entry.connection.address)
    assert tried == {"tcp://first:1", "tcp://a:1", "tcp://b:1", "tcp://c:1"}


def test_a_line_that_no_queue_uses_any_more_says_goodbye_and_is_closed() -> None:
    rig = connected()
    b = rig.line_to("b")
    rig.put(b"1", queue=OTHER)
    rig.refuse(rig.at("b")[0], "not_primary")
    rig.move(OTHER, "a")
    rig.after(0)
    rig.tell_map()
    confirm(rig, *rig.at("a"))
    rig.after(4_000)
    for _ in range(7):
        rig.after(4_000)
        for line in rig.session.lines:
            for ping in rig.sent(None, line):
                if ping.cmd == "ping":
                    rig.reply(ping, re="pong")
                else:
                    assert (ping.cmd, line) == ("bye", b)
    rig.after(2_000)
    assert b not in rig.session.lines


def test_goodbye_is_said_to_every_broker() -> None:
    rig = connected()
    byes = rig.session.say_bye(rig.now)
    assert len(byes) == 2
    for broker in ("a", "b"):
        (bye,) = rig.at(broker, "bye")
        rig.reply(bye)
    assert all(bye.done for bye in byes)
