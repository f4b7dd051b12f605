"""The values in etcd: what was written is read again, and nothing can crash a broker."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.ownership import BrokerRecord, ClusterConfig, Member, ReplicaId, SlotConfig
from broker.cluster.view import Change
from broker.errors import UnreadableKey
from broker.server.etcd_client import KeyEvent, Stored
from broker.server.etcd_keys import Value, decode_event, decode_value, encode_value, key_of

KINDS = ("config", "members", "brokers", "slots")
ids = st.text("abc_-09", min_size=1, max_size=8)
counts = st.integers(0, 2**63 - 1)
values: dict[str, st.SearchStrategy[Value]] = {
    "config": st.builds(ClusterConfig, st.text(), counts, counts, counts),
    "members": st.builds(Member, counts, st.text(), st.booleans()),
    "brokers": st.builds(
        BrokerRecord,
        ids,
        st.lists(st.text()).map(tuple),
        st.text(),
        st.text(),
        st.booleans(),
    ),
    "slots": st.builds(
        SlotConfig,
        st.lists(st.builds(ReplicaId, ids, ids)).map(tuple),
        st.lists(ids).map(tuple),
        st.lists(ids).map(tuple),
        ids,
        counts,
    ),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def stored(value: bytes) -> Stored:
    return Stored("/c/some", value, 7, 0)


@given(st.data(), st.sampled_from(KINDS))
def test_a_value_comes_back_as_it_was_written(data: st.DataObject, kind: str) -> None:
    value = data.draw(values[kind])
    assert decode_value(kind, stored(encode_value(value))) == value


@given(st.sampled_from(KINDS), st.binary() | json_values.map(json.dumps).map(str.encode))
def test_whatever_stands_in_a_key_is_read_or_refused_by_name(kind: str, found: bytes) -> None:
    with suppress(UnreadableKey):
        assert encode_value(decode_value(kind, stored(found)))


@given(st.data(), st.sampled_from(KINDS))
def test_a_field_of_another_type_is_refused(data: st.DataObject, kind: str) -> None:
    """One field at a time is replaced by something that no field may be."""
    value = data.draw(values[kind]).to_json()
    value[data.draw(st.sampled_from(sorted(value)))] = data.draw(
        st.sampled_from([None, -1, 1.5, {}, [1], [["a"]]])
    )
    with pytest.raises(UnreadableKey, match="/c/some at revision 7"):
        decode_value(kind, stored(json.dumps(value).encode()))


def test_fields_of_a_later_release_are_passed_over() -> None:
    value = Member(weight=3).to_json() | {"rack": [1, 2]}
    assert decode_value("members", stored(json.dumps(value).encode())) == Member(weight=3)


def test_a_record_without_a_word_of_leaving_stays() -> None:
    value = BrokerRecord("i1", ("a",), "l", "v", leaving=False)
    left_out = {name: found for name, found in value.to_json().items() if name != "leaving"}
    assert decode_value("brokers", stored(json.dumps(left_out).encode())) == value


def test_a_deleted_key_is_a_change_without_a_value() -> None:
    event = KeyEvent(key_of("c", "brokers", "b1"), 9, None)
    assert decode_event("c", event) == Change("brokers", "b1", None, 9)


@pytest.mark.parametrize(
    "key",
    [
        *("/c/config/x", "/c/members/", "/c/members/a/b", "/c/members", "/c/else/b1", "/c/"),
        *("/c/slots/01", "/c/slots/-1", "/c/slots/\u0663", "/c/slots/" + "9" * 5_000, "/c/slots/x"),
    ],
)
def test_a_key_outside_the_layout_is_passed_over(key: str) -> None:
    assert decode_event("c", KeyEvent(key, 9, Stored(key, b"{}", 9, 0))) is None
