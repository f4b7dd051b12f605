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
from broker.core.books.producers import Key, Producers, Verdict
from broker.core.channels import bound_publishing, publishing
from broker.core.channels.channel import History
from broker.core.choosing.key_lines import KeyLines
from broker.core.machine import SlotMachine
from broker.core.naming import message_ids
from broker.core.services import service_handlers
from broker.core.services.call import Call, Worker
from broker.core.session import Session
from broker.core.transient.transient_log import POSITIONS_PER_EPOCH
from broker.errors import CallNotFound
from broker.model.service_commands import OfCall
from broker.names import TRANSFER_PRODUCER
from broker.node import transfers
from broker.node.bindings import BindingCarrier
from broker.node.replica import Replica
from broker.storage.store import WriteOps
from broker.testing.process import BrokerProcess


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = vars(owner)[name]
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


def _forget_the_fence() -> AbstractContextManager[None]:
    """R6: who has promised a later epoch takes entries of an older one all the same."""
    take = Replica.take_prepare

    def take_prepare(replica: Replica, ops: WriteOps, message: Prepare, *args: Any) -> Any:
        replica.store.promised_epoch = min(replica.store.promised_epoch, message.epoch)
        return take(replica, ops, message, *args)

    return _replaced(Replica, "take_prepare", take_prepare)


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


def _shrink_unconfirmed() -> AbstractContextManager[None]:
    """R9: who is to leave the ISR is not waited for from the moment that the swap is asked for."""

    def effective_isr(primary: Primary) -> list[str]:
        asked = primary.pending
        return list(primary.config.isr if asked is None else asked.config.isr)

    return _replaced(Primary, "effective_isr", property(effective_isr))


def _never_end_the_tenure() -> AbstractContextManager[None]:
    """R10: the primary believes in its tenure for an hour."""

    def extend(process: BrokerProcess, until_ms: int) -> None:
        process._take("tenure_extended", until_ms + 3_600_000)

    return _replaced(BrokerProcess, "tenure_extended", extend)


def _clear_what_was_only_sent() -> AbstractContextManager[None]:
    """Transfers: a message is gone from its queue before the target has it."""
    note_sent = transfers._Course.note_sent

    def sent_and_taken(course: transfers._Course, sequence: int, size: int) -> None:
        note_sent(course, sequence, size)
        course.note_taken(sequence)

    return _replaced(transfers._Course, "note_sent", sent_and_taken)


def _take_moves_again() -> AbstractContextManager[None]:
    """Transfers: a target takes what it has taken already."""
    judge = Producers.judge

    def judge_moves_new(producers: Producers, key: Key, sequence: int) -> Verdict:
        verdict = judge(producers, key, sequence)
        is_again = key[0].startswith(TRANSFER_PRODUCER) and verdict is Verdict.APPLIED
        return Verdict.NEW if is_again else verdict

    return _replaced(Producers, "judge", judge_moves_new)


def _let_keys_pass() -> AbstractContextManager[None]:
    """Keys: nobody waits for another message of the key."""
    return _replaced(KeyLines, "_block", lambda *_: None)


def _take_known_ids() -> AbstractContextManager[None]:
    """Ids: a second message with an id is taken."""
    return _replaced(message_ids, "_duplicates", lambda *_: [])


def _take_publishes_again() -> AbstractContextManager[None]:
    """Channels: what was published and is sent again is published again."""
    return _replaced(publishing, "is_new", lambda *_: True)


def _reuse_sequences() -> AbstractContextManager[None]:
    """Channels: a history in memory begins in each reign where the first one began."""
    return _replaced(SlotMachine, "transient_start", POSITIONS_PER_EPOCH)


def _trim_too_much() -> AbstractContextManager[None]:
    """Channels: the oldest of a history goes although it was asked to be kept."""
    return _replaced(History, "may_go", lambda history, *_: history.messages > 5)


def _bind_in_one_slot() -> AbstractContextManager[None]:
    """Bindings: a bind is confirmed when one of the slots has it."""
    return _replaced(BindingCarrier, "_slots_of", lambda *_: [0])


def _take_bound_publishes_again() -> AbstractContextManager[None]:
    """Bindings: what queues got already, and is sent again, they get again."""
    return _replaced(bound_publishing, "_is_new", lambda *_: True)


def _answer_for_another() -> AbstractContextManager[None]:
    """Calls: an answer is taken for whatever its worker was given first."""

    def held(session: Session, command: OfCall) -> tuple[Worker, Call]:
        worker = session.workers.get(command.worker)
        if worker is None or not worker.held:
            raise CallNotFound("it has nothing in hand")
        return worker, next(iter(worker.held.values()))

    return _replaced(service_handlers, "_held", held)


#: rule -> the context in which it is broken
MUTATIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "R2": _answer_before_the_sync,
    "R3": _commit_without_the_slowest,
    "R6": _forget_the_fence,
    "R7": _cut_at_the_watermark,
    "R9": _shrink_unconfirmed,
    "R10": _never_end_the_tenure,
    "clear after the confirm": _clear_what_was_only_sent,
    "a move is taken once": _take_moves_again,
    "one in flight of a key": _let_keys_pass,
    "an id keeps others out": _take_known_ids,
    "a publish is taken once": _take_publishes_again,
    "a sequence is of one message": _reuse_sequences,
    "a history is kept": _trim_too_much,
    "all slots have a binding": _bind_in_one_slot,
    "bound queues get it once": _take_bound_publishes_again,
    "an answer is of its own call": _answer_for_another,
}
