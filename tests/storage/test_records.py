"""The bytes of rows: what is written is read back, and every altered bit is told."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import DataDamaged, FormatTooNew, UnreadableMessage
from broker.model import entries
from broker.model.stored_batch import Extent, StoredBatch
from broker.storage.records import (
    _ENCODERS,
    decode_body,
    decode_log_row,
    encode_body,
    encode_log_row,
)

BODY = StoredBatch(5, 40, 2, 1_000, 9_000, b"\x80", b"\x81\xa3ids\x92\x01\x02", b"\x92\xc0\xc0")


def timed_put() -> entries.TimedPut:
    body = StoredBatch(36, 40, 2, 1_000, 0, b"", b"", b"\x92\xc0\xc0", 5_000)
    body.due_times = array("Q", [2**40, 5_000])
    return entries.TimedPut(3, body, sources=[(b"p", 2)], ids=b"", step=7)


def shared_put() -> entries.SharedPut:
    extent = Extent(BODY.lane, BODY.first, BODY.count)
    place = (extent, BODY.first, BODY.count, 0, BODY.size, b"")
    shares = [
        entries.Share("q", 2**40, *place, b"u" * 16, b""),
        entries.Share("r", 0, *place, b"v" * 16, b"\2"),
    ]
    return entries.SharedPut(3, BODY, [(b"p", 0)], shares=shares)


ENTRIES: list[entries.Entry] = [
    entries.EpochStart(7),
    entries.QueueDeclared(3, b"u" * 16, "a.b", {"lease_ms": 5_000, "ttl_ms": None}),
    entries.QueueUpdated(3, {"paused": True, "schedules": {"daily": {"cron": "0 7 * * *"}}}),
    entries.QueueDeleted(3),
    entries.BatchPut(3, BODY, [(b"p", 0), (b"q", 2**40)]),
    entries.BatchPut(3, BODY, [(b"p", 0)], ids=bytes(16) + b"h" * 16),
    entries.Settled(3, entries.SettleReason.EXPIRED, [(0, 5), (2**40, 1)], {5: (6, 2**33)}),
    entries.Returned(3, [(Extent(5, 0, 10), 2, 3, 4)], 77),
    entries.Purged(3, 99, [(1, 2)], {0: (1, 0), 9: (2, 3)}),
    entries.ExpirySwept((5, 3, 5, 0, 1), [(9, 3, 5, 0, 1)]),
    entries.Trimmed(
        8,
        [entries.LaneSweep(3, 5, 40, [(0, 10), (20, 40)], [(10, 20)])],
        [(9_000, 3, 21, 60, 4)],
    ),
    entries.ProducersExpired([(b"p", 3)]),
    entries.Departed(
        3,
        [entries.Move("dead", 2**40, Extent(5, 0, 10), 2, 3, 4, 600, b"\x80")],
        [entries.Settled(4, entries.SettleReason.ACKED, [(0, 5)], {5: (5, 99)})],
        [(b"p", 7)],
    ),
    entries.IdsSwept(3, [(0, 10), (2**40, 1)]),
    timed_put(),
    entries.PutRepeated(3, [(b"p", 2**40)]),
    entries.Cleared(3, "dead", [(2**40, 1)], [(2, 3)], {5: (3, 600)}),
    entries.InstanceBegun(3, b"billing", 2**61),
    shared_put(),
    entries.Bound("orders.>", "q", b"u" * 16, 2**61, [["size", ">", 10]]),
    entries.Unbound("orders.>", b"u" * 16, 2**61),
    entries.BindingsCarried(3, [("orders.>", 2**40)]),
]
LANES = st.integers(0, 9)
NUMBERS = st.integers(0, 2**62)
BODIES = st.builds(
    StoredBatch,
    lane=LANES,
    first=NUMBERS,
    count=st.integers(1, 10_000),
    put_at=NUMBERS,
    expires_at=NUMBERS,
    properties=st.binary(max_size=600),
    columns=st.binary(max_size=600),
    batch=st.binary(max_size=600),
)


def facts(value: Any) -> Any:
    """Comparable: a put's body by its facts, for the log holds no bytes of it."""
    if not isinstance(value, entries.BatchPut):
        return value
    body = value.body
    place = (body.lane, body.first, body.count, body.size, body.expires_at)
    step = value.step if isinstance(value, entries.TimedPut) else 0
    shares = value.shares if isinstance(value, entries.SharedPut) else []
    return value.number, place, body.due_times, step, value.sources, value.ids, shares


def slots(body: StoredBatch) -> list[Any]:
    return [getattr(body, name) for name in StoredBatch.__slots__]


def test_the_examples_have_every_entry_in_them() -> None:
    assert {type(entry) for entry in ENTRIES} == set(_ENCODERS)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_read_back_as_it_was_written(entry: entries.Entry) -> None:
    row, chain = encode_log_row(3, 1_000, entry, 17, 5)
    read = decode_log_row(9, row, 17)
    assert (read.epoch, read.now, read.chain) == (3, 1_000, chain)
    assert facts(read.entry) == facts(entry)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_every_flipped_bit_of_a_log_row_is_told(entry: entries.Entry) -> None:
    row, _ = encode_log_row(3, 1_000, entry, 17, 5)
    for altered in flipped(row):
        # A flipped version looks like another program's row; it is refused all the same.
        with pytest.raises((DataDamaged, FormatTooNew)):
            decode_log_row(9, altered, 17)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_a_cut_log_row_is_told(entry: entries.Entry) -> None:
    row, _ = encode_log_row(3, 1_000, entry, 17, 5)
    for length in range(len(row)):
        with pytest.raises(DataDamaged):
            decode_log_row(9, row[:length], 17)
    with pytest.raises(DataDamaged):
        decode_log_row(9, row + b"\0", 17)


def test_a_row_that_does_not_follow_the_one_before_is_told() -> None:
    first, chain = encode_log_row(3, 1_000, ENTRIES[0], 0, 0)
    second, _ = encode_log_row(3, 1_000, ENTRIES[0], chain, 0)
    assert first != second
    with pytest.raises(DataDamaged):
        decode_log_row(1, second, 0)


@given(BODIES)
def test_a_body_is_read_back_as_it_was_put(body: StoredBatch) -> None:
    value, _ = encode_body(body)
    assert slots(decode_body(body.lane, body.first, value)) == slots(body)


def test_every_flipped_bit_of_a_body_is_told() -> None:
    value, _ = encode_body(BODY)
    for altered in flipped(value):
        with pytest.raises(UnreadableMessage):
            decode_body(BODY.lane, BODY.first, altered)


def test_a_cut_body_is_told() -> None:
    value, _ = encode_body(BODY)
    for length in range(len(value)):
        with pytest.raises(UnreadableMessage):
            decode_body(BODY.lane, BODY.first, value[:length])


def test_a_body_under_another_key_is_told() -> None:
    value, _ = encode_body(BODY)
    for lane, first in ((BODY.lane + 1, BODY.first), (BODY.lane, BODY.first + 1)):
        with pytest.raises(UnreadableMessage):
            decode_body(lane, first, value)


def flipped(row: bytes) -> list[bytes]:
    whole = int.from_bytes(row, "big")
    return [(whole ^ (1 << bit)).to_bytes(len(row), "big") for bit in range(8 * len(row))]
