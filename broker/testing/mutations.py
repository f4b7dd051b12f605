"""Breakages of single rules, each of which some seed must find: the proof that the judges judge.

A mutation is a context in which one rule is not kept; nothing else differs.  Law: nothing outside
of the tests and the command line ever enters one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from broker.cluster.messages import Prepare
from broker.cluster.primary import Primary
from broker.cluster.view import Swap, SwapAnswer, SwapOutcome
from broker.core.applying import apply_committed
from broker.core.reign import begin_reign
from broker.node.replica import Replica
from broker.node.steering import Steering
from broker.storage.store import WriteOps
from broker.testing.process import BrokerProcess


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _answer_before_the_sync() -> AbstractContextManager[None]:
    """R2: the node is told that its rows are durable when the sync has only begun."""
    begin = BrokerProcess._maybe_sync

    def begin_and_tell(process: BrokerProcess) -> None:
        token = process._unsynced
        begin(process)
        if process._syncing is not None and process._syncing[0] == token:
            process._take("synced", token)

    return _replaced(BrokerProcess, "_maybe_sync", begin_and_tell)


def _commit_without_the_slowest() -> AbstractContextManager[None]:
    """R3: a majority of the ISR is taken for all of it."""

    def commit_lsn(primary: Primary, own_durable_lsn: int) -> int:
        followers = [primary.followers.get(name) for name in primary.effective_isr]
        held = [progress.durable_lsn for progress in followers if progress is not None]
        durable = sorted([own_durable_lsn, *held], reverse=True)
        lsn = durable[len(durable) // 2]
        return lsn if primary.has_quorum and lsn >= primary.start_lsn else 0

    return _replaced(Primary, "commit_lsn", commit_lsn)


def _serve_at_once() -> AbstractContextManager[None]:
    """R6: a new primary commits all that it has and serves, before the others have it."""
    start = Replica.start_reign

    def start_reign(replica: Replica, ops: WriteOps, *args: Any) -> None:
        start(replica, ops, *args)
        assert replica.primary is not None
        replica.log.commit(replica.log.last_lsn - 1)
        apply_committed(replica.machine)
        replica.primary.is_serving = True
        begin_reign(replica.machine)

    return _replaced(Replica, "start_reign", start_reign)


def _cut_at_the_watermark() -> AbstractContextManager[None]:
    """R7: a follower of a new primary throws away what it does not know to be committed."""
    take = Replica.take_prepare

    def take_prepare(replica: Replica, ops: WriteOps, message: Prepare, *args: Any) -> Any:
        log = replica.log
        if message.epoch > replica.store.promised_epoch and log.last_lsn > log.commit_lsn:
            replica.store.cut(ops, replica.machine, log.commit_lsn)
            replica.cuts += 1
        return take(replica, ops, message, *args)

    return _replaced(Replica, "take_prepare", take_prepare)


def _take_unknown_for_undone() -> AbstractContextManager[None]:
    """R9: a swap without an answer is forgotten, as if it could not have been carried out."""
    answered = Steering.swap_answered

    def swap_answered(steering: Steering, now: int, swap: Swap, answer: SwapAnswer) -> None:
        if answer.outcome is SwapOutcome.UNKNOWN:
            steering._asked.pop(swap.slot, None)
        answered(steering, now, swap, answer)

    return _replaced(Steering, "swap_answered", swap_answered)


def _never_end_the_tenure() -> AbstractContextManager[None]:
    """R10: the primary believes in its tenure for an hour."""

    def extend(process: BrokerProcess, until_ms: int) -> None:
        process._take("tenure_extended", until_ms + 3_600_000)

    return _replaced(BrokerProcess, "tenure_extended", extend)


#: rule -> the context in which it is broken
MUTATIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "R2": _answer_before_the_sync,
    "R3": _commit_without_the_slowest,
    "R6": _serve_at_once,
    "R7": _cut_at_the_watermark,
    "R9": _take_unknown_for_undone,
    "R10": _never_end_the_tenure,
}
