"""One slot on this broker: its log, state and rows, and what this broker is to it.

A replica follows, until the ownership map names it primary; then it reigns.  A broker that is alone
reigns from the start.

    follow:  prepare -> judge -> (cut) -> write -> sync -> prepared
    reign:   promise and epoch_start written -> sync -> sent to the others -> committed -> serve

Rules (docs/replication.md): R1, R2, R6, R7.  Law: what is told to others as durable is.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

from broker.cluster.follower import Refuse, judge_prepare
from broker.cluster.messages import Message, Prepare, Prepared, Refusal, Refused
from broker.cluster.primary import Primary, Progress
from broker.cluster.slot_log import SlotLog
from broker.cluster.view import Owned
from broker.core.applying import apply_committed
from broker.core.machine import SlotMachine
from broker.core.reign import begin_reign
from broker.core.sweeping import maybe_trim
from broker.core.transient.transient_turns import apply_transient
from broker.core.turns import expire_producers, seal, serve, tick
from broker.errors import DataDamaged
from broker.limits import (
    CHECKPOINT_DIRTY,
    MINUTE,
    PREPARE_BYTES_MAX,
    REPLICA_HEARTBEAT,
    REPLICA_TAIL_BYTES,
)
from broker.model.entries import EpochStart, Trimmed
from broker.node.settings import NodeSettings
from broker.storage.records import epoch_of_row, is_put_row
from broker.storage.slot_store import SlotStore, WrittenRow
from broker.storage.store import WriteOps


class Mark(NamedTuple):
    """What a sync makes durable of a replica: its log up to ``lsn``, as it was after so many cuts,
    and a promise."""

    cuts: int
    lsn: int
    promised_epoch: int


class Replica:
    __slots__ = (
        "changed",
        "checkpointed_at",
        "cuts",
        "durable_promise",
        "following",
        "machine",
        "owes_answer",
        "primary",
        "producers_at",
        "slot",
        "store",
        "tail",
        "tail_bytes",
        "told",
        "verified_lsn",
    )

    def __init__(self, machine: SlotMachine, store: SlotStore) -> None:
        self.slot = machine.slot
        self.machine = machine
        self.store = store
        #: This broker's reign over the slot, if it has one.
        self.primary: Primary | None = None
        #: (broker, epoch) of the primary whose entries were taken last.
        self.following: tuple[str, int] = ("", 0)
        #: The log is that primary's up to here.
        self.verified_lsn = 0
        #: True when the primary waits for a word of what is here.
        self.owes_answer = False
        #: (received, durable) as it was told last.
        self.told = (-1, -1)
        #: The promise that is on the disk.
        self.durable_promise = store.promised_epoch
        #: How often entries were taken back: what a sync makes durable may be gone meanwhile.
        self.cuts = 0
        #: The newest rows, for the followers.
        self.tail: deque[WrittenRow] = deque()
        self.tail_bytes = 0
        self.checkpointed_at = machine.now
        self.producers_at = machine.now
        #: True when something was applied since the last checkpoint.
        self.changed = False

    @property
    def log(self) -> SlotLog:
        return self.machine.log

    # Reigning

    def start_reign(self, ops: WriteOps, me: str, owned: Owned, min_isr: int, now: int) -> None:
        """R6: the promise is written with the reign's first entry; nothing of it is sent before
        both are durable."""
        epoch = owned.config.epoch
        assert self.primary is None
        assert epoch > self.store.promised_epoch
        self.store.promise(ops, epoch)
        log = self.log
        log.epoch = epoch
        log.advance_time(now)
        lsn = log.propose(EpochStart(epoch))
        self.primary = Primary(me, owned, min_isr, lsn, now)

    def reign_alone(self, me: str, owned: Owned) -> None:
        """The reign of a broker that is alone: all that is on disk is committed, and it serves at
        once."""
        self.log.epoch = owned.config.epoch
        lsn = self.log.propose(EpochStart(owned.config.epoch))
        begin_reign(self.machine)
        self.primary = Primary(me, owned, 1, lsn, self.machine.now)
        self.primary.is_serving = True

    def replace_state(self, machine: SlotMachine, store: SlotStore) -> None:
        """A step down: all that was volatile is gone, the disk's state stands."""
        durable = min(self.log.durable_lsn, machine.log.last_lsn)
        machine.log.durable_lsn = durable
        machine.log.commit(min(self.log.commit_lsn, machine.log.last_lsn))
        machine.alarm = self.machine.alarm
        self.machine, self.store = machine, store
        apply_committed(machine)
        self.primary = None
        self.following = ("", 0)
        self.verified_lsn = 0
        self.owes_answer = False
        self.told = (-1, -1)
        self.tail.clear()
        self.tail_bytes = 0
        self.checkpointed_at = self.producers_at = machine.now
        self.changed = True

    def mark(self, lsn: int) -> Mark:
        """What the turn's sync will make durable."""
        return Mark(self.cuts, lsn, self.store.promised_epoch)

    def become_durable(self, mark: Mark) -> None:
        if mark.cuts == self.cuts:
            self.log.become_durable(mark.lsn)
        self.durable_promise = max(self.durable_promise, mark.promised_epoch)
        self.commit_what_is_held()

    @property
    def needs_sync(self) -> bool:
        """True while something that was written for a primary is not known to be durable."""
        log = self.log
        return log.durable_lsn < log.last_lsn or self.durable_promise < self.store.promised_epoch

    def commit_what_is_held(self) -> None:
        """R3, for a primary; then what is committed is applied, and a reign may begin to serve."""
        primary, log = self.primary, self.log
        if primary is not None:
            lsn = primary.commit_lsn(log.durable_lsn)
            if lsn > log.commit_lsn:
                log.commit(lsn)
                self.machine.copies = len(primary.config.isr)
        if log.applied_lsn < log.commit_lsn:
            apply_committed(self.machine)
            self.changed = True
        if primary is not None and not primary.is_serving and log.applied_lsn >= primary.start_lsn:
            primary.is_serving = True
            begin_reign(self.machine)

    # Following

    def take_prepare(
        self, ops: WriteOps, message: Prepare, sender: str, incarnation: str, now: int
    ) -> Message | None:
        """Takes entries of the primary; the answer, unless it follows the sync.

        The caller has made sure that this broker does not reign in this epoch or a later one.
        """
        store, log = self.store, self.log
        assert self.primary is None
        if message.epoch < store.promised_epoch:
            return self._refused(message, incarnation, Refusal.STALE_EPOCH, store.promised_epoch)
        if message.epoch > store.promised_epoch:
            store.promise(ops, message.epoch)
        if self.following != (sender, message.epoch):
            self.following = (sender, message.epoch)
            self.verified_lsn = 0
            self.told = (-1, -1)
        try:
            epochs = [epoch_of_row(row) for row in message.rows]
        except DataDamaged:
            return self._refused(message, incarnation, Refusal.SUSPECT, log.last_lsn)
        verdict = judge_prepare(log, message.prev_lsn, message.prev_epoch, epochs)
        if isinstance(verdict, Refuse):
            return self._refused(message, incarnation, verdict.reason, verdict.known)
        log.advance_time(now)
        skipped = sum(is_put_row(row) for row in message.rows[: verdict.skip])
        try:
            if verdict.cut_to is not None:
                # Nothing is taken out of the log before it is sure that something follows.
                first = message.rows[verdict.skip]
                store.require_continuation(self.machine, verdict.cut_to, first)
                store.cut(ops, self.machine, verdict.cut_to)
                self.cuts += 1
            store.write_received(
                ops, self.machine, message.rows[verdict.skip :], message.raw[skipped:]
            )
        except DataDamaged:
            return self._refused(message, incarnation, Refusal.SUSPECT, log.last_lsn)
        self.verified_lsn = max(self.verified_lsn, message.prev_lsn + len(message.rows))
        commit_lsn = min(message.commit_lsn, self.verified_lsn)
        if commit_lsn > log.commit_lsn:
            log.commit(commit_lsn)
            apply_committed(self.machine)
            self.changed = True
        self.owes_answer = True
        return None

    def _refused(self, message: Prepare, incarnation: str, reason: Refusal, known: int) -> Refused:
        return Refused(self.slot, message.epoch, incarnation, reason, known)

    def follow_copy(self, broker: str, epoch: int) -> None:
        """The slot was copied from its primary; not durable before the next sync."""
        self.following = (broker, epoch)
        self.verified_lsn = self.log.last_lsn
        self.log.durable_lsn = 0
        self.cuts += 1

    def take_answer(self, incarnation: str) -> tuple[str, Prepared] | None:
        """What the primary is to be told of this log (R2), if it is time."""
        broker, epoch = self.following
        if not broker or self.primary is not None or self.durable_promise < epoch:
            return None
        received = self.verified_lsn
        durable = min(received, self.log.durable_lsn)
        is_news = durable > self.told[1]
        if not is_news and not (self.owes_answer and durable == received):
            # The sync that is on its way will answer; meanwhile the primary waits.
            return None
        self.owes_answer = False
        self.told = (received, durable)
        return broker, Prepared(self.slot, epoch, incarnation, received, durable)

    # Turns

    def turn(self, ops: WriteOps, settings: NodeSettings, now: int, may_act: bool) -> int | None:
        """What the slot does in a turn; gives the last lsn written, if anything was."""
        machine = self.machine
        machine.log.advance_time(now)
        if self._outruns_checkpoint():
            self.checkpoint(ops)
        if machine.is_serving:
            if may_act:
                tick(machine)
                apply_transient(machine)
                serve(machine)
            self.keep_up(ops, settings, may_act)
            seal(machine)
            apply_transient(machine)
        elif self._is_checkpoint_due(settings):
            self.checkpoint(ops)
        self.store.write_effects(ops, machine)
        primary = self.primary
        if primary is None:
            return None
        if not primary.followers:
            return self.store.write_entries(ops, machine)
        written: list[WrittenRow] = []
        lsn = self.store.write_entries(ops, machine, written)
        self._keep_tail(written)
        return lsn

    def _keep_tail(self, written: list[WrittenRow]) -> None:
        for row in written:
            self.tail.append(row)
            self.tail_bytes += len(row.row) + len(row.body or b"")
        while self.tail and self.tail_bytes > REPLICA_TAIL_BYTES:
            row = self.tail.popleft()
            self.tail_bytes -= len(row.row) + len(row.body or b"")

    def keep_up(self, ops: WriteOps, settings: NodeSettings, may_act: bool) -> None:
        """Checkpoint, trim and end idle producers when it is time."""
        machine = self.machine
        if self._is_checkpoint_due(settings):
            lsn = self.checkpoint(ops)
            if may_act:
                assert self.primary is not None
                held = self.primary.least_durable(machine.now)
                maybe_trim(machine, lsn if held is None else min(lsn, held))
        if may_act and machine.now - self.producers_at >= MINUTE:
            self.producers_at = machine.now
            expire_producers(machine)

    def _is_checkpoint_due(self, settings: NodeSettings) -> bool:
        store = self.store
        return (
            store.bytes_since_checkpoint >= settings.checkpoint_bytes
            or store.entries_since_checkpoint >= settings.checkpoint_entries
            or (self.changed and self.machine.now - self.checkpointed_at >= CHECKPOINT_DIRTY)
        )

    def _outruns_checkpoint(self) -> bool:
        """A trim takes log rows away: the checkpoint that makes them needless goes with it, where
        it was written by another broker, or was lost with the power."""
        return any(
            isinstance(effect, Trimmed) and effect.to_lsn > self.store.checkpoint_lsn
            for effect in self.machine.disk_effects
        )

    def checkpoint(self, ops: WriteOps) -> int:
        self.checkpointed_at = self.machine.now
        self.changed = False
        # A checkpoint stands for all that was applied, so its effects go with it.
        self.store.write_effects(ops, self.machine)
        return self.store.write_checkpoint(ops, self.machine)

    def next_wake_at(self, may_act: bool) -> int | None:
        """Instants that pass while it may not act are made up for when it may again."""
        instants = [self.checkpointed_at + CHECKPOINT_DIRTY] if self.changed else []
        if self.machine.is_serving and may_act:
            at = self.machine.next_wake_at()
            if at is not None:
                instants.append(at)
        return min(instants, default=None)

    # Sending to followers

    def prepares(self, now: int) -> list[tuple[str, Message]]:
        """What the followers are to be sent now: (broker, prepare)."""
        primary, log = self.primary, self.log
        # R6: nothing of a reign leaves before its promise is durable.
        if primary is None or not primary.followers or log.durable_lsn < primary.start_lsn:
            return []
        sends: list[tuple[str, Message]] = []
        for progress in primary.followers.values():
            primary.repeat_lost(progress, now)
            if not primary.may_send(progress, now):
                continue
            is_due = now - progress.sent_at >= REPLICA_HEARTBEAT
            while progress.next_lsn <= log.last_lsn or is_due:
                message, size = self._prepare(primary, progress)
                if message is None:
                    break
                sends.append((progress.broker, message))
                progress.note_sent(message.prev_lsn + len(message.rows), size, now)
                is_due = False
                if progress.is_probing or not progress.has_room:
                    break
        return sends

    def is_beyond_log(self, progress: Progress) -> bool:
        """True for a follower that only a copy of the slot brings up to date."""
        prev_lsn = progress.next_lsn - 1
        return prev_lsn < self.store.trim_lsn or self.log.epochs.at(prev_lsn) is None

    def _prepare(self, primary: Primary, progress: Progress) -> tuple[Prepare | None, int]:
        """None for a follower that is so far behind that only a snapshot helps."""
        if self.is_beyond_log(progress):
            return None, 0
        log = self.log
        prev_lsn = progress.next_lsn - 1
        prev_epoch = log.epochs.at(prev_lsn)
        assert prev_epoch is not None
        rows = self._rows_from(progress.next_lsn)
        size = sum(len(row.row) + len(row.body or b"") for row in rows)
        message = Prepare(
            self.slot,
            primary.epoch,
            progress.incarnation,
            prev_lsn,
            prev_epoch,
            log.commit_lsn,
            [row.row for row in rows],
            [row.body for row in rows if row.body is not None],
        )
        return message, size

    def _rows_from(self, lsn: int) -> list[WrittenRow]:
        """The written rows from ``lsn`` on, one multipart's worth."""
        last_lsn = self.log.last_lsn
        if lsn > last_lsn:
            return []
        if not self.tail or self.tail[0].lsn > lsn:
            end = self.tail[0].lsn - 1 if self.tail else last_lsn
            found = self.store.read_entries(lsn, end, PREPARE_BYTES_MAX)
            assert found[0].lsn == lsn, "what is not trimmed is there"
            return found
        rows: list[WrittenRow] = []
        size = 0
        for row in islice(self.tail, lsn - self.tail[0].lsn, None):
            rows.append(row)
            size += len(row.row) + len(row.body or b"")
            if size >= PREPARE_BYTES_MAX:
                break
        return rows
