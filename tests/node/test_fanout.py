"""Batches on their way to subscribers: what is joined, and where what is too large is cut."""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from broker.limits import BATCH_COUNT_MAX, FANOUT_BYTES
from broker.model.published import Published
from broker.node.channels.fanout import encode, join


def run(first: int, *bodies: Any, **fields: Any) -> Published:
    return Published("a", 1, first, len(bodies), 9, msgpack.packb(list(bodies)), **fields)


def messages(runs: list[Published]) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    for each in runs:
        bodies = msgpack.unpackb(each.batch)
        assert len(bodies) == each.count
        found += [(each.first + index, body) for index, body in enumerate(bodies)]
    return found


def test_runs_that_follow_each_other_and_agree_are_one() -> None:
    runs = [run(0, b"1"), run(1, *[b"x"] * 20), run(21, [b"2", {}])]
    joined = list(join(runs))
    assert len(joined) == 1
    assert messages(joined) == messages(runs)


def test_runs_that_differ_stay_apart() -> None:
    for runs in (
        [run(0, b"1"), run(2, b"2")],
        [run(0, b"1"), run(1, b"2", type="t")],
        [run(0, b"1"), run(1, b"2", content_type="t")],
        [run(0, b"1"), run(1, b"2", key="k")],
        [run(0, b"1"), run(1, b"2", start=1)],
        [run(0, b"1"), run(1, b"2", columns=b"\x80")],
    ):
        assert list(join(runs)) == runs


def test_what_is_joined_stays_within_its_bounds() -> None:
    large = [run(n, b"x" * (FANOUT_BYTES // 2 - 100)) for n in range(5)]
    assert [each.count for each in join(large)] == [2, 2, 1]
    many = [run(n * 4_000, *[b""] * 4_000) for n in range(4)]
    assert [each.count for each in join(many)] == [8_000, 8_000]
    assert BATCH_COUNT_MAX < 12_000


@given(st.lists(st.integers(0, FANOUT_BYTES // 2 + 9_000), min_size=1, max_size=30), st.booleans())
def test_a_cut_batch_is_the_same_messages(sizes: list[int], with_columns: bool) -> None:
    bodies = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    columns = msgpack.packb({"ids": list(range(len(sizes)))}) if with_columns else b""
    whole = run(5, *bodies, columns=columns)
    found: list[tuple[int, Any]] = []
    ids: list[int] = []
    for topic, header, *rest in encode(b"a\0", whole):
        fields = msgpack.unpackb(header)
        parts = msgpack.unpackb(rest[-1])
        assert topic == b"a\0"
        assert len(parts) == fields["count"]
        assert len(rest[-1]) <= FANOUT_BYTES or len(parts) == 1
        found += [(fields["first"] + index, body) for index, body in enumerate(parts)]
        if with_columns:
            ids += msgpack.unpackb(rest[0])["ids"]
    assert found == [(5 + n, body) for n, body in enumerate(bodies)]
    assert ids == (list(range(len(sizes))) if with_columns else [])
