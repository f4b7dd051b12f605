"""A slot's log under any order of its calls: positions, what is cut, what is applied."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.cluster.slot_log import Proposed, SlotLog
from broker.model.entries import Entry, QueueDeleted


def numbered(number: int) -> Entry:
    return QueueDeleted(number)


class LogCalls(RuleBasedStateMachine):
    """``entries`` are the log as it must be: (epoch, entry) from lsn 1 on."""

    def __init__(self) -> None:
        super().__init__()
        self.log = SlotLog(1, 0, 0)
        self.entries: list[tuple[int, Entry]] = []
        self.written = 0
        self.applied: list[Entry] = []
        self.made = 0

    def make(self) -> Entry:
        self.made += 1
        return numbered(self.made)

    @rule()
    def propose(self) -> None:
        entry = self.make()
        self.entries.append((self.log.epoch, entry))
        assert self.log.propose(entry) == len(self.entries)

    @precondition(lambda self: self.written == len(self.entries))
    @rule(rise=st.integers(0, 2), now=st.integers(0, 99))
    def receive(self, rise: int, now: int) -> None:
        self.log.epoch += rise
        entry = self.make()
        self.entries.append((self.log.epoch, entry))
        self.log.receive(Proposed(len(self.entries), now, entry), self.log.epoch)
        self.written = len(self.entries)

    @rule()
    def write(self) -> None:
        unwritten = self.log.take_unwritten()
        assert [p.entry for p in unwritten] == [e for _, e in self.entries[self.written :]]
        self.written = len(self.entries)

    @rule(data=st.data())
    def sync(self, data: st.DataObject) -> None:
        self.log.become_durable(data.draw(st.integers(0, self.written)))

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self.log.commit(data.draw(st.integers(0, self.written)))

    @rule()
    def apply(self) -> None:
        while (proposed := self.log.next_committed()) is not None:
            self.applied.append(proposed.entry)
        assert self.log.applied_lsn == self.log.commit_lsn

    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        lsn = data.draw(st.integers(self.log.commit_lsn, self.log.last_lsn))
        gone = self.log.cut(lsn)
        assert [p.entry for p in gone] == [entry for _, entry in self.entries[lsn:]]
        del self.entries[lsn:]
        self.written = min(self.written, lsn)

    @invariant()
    def the_positions_keep_their_order(self) -> None:
        log = self.log
        assert log.applied_lsn <= log.commit_lsn <= log.last_lsn == len(self.entries)
        assert log.durable_lsn <= log.last_lsn

    @invariant()
    def what_was_applied_is_the_committed_log(self) -> None:
        assert self.applied == [entry for _, entry in self.entries[: len(self.applied)]]
        rest = [entry for _, entry in self.entries[len(self.applied) :]]
        assert [p.entry for p in self.log.uncommitted] == rest

    @invariant()
    def every_entry_has_its_epoch(self) -> None:
        for lsn, (epoch, _) in enumerate(self.entries, 1):
            assert self.log.epochs.at(lsn) == epoch


TestLogCalls = LogCalls.TestCase


def test_a_committed_entry_is_never_cut() -> None:
    """R7: below its own commit_lsn nothing is cut."""
    log = SlotLog(1, 0, 0)
    for number in range(3):
        log.propose(numbered(number))
    log.commit(2)
    with pytest.raises(AssertionError):
        log.cut(1)
    assert [p.lsn for p in log.cut(2)] == [3]


def test_the_commit_never_falls() -> None:
    """R3: what was committed stays so, whatever is told later."""
    log = SlotLog(1, 0, 0)
    log.propose(numbered(1))
    log.propose(numbered(2))
    log.commit(2)
    log.commit(1)
    assert log.commit_lsn == 2


def test_a_log_has_no_gaps() -> None:
    with pytest.raises(AssertionError):
        SlotLog(1, 5, 0).receive(Proposed(7, 0, numbered(1)), 1)


def test_the_time_of_a_log_never_falls() -> None:
    """R12: entries carry the primary's time; a follower's own clock moves none of it back."""
    log = SlotLog(1, 0, 100)
    log.receive(Proposed(1, 50, numbered(1)), 1)
    assert log.now == 100
    log.receive(Proposed(2, 170, numbered(2)), 1)
    assert log.advance_time(120) == 170


def test_a_recovered_log_goes_on_where_its_checkpoint_stood() -> None:
    log = SlotLog(3, 10, 0, chain=77, epochs=[(2, 4), (3, 9)])
    assert (log.last_epoch, log.last_chain, log.is_quiet) == (3, 77, True)
    assert log.propose(numbered(1)) == 11
    assert not log.is_quiet


def test_what_is_on_its_way_is_told_for_each_queue() -> None:
    log = SlotLog(1, 0, 0)
    for number in (4, 5, 4):
        log.propose(numbered(number))
    assert log.uncommitted_of(4) == [numbered(4), numbered(4)]
