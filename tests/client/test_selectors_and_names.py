"""What the application says, as the wire has it: conditions, columns, and which messages."""

from __future__ import annotations

from typing import Any

import pytest

import patterns
from broker.client.naming import commands_for, sort_out
from broker.client.options import addresses_of, settings_map
from broker.client.put_batch import PutBatch, PutSpec
from broker.client.selector import exists, wire_selector
from broker.errors import BY_CODE, BadField, CannotEncode, ProcessError


def test_a_selector_in_words_becomes_conditions() -> None:
    assert wire_selector(
        {
            "country": "de",
            "kind": ["a", "b"],
            "size": (">", 10),
            "trace": exists,
            "draft": ("exists", False),
            "$type": "event",
        }
    ) == [
        ["country", "=", "de"],
        ["kind", "in", ["a", "b"]],
        ["size", ">", 10],
        ["trace", "exists", True],
        ["draft", "exists", False],
        ["$type", "=", "event"],
    ]


def test_an_operator_that_is_none_is_told_with_those_that_are() -> None:
    with pytest.raises(BadField, match="'!!' is no operator of a selector: < <= ="):
        wire_selector({"size": ("!!", 3)})


def test_a_put_that_was_sent_again_is_told_from_one_whose_id_was_known() -> None:
    again, known = (PutBatch("orders", PutSpec(), 10, 0) for _ in range(2))
    again.add_first(b"body", 4)
    again.finish({"duplicate": True})
    known.add_first(b"body", 4)
    known.finish({"duplicates": [0], "count": 0})
    assert (again.part(0).duplicate, again.part(0).sent_again) == (True, True)
    assert (known.part(0).duplicate, known.part(0).sent_again) == (True, False)


@pytest.mark.parametrize("address", ["127.0.0.1:5570", "nonsense", "tcp://127.0.0.1", "tcp://a:x"])
def test_what_is_no_address_is_refused_before_anybody_waits_for_it(address: str) -> None:
    with pytest.raises(BadField, match="is no address: tcp://HOST:PORT or ipc://PATH"):
        addresses_of(f"tcp://127.0.0.1:5570,{address}")


def test_a_time_that_is_no_number_is_told_with_its_setting() -> None:
    with pytest.raises(BadField, match="lease: a time is a number of seconds, not '3s'"):
        settings_map({"lease": "3s"})
    with pytest.raises(BadField, match="backoff: a time is not negative"):
        settings_map({"backoff": -1})


def test_each_error_that_a_broker_or_a_client_tells_can_be_imported_from_patterns() -> None:
    of_the_wire = {
        "NotAnEnvelope",
        "UnknownVersion",
        "UnknownCommand",
        "CountMismatch",
        "RoutingIdNotAllowed",
        "NoSession",
        "SubscriptionExists",
        "SubscriptionNotFound",
        "UnknownEpoch",
        "ConsumerNotFound",
        "ConsumerExists",
        "CallNotFound",
        "DeadlinePassed",
        "WorkerExists",
        "WorkerNotFound",
    }
    told = {error.__name__ for error in BY_CODE.values() if not issubclass(error, ProcessError)}
    assert told - of_the_wire <= set(patterns.__all__)


def test_a_selector_may_be_the_wires_own() -> None:
    assert wire_selector([["a", "prefix", "x"]]) == [["a", "prefix", "x"]]
    assert wire_selector(None) is None
    assert wire_selector({}) is None


@pytest.mark.parametrize("given", [{"a": (">",)}, {"a": ("~", 1)}, [["a", "="]]])
def test_what_is_no_condition_is_refused(given: Any) -> None:
    with pytest.raises(BadField):
        wire_selector(given)


def test_messages_are_named_by_position_and_by_id() -> None:
    named = sort_out("q", ["q"], [3, "q:7", "other:7", b"raw"])
    assert named == ({"q": [3, 7]}, ["other:7", b"raw"])
    assert sort_out("q", ["q"], "q:1") == ({"q": [1]}, [])
    with pytest.raises(CannotEncode):
        sort_out("q", ["q"], [1.5])  # type: ignore[list-item]


def test_a_position_of_a_partitioned_queue_needs_its_partition() -> None:
    places = ["q#0", "q#1", "q"]
    assert sort_out("q", places, ["q#1:4", "q:2"]) == ({"q#1": [4], "q": [2]}, [])
    with pytest.raises(BadField):
        sort_out("q", places, 4)


def test_many_names_become_few_ranges_and_several_commands() -> None:
    (ranges,) = commands_for([5, 4, 3, 9, 4], [])
    assert ranges == {"ranges": [[3, 3], [9, 1]]}
    odd = list(commands_for(list(range(1, 2_001, 2)), []))
    assert [len(part["ranges"]) for part in odd] == [500, 500]
    assert [len(part["ids"]) for part in commands_for([], ["x"] * 120)] == [50, 50, 20]


def test_a_message_known_by_its_id_has_no_position_and_the_others_have_theirs() -> None:
    batch = PutBatch("q", PutSpec((), ("ids",)), 4, 0)
    for name in ("a", "b", "c", "d"):
        batch.add(batch.spec, name.encode(), 6)
        batch.add_columns({"ids": [name]})
    batch.seal()
    batch.finish({"first": 10, "duplicates": [0, 2], "count": 2})
    assert [batch.part(index).position for index in range(4)] == [None, 10, None, 11]
    assert [batch.part(index).duplicate for index in range(4)] == [True, False, True, False]


def test_a_batch_with_columns_is_cut_where_they_are_full() -> None:
    assert PutSpec((), ("ids",)).count_max == 1_008
    assert PutSpec((), ("ids", "keys")).count_max == 504
    assert PutSpec().count_max == 10_000
