"""What the application says, as the wire has it: conditions, columns, and which messages."""

from __future__ import annotations

from typing import Any

import pytest

from broker.client.naming import commands_for, sort_out
from broker.client.put_batch import PutBatch, PutSpec
from broker.client.selector import exists, wire_selector
from broker.errors import BadField, CannotEncode


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
