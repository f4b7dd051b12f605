"""Carries bindings of the queues that are served here to the slots of the channels they name.

    a change of a binding -- copy (version: reign and lsn of the change) --> each slot concerned
                          <-- ok: it is committed there --
    all of them have it                                        -> BindingsCarried

A pattern without wildcards concerns the slot of that channel, any other all slots.  What it knows
of copies under way is volatile: a new reign says all that is not known to be carried again, with
its own versions.  Law: a change is carried once it is committed, and never before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from broker.core.books.ledger import Ledger
from broker.core.channels.binding_work import GoneQueue
from broker.core.channels.carrying import give_up, note_carried
from broker.core.machine import SlotMachine
from broker.errors import LimitReached
from broker.limits import TRANSFER_RETRY
from broker.model.bindings import selector_of
from broker.model.commands import CopyBinding
from broker.model.patterns import is_plain
from broker.model.slots import slot_of
from broker.node.inner_client import InnerClient
from broker.node.replica import Replica
from broker.node.replicas import Replicas

#: A version is epoch u22 | lsn u40, so that a later reign's word is newer than any before it.
_EPOCH_SHIFT = 40
#: (queue number, pattern)
_JobKey = tuple[int, str]


class _Job:
    """One change of a binding: who is still to say that it has it."""

    __slots__ = ("lsn", "missing", "refused", "retry_at", "under_way")

    def __init__(self, lsn: int, slots: range | list[int]) -> None:
        self.lsn = lsn
        #: Slots; a dict for its order.
        self.missing = dict.fromkeys(slots)
        self.under_way: set[int] = set()
        self.retry_at = 0
        #: Why a slot does not take it for good.
        self.refused: LimitReached | None = None


class BindingCarrier:
    """``client`` asks the slots; ``may_act`` says whether a slot is served now."""

    def __init__(
        self,
        replicas: Replicas,
        active: dict[int, Replica],
        client: InnerClient,
        may_act: Callable[[Replica, int], bool],
    ) -> None:
        self._replicas = replicas
        self._active = active
        self._client = client
        self._may_act = may_act
        self._now = 0
        #: slot -> whose jobs these are, and the jobs
        self._jobs: dict[int, tuple[SlotMachine, dict[_JobKey, _Job]]] = {}
        #: slot -> when it is looked at again
        self._looks: dict[int, int] = {}

    def next_wake_at(self) -> int | None:
        return min(self._looks.values()) if self._looks else None

    def step(self, now: int) -> None:
        """Says what is with all, and tells the slots what is not."""
        self._now = now
        if not self._active and not self._looks:
            return
        slots = [slot for slot, replica in self._active.items() if replica.machine.binding_work]
        if self._looks:
            slots += [s for s, at in self._looks.items() if at <= now and s not in self._active]
        for slot in slots:
            self._looks.pop(slot, None)
            replica = self._replicas.find(slot)
            if replica is not None and replica.machine.is_serving:
                if self._may_act(replica, now):
                    self._go_on(replica)
                else:
                    self._look_at(slot, now + TRANSFER_RETRY)

    def _look_at(self, slot: int, at: int) -> None:
        self._looks[slot] = min(at, self._looks.get(slot, at))

    def _go_on(self, replica: Replica) -> None:
        machine = replica.machine
        machine.log.advance_time(self._now)
        work = machine.binding_work
        for gone in work.gone:
            self._take_back(machine, gone)
        work.gone.clear()
        jobs = self._jobs_of(machine)
        for number in list(work.queues):
            queue = machine.queues[number]
            finished: list[tuple[str, int]] = []
            for pattern, lsn in queue.ledger.uncarried.items():
                job = jobs.get((number, pattern))
                if job is None or job.lsn != lsn:
                    job = jobs[number, pattern] = _Job(lsn, self._slots_of(pattern))
                if not job.missing:
                    finished.append((pattern, lsn))
                elif job.refused is not None:
                    self._active[replica.slot] = replica
                    give_up(machine, queue, pattern, lsn, job.refused)
                    job.refused = None
                elif job.retry_at > self._now:
                    self._look_at(machine.slot, job.retry_at)
                else:
                    self._tell(machine, queue.ledger, pattern, job)
            if finished:
                self._finish(replica, number, finished)

    def _jobs_of(self, machine: SlotMachine) -> dict[_JobKey, _Job]:
        owner, jobs = self._jobs.get(machine.slot, (None, {}))
        if owner is not machine:
            jobs = {}
            self._jobs[machine.slot] = (machine, jobs)
        return jobs

    def _slots_of(self, pattern: str) -> range | list[int]:
        slots = self._replicas.slots
        return [slot_of(pattern, slots)] if is_plain(pattern) else range(slots)

    def _finish(self, replica: Replica, number: int, finished: list[tuple[str, int]]) -> None:
        machine = replica.machine
        self._active[replica.slot] = replica
        note_carried(machine, machine.queues[number], finished)
        # They are not looked at again before that is committed.
        del machine.binding_work.queues[number]

    # Telling

    def _tell(self, machine: SlotMachine, ledger: Ledger, pattern: str, job: _Job) -> None:
        terms = ledger.settings.bindings.get(pattern)
        for slot in job.missing:
            if slot not in job.under_way:
                job.under_way.add(slot)
                copy = _copy(machine, slot, (ledger.uuid, ledger.name), pattern, job.lsn)
                copy.is_gone = terms is None
                copy.selector = selector_of(terms) if terms is not None else None
                self._client.ask(copy, partial(self._hear, machine, ledger.number, job, slot))

    def _hear(
        self, machine: SlotMachine, number: int, job: _Job, slot: int, header: dict[str, Any]
    ) -> None:
        owner, _ = self._jobs.get(machine.slot, (None, {}))
        if owner is not machine:
            return
        job.under_way.discard(slot)
        if header["re"] == "ok":
            job.missing.pop(slot, None)
        elif header["error"] == LimitReached.name:
            job.refused = LimitReached(header["text"])
        else:
            machine.binding_work.errors[number] = f"{header['error']}: {header['text']}"
            job.retry_at = self._now + TRANSFER_RETRY
        if not job.under_way or job.retry_at > self._now:
            self._look_at(machine.slot, max(job.retry_at, self._now))

    def _take_back(self, machine: SlotMachine, gone: GoneQueue) -> None:
        """Tells the slots that the bindings of a deleted queue are no more; not again where that
        is lost."""
        for pattern in gone.patterns:
            for slot in self._slots_of(pattern):
                copy = _copy(machine, slot, (gone.uuid, gone.name), pattern, gone.lsn)
                copy.is_gone = True
                self._client.ask(copy, lambda _header: None)


def _copy(
    machine: SlotMachine, slot: int, queue: tuple[bytes, str], pattern: str, lsn: int
) -> CopyBinding:
    uuid, name = queue
    version = machine.log.epoch << _EPOCH_SHIFT | lsn
    return CopyBinding(slot=slot, queue=name, uuid=uuid, pattern=pattern, version=version)
