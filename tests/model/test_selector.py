"""Selectors against a naive reading of their rules."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.errors import BadField
from broker.model.selector import Selector

NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([0.0, 1.0, 1.5, math.inf]))
SCALARS = st.one_of(
    NUMBERS,
    st.booleans(),
    st.none(),
    st.sampled_from(["", "a", "ab"]),
    st.sampled_from([b"", b"a"]),
)
NAMES = st.sampled_from(["h", "k", "$type", "$priority", "$reason", "$content_type"])
CONDITIONS = st.one_of(
    st.tuples(NAMES, st.just("="), SCALARS),
    st.tuples(NAMES, st.just("in"), st.lists(SCALARS, min_size=1, max_size=4)),
    st.tuples(NAMES, st.just("prefix"), st.sampled_from(["", "a", b"", b"a"])),
    st.tuples(NAMES, st.sampled_from(["<", "<=", ">", ">="]), NUMBERS),
    st.tuples(NAMES, st.just("exists"), st.booleans()),
).map(list)
#: A broker does not check headers, so a value can be anything that msgpack knows.
VALUES = st.one_of(SCALARS, st.lists(st.integers()), st.just(math.nan), st.just({"a": 1}))
HEADERS = st.one_of(st.none(), st.dictionaries(st.sampled_from(["h", "k"]), VALUES))
PROPERTIES = st.dictionaries(
    st.sampled_from(["type", "priority", "reason", "content_type"]), SCALARS
)


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def same(found: Any, value: Any) -> bool:
    return kind(found) == kind(value) and bool(found == value)


def holds(found: dict[str, Any], name: str, op: str, value: Any) -> bool:
    if op == "exists":
        return (name in found) is value
    if name not in found:
        return False
    one = found[name]
    if op == "=":
        return same(one, value)
    if op == "in":
        return any(same(one, each) for each in value)
    if op == "prefix":
        return type(one) is type(value) and bool(one[: len(value)] == value)
    if kind(one) != "number":
        return False
    return bool({"<": one < value, "<=": one <= value, ">": one > value, ">=": one >= value}[op])


@given(st.lists(CONDITIONS, min_size=1, max_size=4), HEADERS, PROPERTIES)
def test_a_message_matches_when_every_condition_holds(
    wire: list[list[Any]], headers: dict[str, Any] | None, properties: dict[str, Any]
) -> None:
    found = dict(headers or {})
    found.update({f"${name}": value for name, value in properties.items()})
    expected = all(holds(found, *condition) for condition in wire)
    assert Selector.from_wire(wire).matches(headers, properties) == expected


@given(
    st.one_of(
        st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=8),
        st.lists(st.tuples(SCALARS, SCALARS, SCALARS).map(list)),
    )
)
def test_whatever_the_wire_holds_it_is_a_selector_or_a_bad_field(wire: Any) -> None:
    try:
        selector = Selector.from_wire(wire)
    except BadField:
        return
    assert selector.as_wire() == wire


@given(st.lists(CONDITIONS, min_size=1, max_size=2), st.lists(CONDITIONS, min_size=1, max_size=2))
def test_selectors_that_are_equal_have_the_same_conditions(
    one: list[list[Any]], other: list[list[Any]]
) -> None:
    first, second = Selector.from_wire(one), Selector.from_wire(other)
    assert (first == second) == (repr(one) == repr(other))
    assert (len({first, second}) == 1) == (first == second)


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        ["h", "=", 1],
        [["h", "="]],
        [["", "=", 1]],
        [[1, "=", 1]],
        [["h", "==", 1]],
        [["h", [], 1]],
        [["$size", "=", 1]],
        [["h", "=", [1]]],
        [["h", "in", []]],
        [["h", "in", 1]],
        [["h", "in", [[1]]]],
        [["h", "in", list(range(limits.SELECTOR_VALUES_MAX + 1))]],
        [["h", "prefix", 1]],
        [["h", "<", True]],
        [["h", "<", "1"]],
        [["h", "exists", 1]],
        [["h", "=", 1]] * (limits.SELECTOR_CONDITIONS_MAX + 1),
    ],
)
def test_what_is_no_selector_is_refused_by_name(wire: Any) -> None:
    with pytest.raises(BadField):
        Selector.from_wire(wire)


def test_one_and_true_are_two_values() -> None:
    one, true = Selector.from_wire([["h", "=", 1]]), Selector.from_wire([["h", "=", True]])
    assert one != true
    assert one.matches({"h": 1.0}, {})
    assert not one.matches({"h": True}, {})
    assert true.matches({"h": True}, {})
    assert not true.matches({"h": 1}, {})
