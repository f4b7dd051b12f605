"""Bodies, headers, options: from the application's values to the wire and back."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.client import options
from broker.client.bulk import BulkBatches, BulkColumns
from broker.client.content import decode_body, encode_body, require_headers
from broker.client.priority import Priority
from broker.client.put_batch import PutBatch, PutSpec
from broker.errors import BadField, CannotDecode, CannotEncode, CountMismatch, TooLarge

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values | st.binary())
def test_a_body_comes_back_as_it_was_put(body: Any) -> None:
    raw, content_type = encode_body(body, None)
    assert decode_body(raw, content_type) == body


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"x", None),
        (bytearray(b"x"), None),
        ("x", "text/plain"),
        ({"a": 1}, "application/json"),
        ([1], "application/json"),
        (1.5, "application/json"),
        (None, "application/json"),
        (True, "application/json"),
    ],
)
def test_the_content_type_follows_from_the_body(body: Any, content_type: str | None) -> None:
    assert encode_body(body, None)[1] == content_type


def test_msgpack_is_used_when_asked_for() -> None:
    raw, content_type = encode_body({"a": b"\xff"}, "application/msgpack")
    assert decode_body(raw, content_type) == {"a": b"\xff"}


def test_bytes_with_a_content_type_are_taken_as_encoded() -> None:
    assert encode_body(b"{}", "application/json") == (b"{}", "application/json")
    assert encode_body(b"\x89PNG", "image/png") == (b"\x89PNG", "image/png")
    assert decode_body(b"\x89PNG", "image/png") == b"\x89PNG"


def test_parameters_of_a_content_type_do_not_matter() -> None:
    assert decode_body(b"[1]", "Application/JSON; charset=utf-8") == [1]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (object(), None),
        ({"a": {1, 2}}, None),
        (float("nan"), None),
        ({"a": 1}, "image/png"),
        (5, "text/plain"),
        (2**70, "application/msgpack"),
        ("\ud800", None),
    ],
)
def test_what_cannot_be_encoded_says_so(body: Any, content_type: str | None) -> None:
    with pytest.raises(CannotEncode):
        encode_body(body, content_type)


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack", "text/plain"])
def test_what_cannot_be_decoded_says_so(content_type: str) -> None:
    with pytest.raises(CannotDecode):
        decode_body(b"\xc1\xff", content_type)


@pytest.mark.parametrize("headers", [{1: "a"}, {"a": [1]}, {"a": object()}])
def test_headers_are_text_to_plain_values(headers: Any) -> None:
    with pytest.raises(CannotEncode):
        require_headers(headers)


def spec(**given: Any) -> PutSpec:
    empty = dict.fromkeys(("content_type", "priority", "delay", "at", "ttl", "type"))
    return options.put_spec(**{**empty, **given})


def test_options_become_fields_in_milliseconds() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    made = spec(priority=9, at=at, ttl=0.5, type="event")
    assert dict(made.fields) == {
        "priority": 9,
        "at_ms": 1_893_456_000_000,
        "ttl_ms": 500,
        "type": "event",
    }
    assert dict(spec(delay=2).fields) == {"delay_ms": 2_000}


def test_a_put_without_options_shares_one_spec() -> None:
    assert spec() is options.PLAIN
    assert spec(content_type="application/json") is spec(content_type="application/json")


@pytest.mark.parametrize(
    "given", [{"priority": 10}, {"priority": -1}, {"delay": 1, "at": 2.0}, {"ttl": -1.0}]
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadField):
        spec(**given)


def test_settings_in_seconds_become_milliseconds() -> None:
    assert options.settings_map({"lease": 1.5, "max_messages": 7, "ttl": None}) == {
        "lease_ms": 1_500,
        "max_messages": 7,
        "ttl_ms": None,
    }


def test_addresses_are_a_list() -> None:
    assert options.addresses_of("tcp://a:1, tcp://b:2") == ["tcp://a:1", "tcp://b:2"]
    with pytest.raises(BadField):
        options.addresses_of(" , ")


def cut(bodies: Any, count_max: int = 1_000, **given: Any) -> list[PutBatch]:
    columns = BulkColumns(given.get("ids"), given.get("keys"), given.get("at"))
    bulk = BulkBatches("q", PutSpec((), columns.names), given.get("headers"), None)
    return list(bulk.cut(bodies, columns, count_max))


def test_many_bodies_are_cut_by_count() -> None:
    assert [len(batch.elements) for batch in cut(iter([b"x"] * 25), 10)] == [10, 10, 5]


def test_many_bodies_are_cut_by_size() -> None:
    batches = cut([b"x" * 400_000] * 5 + [b"y" * 2_000_000])
    assert [len(batch.elements) for batch in batches] == [2, 2, 1, 1]


@given(st.lists(st.integers(0, 300_000), max_size=30))
def test_every_cut_batch_keeps_the_bounds_and_the_order(sizes: list[int]) -> None:
    bodies = [bytes(size) for size in sizes]
    batches = cut(bodies, 12)
    assert [element for batch in batches for element in batch.elements] == bodies
    for batch in batches:
        count = len(batch.elements)
        batch.seal()
        assert count == batch.count <= 12
        assert len(batch.frames[-1]) <= 2**20 or count == 1


def test_bodies_of_several_kinds_are_grouped_in_order() -> None:
    batches = cut(["a", "b", {"c": 1}, b"d"])
    assert [(len(b.elements), dict(b.spec.fields)) for b in batches] == [
        (2, {"content_type": "text/plain"}),
        (1, {"content_type": "application/json"}),
        (1, {}),
    ]


def test_each_message_needs_an_id_where_ids_are_given() -> None:
    (batch,) = cut([b"a", b"b"], ids=["1", b"2"])
    assert batch.columns == {"ids": ["1", b"2"]}
    with pytest.raises(CountMismatch):
        cut([b"a", b"b"], ids=["1"])
    with pytest.raises(TooLarge):
        cut([b"a"], ids=["x" * 256])


def test_headers_go_with_every_body() -> None:
    (batch,) = cut([b"a", b"b"], headers={"k": 1})
    assert batch.elements == [[b"a", {"k": 1}], [b"b", {"k": 1}]]


def test_a_message_beyond_every_bound_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TooLarge):
        cut([bytes(17 * 2**20)])
    with pytest.raises(TooLarge):
        options.put_element(bytes(17 * 2**20), None, None)


RAN: list[str] = []


def note_that_it_ran() -> None:
    RAN.append("ran")


#: Python's own serialization, of a call: whoever reads it as that makes the call.
TRAP = b"ctests.client.test_content\nnote_that_it_ran\n(tR."


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-python-serialize",
        "application/python-pickle",
        "application/x-pickle",
        "application/x-yaml",
        *("application/json", "application/msgpack", "text/plain"),
    ],
)
def test_no_content_type_ever_runs_code(content_type: str) -> None:
    RAN.clear()
    with contextlib.suppress(CannotDecode):
        assert decode_body(TRAP, content_type) in (TRAP, TRAP.decode())
    assert RAN == []


def test_priorities_have_names_that_travel_as_numbers() -> None:
    spec = options.put_spec(None, Priority.HIGH, None, None, None, None)
    assert dict(spec.fields) == {"priority": 7}
    assert msgpack.packb(dict(spec.fields)) == msgpack.packb({"priority": 7})
    assert (Priority.LOW, Priority.NORMAL) == (1, 4)
