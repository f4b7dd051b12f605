"""What every Store does: one body of tests over the one in memory and the one on disk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import DiskFailed, DiskFull
from broker.storage.memory_store import MemoryStore
from broker.storage.rocks_store import STORE_DIRECTORY, RocksStore
from broker.storage.store import Family, Store, WriteOps

MANY = 1_000_000
HUGE = 1 << 30


@pytest.fixture
def rocks_store(tmp_path: Path) -> Iterator[RocksStore]:
    RocksStore.make(tmp_path / STORE_DIRECTORY)
    store = RocksStore.open(tmp_path)
    yield store
    store.close()


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    found: RocksStore = request.getfixturevalue("rocks_store")
    return found


def put(store: Store, *rows: tuple[bytes, bytes], family: Family = Family.BODY) -> None:
    ops = WriteOps()
    for key, value in rows:
        ops.put(family, key, value)
    store.write(ops)


def all_rows(store: Store, family: Family = Family.BODY) -> list[tuple[bytes, bytes]]:
    return store.scan(family, b"", b"\xff", MANY, HUGE)


def test_rows_come_in_key_order_whatever_the_order_of_the_puts(store: Store) -> None:
    put(store, (b"b", b"2"), (b"c", b"3"))
    put(store, (b"a\xff", b"1"), (b"a", b"0"))
    assert all_rows(store) == [(b"a", b"0"), (b"a\xff", b"1"), (b"b", b"2"), (b"c", b"3")]


def test_a_written_batch_is_visible_before_any_sync(store: Store) -> None:
    put(store, (b"a", b"1"))
    assert store.get(Family.BODY, b"a") == b"1"
    assert all_rows(store) == [(b"a", b"1")]


def test_many_keys_are_read_in_the_order_of_the_question(store: Store) -> None:
    ops = WriteOps()
    for name in (b"a", b"b", b"c"):
        ops.put(Family.BODY, name, name * 2)
    store.write(ops)
    assert store.get_many(Family.BODY, [b"c", b"x", b"a"]) == [b"cc", None, b"aa"]
    assert store.get_many(Family.BODY, []) == []


def test_the_operations_of_a_batch_take_effect_in_the_order_of_the_calls(store: Store) -> None:
    ops = WriteOps()
    ops.put(Family.BODY, b"a", b"old")
    ops.put(Family.BODY, b"b", b"old")
    ops.delete_range(Family.BODY, b"a", b"c")
    ops.put(Family.BODY, b"b", b"new")
    ops.put(Family.BODY, b"c", b"c")
    ops.delete(Family.BODY, b"c")
    store.write(ops)
    assert all_rows(store) == [(b"b", b"new")]


def test_a_batch_may_touch_every_family_and_families_know_nothing_of_each_other(
    store: Store,
) -> None:
    ops = WriteOps()
    for family in Family:
        ops.put(family, b"key", family.name.encode())
    ops.delete_range(Family.LOG, b"", b"\xff")
    store.write(ops)
    assert store.get(Family.LOG, b"key") is None
    for family in Family:
        if family != Family.LOG:
            assert all_rows(store, family) == [(b"key", family.name.encode())]


@pytest.mark.parametrize("family", [Family.BODY, Family.IDS])
def test_rows_are_found_by_the_beginnings_of_their_keys(store: Store, family: Family) -> None:
    prefixes = [b"%025d" % number for number in range(100)]
    rows = [(prefix + tail, prefix) for prefix in prefixes[::2] for tail in (b"", b"a", b"\xff")]
    put(store, *rows, family=family)
    assert store.find_prefixed(family, prefixes[::-1]) == rows
    assert store.find_prefixed(family, [prefixes[1], prefixes[4]]) == rows[6:9]
    assert store.find_prefixed(family, []) == []
    ops = WriteOps()
    ops.delete_range(family, prefixes[0], prefixes[50])
    store.write(ops)
    assert store.find_prefixed(family, prefixes) == rows[75:]


def test_a_later_put_replaces_the_value(store: Store) -> None:
    put(store, (b"a", b"1"))
    put(store, (b"a", b""))
    assert store.get(Family.BODY, b"a") == b""
    assert all_rows(store) == [(b"a", b"")]


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(store: Store) -> None:
    ops = WriteOps()
    ops.delete(Family.BODY, b"a")
    ops.delete_range(Family.BODY, b"a", b"b")
    store.write(ops)
    assert store.get(Family.BODY, b"a") is None
    assert all_rows(store) == []


def test_a_range_is_deleted_from_its_low_key_to_before_its_high_key(store: Store) -> None:
    put(store, *((key, b"") for key in (b"a", b"b", b"b0", b"c", b"d")))
    ops = WriteOps()
    ops.delete_range(Family.BODY, b"b", b"c")
    store.write(ops)
    assert [key for key, _ in all_rows(store)] == [b"a", b"c", b"d"]


def test_an_empty_range_deletes_nothing(store: Store) -> None:
    put(store, (b"a", b""), (b"b", b""))
    ops = WriteOps()
    ops.delete_range(Family.BODY, b"a", b"a")
    store.write(ops)
    assert len(all_rows(store)) == 2


def test_a_range_that_ends_before_it_begins_is_a_mistake_of_the_caller(store: Store) -> None:
    ops = WriteOps()
    ops.delete_range(Family.BODY, b"b", b"a")
    with pytest.raises(AssertionError, match="ends before it begins"):
        store.write(ops)
    put(store, (b"a", b"1"))


def test_a_scan_begins_at_low_and_ends_before_high(store: Store) -> None:
    put(store, *((b"%d" % number, b"") for number in range(10)))
    rows = store.scan(Family.BODY, b"3", b"6", MANY, HUGE)
    assert [key for key, _ in rows] == [b"3", b"4", b"5"]
    assert store.scan(Family.BODY, b"6", b"3", MANY, HUGE) == []


def test_a_scan_ends_at_the_count(store: Store) -> None:
    put(store, *((b"%d" % number, b"") for number in range(10)))
    assert len(store.scan(Family.BODY, b"0", b"9", 4, HUGE)) == 4
    assert store.scan(Family.BODY, b"0", b"9", 0, HUGE) == []


def test_a_scan_ends_with_the_row_that_reaches_the_bytes(store: Store) -> None:
    put(store, *((b"%d" % number, bytes(99)) for number in range(10)))
    assert len(store.scan(Family.BODY, b"0", b"9", MANY, 300)) == 3
    assert len(store.scan(Family.BODY, b"0", b"9", MANY, 301)) == 4


def test_a_scan_gives_a_row_that_is_larger_than_the_bytes(store: Store) -> None:
    put(store, (b"a", bytes(1_000)), (b"b", b""))
    assert store.scan(Family.BODY, b"", b"z", MANY, 1) == [(b"a", bytes(1_000))]


def test_the_last_row_before_a_key_may_be_at_the_key(store: Store) -> None:
    put(store, (b"b", b"2"), (b"d", b"4"))
    assert store.last_before(Family.BODY, b"a", b"d") == (b"d", b"4")
    assert store.last_before(Family.BODY, b"a", b"c") == (b"b", b"2")
    assert store.last_before(Family.BODY, b"b", b"c") == (b"b", b"2")


def test_there_is_no_last_row_below_the_low_key_or_where_nothing_is_left(store: Store) -> None:
    put(store, (b"b", b"2"), (b"d", b"4"))
    assert store.last_before(Family.BODY, b"c", b"c\xff") is None
    assert store.last_before(Family.BODY, b"", b"a") is None
    ops = WriteOps()
    ops.delete_range(Family.BODY, b"", b"c")
    store.write(ops)
    assert store.last_before(Family.BODY, b"", b"c") is None


def test_values_of_sixteen_mebibytes_are_kept_whole(store: Store) -> None:
    big = bytes(range(256)) * (1 << 16)
    put(store, (b"a", big), (b"b", b"after"))
    assert store.get(Family.BODY, b"a") == big
    assert all_rows(store) == [(b"a", big), (b"b", b"after")]


def test_a_store_at_rest_is_not_stalled(store: Store) -> None:
    put(store, (b"a", b"1"))
    store.sync()
    assert not store.is_stalled()


_KEYS = st.binary(max_size=3)
_FAMILIES = st.sampled_from([Family.LOG, Family.BODY])
_OPERATIONS = st.one_of(
    st.tuples(st.just("put"), _FAMILIES, _KEYS, st.binary(max_size=8)),
    st.tuples(st.just("delete"), _FAMILIES, _KEYS, st.just(b"")),
    st.tuples(st.just("delete_range"), _FAMILIES, _KEYS, _KEYS),
)


def test_both_stores_give_the_same_rows_after_any_batches(rocks_store: RocksStore) -> None:
    memory = MemoryStore()
    examples = count()

    @given(batches=st.lists(st.lists(_OPERATIONS, max_size=8), max_size=8), low=_KEYS, high=_KEYS)
    def check(
        batches: list[list[tuple[str, Family, bytes, bytes]]], low: bytes, high: bytes
    ) -> None:
        # Each example has a key space of its own, so that one store serves them all.
        space = next(examples).to_bytes(4, "big")
        for batch in batches:
            ops = WriteOps()
            for name, family, key, other in batch:
                if name == "put":
                    ops.put(family, space + key, other)
                elif name == "delete":
                    ops.delete(family, space + key)
                else:
                    ops.delete_range(family, space + min(key, other), space + max(key, other))
            memory.write(ops)
            rocks_store.write(ops)
        for family in (Family.LOG, Family.BODY):
            for bounds in ((space, space + b"\xff" * 4), (space + low, space + high)):
                found = rocks_store.scan(family, *bounds, MANY, HUGE)
                assert found == memory.scan(family, *bounds, MANY, HUGE)
                found_last = rocks_store.last_before(family, *bounds)
                assert found_last == memory.last_before(family, *bounds)

    check()


def test_a_crash_takes_all_unsynced_batches_but_the_first_ones() -> None:
    store = MemoryStore()
    put(store, (b"a", b"1"), (b"b", b"1"))
    store.sync()
    put(store, (b"a", b"2"), (b"c", b"2"))
    ops = WriteOps()
    ops.delete_range(Family.BODY, b"a", b"c")
    ops.put(Family.BODY, b"b", b"3")
    store.write(ops)
    put(store, (b"b", b"4"))
    assert store.unsynced_batches == 3
    store.crash(keep=1)
    assert all_rows(store) == [(b"a", b"2"), (b"b", b"1"), (b"c", b"2")]
    store.crash()
    assert all_rows(store) == [(b"a", b"2"), (b"b", b"1"), (b"c", b"2")]


def test_a_crash_takes_what_was_written_after_the_sync_began() -> None:
    store = MemoryStore()
    put(store, (b"a", b"1"))
    begun = store.unsynced_batches
    put(store, (b"b", b"2"))
    store.sync_first(begun)
    store.crash()
    assert all_rows(store) == [(b"a", b"1")]


def test_a_failed_write_changes_nothing_and_ends_the_use_of_the_store() -> None:
    store = MemoryStore()
    put(store, (b"a", b"1"))
    store.fail_next_write(DiskFull("no space"))
    with pytest.raises(DiskFull):
        put(store, (b"a", b"2"))
    with pytest.raises(DiskFull, match="not used after: no space"):
        store.sync()
    store.crash(keep=1)
    put(store, (b"b", b"2"))
    assert all_rows(store) == [(b"a", b"1"), (b"b", b"2")]


def test_after_a_failed_sync_a_crash_may_take_everything_unsynced() -> None:
    store = MemoryStore()
    put(store, (b"a", b"1"))
    store.fail_next_sync(DiskFailed("input/output error"))
    with pytest.raises(DiskFailed):
        store.sync()
    with pytest.raises(DiskFailed, match="not used after"):
        put(store, (b"b", b"2"))
    store.crash()
    assert all_rows(store) == []


def test_a_flipped_bit_stays_flipped() -> None:
    store = MemoryStore()
    put(store, (b"a", b"\x00\x00"))
    store.flip_bit(Family.BODY, b"a", 9)
    assert store.get(Family.BODY, b"a") == b"\x00\x02"
