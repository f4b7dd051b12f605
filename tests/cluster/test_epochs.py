"""The table of epochs against a plain list that names the epoch of every entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.epochs import EpochTable

#: The epoch of each entry, lsn 1 first.
logs = st.lists(st.integers(1, 6), max_size=30).map(sorted)


def table_of(log: list[int]) -> EpochTable:
    table = EpochTable()
    for lsn, epoch in enumerate(log, 1):
        table.note(epoch, lsn)
    return table


@given(logs)
def test_the_table_knows_the_epoch_of_every_entry(log: list[int]) -> None:
    table = table_of(log)
    assert [table.at(lsn) for lsn in range(1, len(log) + 1)] == log
    assert [table.start_of(lsn) for lsn in range(1, len(log) + 1)] == [
        log.index(epoch) + 1 for epoch in log
    ]


@given(logs, st.data())
def test_what_is_cut_is_as_if_it_had_never_been_noted(log: list[int], data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(log)))
    table = table_of(log)
    table.cut(end)
    assert table.up_to(len(log)) == table_of(log[:end]).up_to(end)
    # Another reign goes on from there.
    table.note(9, end + 1)
    assert table.at(end + 1) == 9
    assert table.start_of(end + 1) == end + 1


@given(logs.filter(bool), st.data())
def test_what_a_trim_leaves_keeps_its_epochs(log: list[int], data: st.DataObject) -> None:
    trim = data.draw(st.integers(1, len(log)))
    table = table_of(log)
    table.forget_below(trim)
    for lsn in range(trim, len(log) + 1):
        assert table.at(lsn) == log[lsn - 1]
    for lsn in range(1, trim):
        assert table.at(lsn) in {None, log[lsn - 1]}, "a forgotten epoch is never a wrong one"


@given(logs, st.data())
def test_a_table_up_to_a_checkpoint_goes_on_as_the_whole_one(
    log: list[int], data: st.DataObject
) -> None:
    applied = data.draw(st.integers(0, len(log)))
    table = EpochTable(table_of(log).up_to(applied))
    for lsn, epoch in enumerate(log[applied:], applied + 1):
        table.note(epoch, lsn)
    assert [table.at(lsn) for lsn in range(1, len(log) + 1)] == log


def test_the_start_of_every_log_agrees() -> None:
    assert EpochTable().at(0) == 0
    assert table_of([3, 3]).at(0) == 0
    assert EpochTable().start_of(0) == 0


def test_what_lies_before_a_copy_is_not_known() -> None:
    table = EpochTable([(4, 100)])
    assert table.at(99) is None
    assert table.at(100) == 4


def test_an_epoch_never_falls_within_a_log() -> None:
    table = table_of([2])
    with pytest.raises(AssertionError):
        table.note(1, 2)
