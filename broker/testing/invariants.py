"""What must hold at every step, judged from inside of every broker: I1 to I9.

It is asked after each turn of a node and looks only at what that turn changed.  A breach is told
with the number of its invariant; the run goes on, so that what follows from it is seen as well.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.cluster.ownership import SlotConfig
from broker.core.machine import SlotMachine
from broker.errors import DataDamaged
from broker.storage.memory_store import MemoryStore
from broker.testing import insides
from broker.testing.etcd_model import EtcdModel, Written
from broker.testing.process import BrokerProcess
from broker.testing.truth import TrueSlot


class _Copy:
    """What was last seen of one copy of a slot."""

    __slots__ = ("applied_lsn", "commit_lsn", "scanned_chain", "scanned_lsn", "settled_seen")

    def __init__(self) -> None:
        self.commit_lsn = 0
        self.applied_lsn = 0
        #: The rows up to here were looked at, the last of them with this checksum.
        self.scanned_lsn = 0
        self.scanned_chain = 0


class Invariants:
    def __init__(self, slots: int, breach: Callable[[str], None]) -> None:
        self.slots = {slot: TrueSlot() for slot in range(slots)}
        self._breach = breach
        #: (broker, boot, slot) -> what was seen; a restart begins anew from what is on disk
        self._copies: dict[tuple[str, int, int], _Copy] = {}
        #: (slot, epoch) -> the broker that was seen to serve it
        self._reigns: dict[tuple[int, int], str] = {}
        self._epochs: dict[str, int] = {}

    # A node's turn

    def look(self, process: BrokerProcess) -> None:
        node = process.node
        assert node is not None
        store = process.disk.store
        for facts in insides.copies(node):
            key = (process.name, process.boots, facts.slot)
            copy = self._copies.get(key)
            if copy is None:
                copy = self._copies[key] = _Copy()
            if facts.last_lsn != copy.scanned_lsn or facts.commit_lsn != copy.commit_lsn:
                self._look_at_log(process.name, store, facts, copy)
        for facts in insides.primaries(node):
            self._look_at_reign(process.name, facts)
            self._look_at_leases(process.name, facts.slot, facts.machine)

    def _look_at_log(
        self, name: str, store: MemoryStore, facts: insides.LogFacts, copy: _Copy
    ) -> None:
        instance = insides.instance_of(store, facts.slot)
        if instance is None:
            return
        where = f"{name} slot {facts.slot}"
        if facts.commit_lsn < copy.commit_lsn:
            self._breach(f"I4: {where}: commit fell from {copy.commit_lsn} to {facts.commit_lsn}")
        if facts.applied_lsn < copy.applied_lsn:
            self._breach(f"I4: {where}: applied fell from {copy.applied_lsn}")
        if facts.applied_lsn > facts.commit_lsn:
            self._breach(f"I7: {where}: applied {facts.applied_lsn} above {facts.commit_lsn}")
        self._scan(where, store, instance, facts, copy)
        self._learn_commits(where, store, instance, facts)
        copy.commit_lsn, copy.applied_lsn = facts.commit_lsn, facts.applied_lsn

    def _scan(
        self, where: str, store: MemoryStore, instance: int, facts: insides.LogFacts, copy: _Copy
    ) -> None:
        """I2: one place in one epoch holds one entry, on every broker."""
        slot = self.slots[facts.slot]
        row = insides.log_row(store, instance, copy.scanned_lsn)
        if row is None or insides.chain_of(row) != copy.scanned_chain:
            copy.scanned_lsn = min(copy.commit_lsn, facts.last_lsn)
        for lsn in range(copy.scanned_lsn + 1, facts.last_lsn + 1):
            row = insides.log_row(store, instance, lsn)
            if row is None:
                continue
            place, chain = (lsn, insides.epoch_of(row)), insides.chain_of(row)
            if slot.seen.setdefault(place, chain) != chain:
                self._breach(f"I2: {where}: another entry at {lsn} of epoch {place[1]}")
            copy.scanned_lsn, copy.scanned_chain = lsn, chain

    def _learn_commits(
        self, where: str, store: MemoryStore, instance: int, facts: insides.LogFacts
    ) -> None:
        slot = self.slots[facts.slot]
        while slot.commit_lsn < facts.commit_lsn:
            row = insides.log_row(store, instance, slot.commit_lsn + 1)
            if row is None:
                self._breach(f"I3: {where}: entry {slot.commit_lsn + 1} is committed and missing")
                return
            try:
                slot.commit(row)
            except DataDamaged as error:
                self._breach(f"I2: {where}: what is committed changed: {error.text}")
                return
        row = insides.log_row(store, instance, facts.commit_lsn)
        if row is not None and insides.chain_of(row) != slot.chains[facts.commit_lsn - 1]:
            self._breach(f"I2: {where}: another entry is committed at {facts.commit_lsn}")

    def _look_at_reign(self, name: str, facts: insides.LogFacts) -> None:
        reign = (facts.slot, facts.epoch)
        owner = self._reigns.setdefault(reign, name)
        if owner != name:
            self._breach(f"I1: {owner} and {name} reign in epoch {reign[1]} of slot {reign[0]}")

    def _look_at_leases(self, name: str, number: int, machine: SlotMachine) -> None:
        """I6, and nothing is handed out after its settle was committed."""
        slot = self.slots[number]
        for queue in machine.queues.values():
            if not queue.leases.messages:
                continue
            true = slot.queues.get(queue.ledger.number)
            for first, count, _ in queue.leases.ranges:
                where = f"{name} slot {number}: {queue.name} {first}+{count}"
                if true is None or first + count > true.next_position:
                    self._breach(f"I6: {where} is delivered and not committed")
                elif true.is_settled(first, count):
                    self._breach(f"I5: {where} is delivered after its committed settle")

    # Confirms

    def confirmed(self, number: int, epoch: int, queue: str, first: int, count: int) -> None:
        """I5: a producer was told that its put is committed."""
        true = self.slots[number].find(queue)
        if true is None or true.next_position < first + count:
            self._breach(f"I5: {queue} {first}+{count} is confirmed and not committed")

    # Crashes and the coordinator

    def crashed(self, process: BrokerProcess, etcd: EtcdModel | None) -> None:
        """I3 of what is left on the disk."""
        for slot, instance in insides.instances(process.disk.store).items():
            row = etcd.get(f"/sim/slots/{slot}") if etcd is not None else None
            config = row.value if row is not None else None
            if isinstance(config, SlotConfig) and process.name not in config.isr + config.elr:
                continue
            self._require_committed(process, slot, instance)

    def _require_committed(self, process: BrokerProcess, number: int, instance: int) -> None:
        slot, store = self.slots[number], process.disk.store
        lsn = slot.commit_lsn
        if lsn == 0:
            return
        row = insides.log_row(store, instance, lsn)
        if row is not None:
            if insides.chain_of(row) != slot.chains[lsn - 1]:
                self._breach(f"I3: {process.name} slot {number} has another entry at {lsn}")
        elif insides.meta_of(store, instance).get("applied_lsn", 0) < lsn:
            self._breach(f"I3: {process.name} slot {number} lacks the committed entry {lsn}")

    def coordinated(self, written: Written) -> None:
        """I1: the epoch of a slot only rises."""
        config = written.value
        if not isinstance(config, SlotConfig):
            return
        before = self._epochs.get(written.key, 0)
        if config.epoch < before:
            self._breach(f"I1: the epoch of {written.key} fell from {before} to {config.epoch}")
        self._epochs[written.key] = config.epoch

    # Quiet

    def require_equal(self, processes: list[BrokerProcess]) -> None:
        """Every copy holds the committed log to its end, and its state is the log's sum."""
        for process in processes:
            assert process.node is not None
            for facts in insides.copies(process.node):
                where = f"{process.name} slot {facts.slot}"
                slot = self.slots[facts.slot]
                if facts.applied_lsn != slot.commit_lsn:
                    self._breach(f"quiet: {where} applied {facts.applied_lsn}/{slot.commit_lsn}")
                    continue
                self._require_sum(where, slot, facts.machine)

    def _require_sum(self, where: str, slot: TrueSlot, machine: SlotMachine) -> None:
        """I7: state = fold(committed log)."""
        if sorted(machine.queues) != sorted(slot.queues):
            self._breach(f"I7: {where} has queues {sorted(machine.queues)}")
            return
        for number, true in slot.queues.items():
            ledger = machine.queues[number].ledger
            live = sum(c for _, c in ledger.settled.live_ranges(0, ledger.next_position))
            told = (ledger.next_position, ledger.messages, live)
            if told != (true.next_position, true.waiting, true.waiting):
                self._breach(f"I7: {where}: {true.name} is {told}")
