"""The follower's side of a slot's replication: which entries of a ``prepare`` continue its log.

Rules:

- R1  a prepare is taken only when its epoch is at least the promised one and (prev_lsn, prev_epoch)
      is in the log; then all up to prev_lsn is the same as the primary's.
- R7  where the logs part is found by the epochs, never by a watermark; what is cut is never
      committed.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.cluster.messages import Refusal
from broker.cluster.slot_log import SlotLog


class Refuse(NamedTuple):
    reason: Refusal
    known: int


class Take(NamedTuple):
    """Cut the log to ``cut_to`` when that is not None, then append from row ``skip`` on."""

    skip: int
    cut_to: int | None


def judge_prepare(log: SlotLog, prev_lsn: int, prev_epoch: int, epochs: list[int]) -> Take | Refuse:
    """``epochs`` are those of the rows, which follow prev_lsn one by one."""
    if prev_lsn > log.last_lsn:
        return Refuse(Refusal.GAP, log.last_lsn)
    if _differs(log, prev_lsn, prev_epoch):
        if prev_lsn <= log.commit_lsn:
            return Refuse(Refusal.SUSPECT, log.commit_lsn)
        return Refuse(Refusal.MISMATCH, max(log.epochs.start_of(prev_lsn) - 1, log.commit_lsn))
    for index, epoch in enumerate(epochs):
        lsn = prev_lsn + 1 + index
        if lsn > log.last_lsn:
            return Take(index, None)
        if _differs(log, lsn, epoch):
            # Only an operator's word makes a history go on below what was committed.
            is_committed = lsn <= log.commit_lsn
            return Refuse(Refusal.SUSPECT, lsn) if is_committed else Take(index, lsn - 1)
    return Take(len(epochs), None)


def _differs(log: SlotLog, lsn: int, epoch: int) -> bool:
    """What is committed is the same everywhere, where the table has forgotten of which epoch."""
    known = log.epochs.at(lsn)
    return known != epoch and not (known is None and lsn <= log.commit_lsn)
