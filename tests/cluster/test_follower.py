"""What a follower takes of a primary's log: any prepares, in any order, doubled and lost.

Two logs that may part are drawn as a cluster makes them: one entry has one (lsn, epoch), and logs
that have the same epoch at a place are the same up to there.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.follower import Refuse, Take, judge_prepare
from broker.cluster.messages import Refusal
from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.primary import Primary
from broker.cluster.slot_log import Proposed, SlotLog
from broker.cluster.view import Owned
from broker.limits import REPLICA_RETRY
from broker.model.entries import QueueDeleted

#: An entry: its epoch, and a number that only this entry has.
Row = tuple[int, int]


class Parted(NamedTuple):
    """The first ``shared`` entries are the same; ``committed`` of them are."""

    primary: list[Row]
    follower: list[Row]
    shared: int
    committed: int


def rows_of(epochs: list[int], salt: int) -> list[Row]:
    return [(epoch, 1_000 * salt + at) for at, epoch in enumerate(epochs)]


@st.composite
def parted(draw: st.DrawFn) -> Parted:
    prefix = sorted(draw(st.lists(st.integers(1, 4), max_size=8)))
    last = prefix[-1] if prefix else 0
    # Reigns of the one broker have even numbers, those of the others odd ones; one of both may
    # have more of the reign in which they part.
    later = st.integers(last // 2 + 1, last // 2 + 4)
    ours = sorted(2 * n for n in draw(st.lists(later, max_size=6)))
    theirs = sorted(2 * n + 1 for n in draw(st.lists(later, max_size=6)))
    more = [last] * draw(st.integers(0, 3)) if last else []
    if draw(st.booleans()):
        ours = more + ours
    else:
        theirs = more + theirs
    # The reign that sends is the latest of all, and began with an entry of its own.
    ours.append(2 * (last + 9))
    shared = rows_of(prefix, 0)
    return Parted(
        shared + rows_of(ours, 1),
        shared + rows_of(theirs, 2),
        len(shared),
        draw(st.integers(0, len(shared))),
    )


def log_of(rows: list[Row]) -> SlotLog:
    log = SlotLog(0, 0, 0)
    append(log, rows)
    return log


def append(log: SlotLog, rows: list[Row]) -> None:
    for epoch, number in rows:
        log.receive(Proposed(log.last_lsn + 1, 0, QueueDeleted(number)), epoch)


class Follower:
    """Carries verdicts out as a replica does; nothing is applied, so that the whole log is seen."""

    def __init__(self, logs: Parted) -> None:
        self.primary = logs.primary
        self.log = log_of(logs.follower)
        self.log.commit(logs.committed)
        self.verified = 0

    def take(self, prev_lsn: int, rows: list[Row], commit_lsn: int = 0) -> Take | Refuse:
        prev_epoch = self.primary[prev_lsn - 1][0] if prev_lsn else 0
        verdict = judge_prepare(self.log, prev_lsn, prev_epoch, [epoch for epoch, _ in rows])
        if isinstance(verdict, Refuse):
            return verdict
        if verdict.cut_to is not None:
            assert verdict.cut_to >= self.log.commit_lsn, "nothing committed is ever cut"
            self.log.cut(verdict.cut_to)
        append(self.log, rows[verdict.skip :])
        self.verified = max(self.verified, prev_lsn + len(rows))
        self.log.commit(min(commit_lsn, self.verified))
        return verdict

    def rows(self) -> list[Row]:
        found: list[Row] = []
        for proposed in self.log.uncommitted:
            epoch, entry = self.log.epochs.at(proposed.lsn), proposed.entry
            assert epoch is not None
            assert isinstance(entry, QueueDeleted)
            found.append((epoch, entry.number))
        return found


@given(parted(), st.data())
def test_what_a_follower_verified_is_the_primarys_log(logs: Parted, data: st.DataObject) -> None:
    """R1, R7: after any prepares in any order the logs agree up to what was verified."""
    follower = Follower(logs)
    length = len(logs.primary)
    committed = data.draw(st.integers(logs.committed, length))
    for _ in range(data.draw(st.integers(1, 12))):
        prev_lsn = data.draw(st.integers(0, length))
        count = data.draw(st.integers(0, length - prev_lsn))
        before = follower.log.commit_lsn
        follower.take(prev_lsn, logs.primary[prev_lsn : prev_lsn + count], committed)
        verified, commit_lsn = follower.verified, follower.log.commit_lsn
        assert follower.rows()[:verified] == logs.primary[:verified]
        assert follower.rows()[: logs.committed] == logs.primary[: logs.committed]
        assert before <= commit_lsn <= max(verified, before), "only what is verified is adopted"


@given(parted())
def test_a_primary_finds_where_the_logs_part_and_repairs_from_there(logs: Parted) -> None:
    """R7: by the answers alone, walking back epoch by epoch; the primary never cuts its own."""
    follower = Follower(logs)
    epoch, length = logs.primary[-1][0], len(logs.primary)
    config = SlotConfig((ReplicaId("a", "x"), ReplicaId("b", "x")), ("a", "b"), (), "a", epoch)
    primary = Primary("a", Owned(config, 1), 2, length, 0)
    progress = primary.followers["b"]
    for now in range(0, 40 * REPLICA_RETRY, REPLICA_RETRY):
        prev_lsn = progress.next_lsn - 1
        answer = follower.take(prev_lsn, logs.primary[prev_lsn:])
        if isinstance(answer, Refuse):
            primary.heard_mismatch("b", answer.known, now)
            continue
        primary.heard_prepared("b", follower.verified, follower.verified, length, now)
        break
    assert follower.rows() == logs.primary
    assert primary.commit_lsn(length) == length


@given(parted())
def test_a_repeated_prepare_changes_nothing(logs: Parted) -> None:
    follower = Follower(logs)
    follower.take(0, logs.primary)
    assert follower.take(0, logs.primary) == Take(len(logs.primary), None)
    assert follower.take(0, logs.primary[:1]) == Take(1, None), "an old one cuts nothing"
    assert follower.rows() == logs.primary


def test_a_prepare_beyond_the_log_is_a_gap() -> None:
    """R1: (prev_lsn, prev_epoch) must be in the log."""
    log = log_of(rows_of([1, 1, 2], 0))
    assert judge_prepare(log, 5, 2, [2]) == Refuse(Refusal.GAP, 3)


def test_a_mismatch_names_the_end_of_the_epoch_before() -> None:
    """R7: the walk back skips a whole epoch at once."""
    log = log_of(rows_of([1, 1, 2, 2, 2], 0))
    assert judge_prepare(log, 5, 3, []) == Refuse(Refusal.MISMATCH, 2)


def test_a_walk_back_ends_at_what_is_committed() -> None:
    """R7: what is committed is the same everywhere, whatever the table forgot of it."""
    log = log_of(rows_of([1, 1, 2, 2, 2], 0))
    log.commit(4)
    assert judge_prepare(log, 5, 3, []) == Refuse(Refusal.MISMATCH, 4)
    assert judge_prepare(log, 4, 2, [3]) == Take(0, 4)
    assert judge_prepare(log, 2, 1, [2, 2, 3]) == Take(2, 4)


def test_another_history_of_what_is_committed_is_suspect() -> None:
    """R7: a cut below its own commit_lsn is never done: it stops and says so."""
    log = log_of(rows_of([1, 1, 2, 2, 2], 0))
    log.commit(4)
    assert judge_prepare(log, 4, 9, []) == Refuse(Refusal.SUSPECT, 4)
    assert judge_prepare(log, 2, 1, [2, 3]) == Refuse(Refusal.SUSPECT, 4)
    log.epochs.forget_below(3)
    assert judge_prepare(log, 1, 9, []) == Take(0, None), "what is forgotten is the same"


def test_a_heartbeat_at_the_end_of_the_log_is_taken() -> None:
    log = log_of(rows_of([1, 2], 0))
    assert judge_prepare(log, 2, 2, []) == Take(0, None)


def test_an_entry_of_another_epoch_is_cut_with_all_behind_it() -> None:
    """R7: cut where the epochs part, and nowhere above."""
    log = log_of(rows_of([1, 2, 2, 2], 0))
    assert judge_prepare(log, 1, 1, [2, 3]) == Take(1, 2)
