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
from broker.testing.coordinator_client import PREFIX
from broker.testing.etcd_model import Written
from broker.testing.process import BrokerProcess
from broker.testing.truth import TrueSlot


class _Seen:
    """What was last seen of one copy of a slot, in one life of its process."""

    __slots__ = (
        "applied_lsn",
        "commit_lsn",
        "last_lsn",
        "promised_epoch",
        "scanned_chain",
        "scanned_lsn",
    )

    def __init__(self) -> None:
        self.last_lsn = 0
        self.commit_lsn = 0
        self.applied_lsn = 0
        self.promised_epoch = 0
        #: The rows up to here were looked at, the last of them with this checksum.
        self.scanned_lsn = 0
        self.scanned_chain = 0


class Invariants:
    def __init__(self, slots: int, breach: Callable[[str], None]) -> None:
        self.slots = {slot: TrueSlot() for slot in range(slots)}
        self._breach = breach
        #: (broker, boot, slot) -> what was seen; a restart begins anew from what is on disk
        self._seen: dict[tuple[str, int, int], _Seen] = {}
        #: (slot, epoch) -> the broker that was seen to serve it
        self._reigns: dict[tuple[int, int], str] = {}
        #: key of a slot -> its config as it was last written
        self._configs: dict[str, SlotConfig] = {}
        #: (broker, boot, slot, epoch) -> deliveries of a reign that is over
        self._late: dict[tuple[str, int, int, int], int] = {}

    # A node's turn

    def look(self, process: BrokerProcess) -> None:
        node = process.node
        assert node is not None
        for copy in insides.copies(node):
            key = (process.name, process.boots, copy.slot)
            seen = self._seen.get(key)
            if seen is None:
                seen = self._seen[key] = _Seen()
            if copy.last_lsn != seen.scanned_lsn or copy.commit_lsn != seen.commit_lsn:
                self._look_at_log(process, copy, seen)
            if copy.reigns:
                self._look_at_reign(process, copy)
                if copy.serves:
                    self._look_at_leases(process, copy)

    def _look_at_log(self, process: BrokerProcess, copy: insides.Copy, seen: _Seen) -> None:
        name, store = process.name, process.disk.store
        where = f"{name} slot {copy.slot}"
        for what in ("commit_lsn", "applied_lsn", "promised_epoch"):
            before, now = getattr(seen, what), getattr(copy, what)
            if now < before:
                self._breach(f"I4: {where}: {what} fell from {before} to {now}")
            setattr(seen, what, now)
        if copy.applied_lsn > copy.commit_lsn:
            self._breach(f"I7: {where}: applied {copy.applied_lsn} above {copy.commit_lsn}")
        is_cut = copy.last_lsn < min(seen.last_lsn, self.slots[copy.slot].commit_lsn)
        if is_cut and self._is_counted_on(name, copy.slot):
            self._breach(f"I3: {where}: committed entries were cut down to {copy.last_lsn}")
        seen.last_lsn = copy.last_lsn
        if process.disk.is_damaged:
            # A damaged row says nothing of what was written there; others tell what was.
            seen.scanned_lsn = copy.last_lsn
        else:
            self._scan(where, store, copy, seen)
        self._learn_commits(process, where, copy)

    def _scan(self, where: str, store: MemoryStore, copy: insides.Copy, seen: _Seen) -> None:
        """I2: one place in one epoch holds one entry, on every broker."""
        slot = self.slots[copy.slot]
        row = insides.log_row(store, copy.instance, seen.scanned_lsn)
        if row is None or insides.chain_of(row) != seen.scanned_chain:
            seen.scanned_lsn = min(seen.commit_lsn, copy.last_lsn)
        for lsn in range(seen.scanned_lsn + 1, copy.last_lsn + 1):
            row = insides.log_row(store, copy.instance, lsn)
            if row is None:
                continue
            place, chain = (lsn, insides.epoch_of(row)), insides.chain_of(row)
            if slot.seen.setdefault(place, chain) != chain:
                self._breach(f"I2: {where}: another entry at {lsn} of epoch {place[1]}")
            seen.scanned_lsn, seen.scanned_chain = lsn, chain
        seen.scanned_lsn = copy.last_lsn

    def _learn_commits(self, process: BrokerProcess, where: str, copy: insides.Copy) -> None:
        slot, store = self.slots[copy.slot], process.disk.store
        while slot.commit_lsn < copy.commit_lsn:
            row = insides.log_row(store, copy.instance, slot.commit_lsn + 1)
            if row is None:
                self._breach(f"I3: {where}: entry {slot.commit_lsn + 1} is committed and missing")
                return
            try:
                slot.commit(row)
            except DataDamaged as error:
                if not process.disk.is_damaged:
                    self._breach(f"I2: {where}: what is committed changed: {error.text}")
                return
        row = insides.log_row(store, copy.instance, copy.commit_lsn)
        is_other = row is not None and insides.chain_of(row) != slot.chains[copy.commit_lsn - 1]
        if is_other and not process.disk.is_damaged:
            self._breach(f"I2: {where}: another entry is committed at {copy.commit_lsn}")

    def _look_at_reign(self, process: BrokerProcess, copy: insides.Copy) -> None:
        name, reign = process.name, (copy.slot, copy.epoch)
        owner = self._reigns.setdefault(reign, name)
        if owner != name:
            self._breach(f"I1: {owner} and {name} reign in epoch {reign[1]} of slot {reign[0]}")
        config = self._configs.get(f"{PREFIX}/slots/{copy.slot}")
        effective = insides.effective_isr(process.node, copy.slot) if process.node else None
        if config is None or effective is None or config.epoch != effective[0]:
            return
        if missing := [broker for broker in config.isr if broker not in effective[1]]:
            self._breach(f"I8: {name} slot {copy.slot} does not wait for {missing}")

    def _look_at_leases(self, process: BrokerProcess, copy: insides.Copy) -> None:
        """I6, and nothing is handed out after its settle was committed, or its reign ended."""
        slot = self.slots[copy.slot]
        if slot.epochs and copy.epoch < slot.epochs[-1]:
            self._look_at_late_deliveries(process, copy)
            return
        for queue in copy.machine.queues.values():
            if not queue.leases.messages:
                continue
            true = slot.queues.get(queue.ledger.number)
            if true is not None and not true.is_durable:
                continue
            for first, count, lease in queue.leases.ranges:
                where = f"{process.name} slot {copy.slot}: {queue.name} {first}+{count}"
                if true is None or first + count > true.next_position:
                    self._breach(f"I6: {where} is delivered and not committed")
                elif true.is_settled(first, count):
                    self._breach(f"I5: {where} is delivered after its committed settle")
                elif true.attempts.get(first, 0) > lease.portion.attempts:
                    self._breach(f"I5: {where} is delivered and forgets that it failed")

    def _look_at_late_deliveries(self, process: BrokerProcess, copy: insides.Copy) -> None:
        """R10: a successor has committed something, so this broker's tenure is over."""
        key = (process.name, process.boots, copy.slot, copy.epoch)
        queues = copy.machine.queues.values()
        delivered = sum(queue.counters.delivered for queue in queues)
        if delivered > self._late.setdefault(key, delivered):
            self._breach(f"R10: {process.name} slot {copy.slot} delivers after its reign")
            self._late[key] = delivered

    # Confirms

    def confirmed(self, number: int, epoch: int, queue: str, first: int, count: int) -> None:
        """I5: a producer was told that its put is committed."""
        true = self.slots[number].find(queue)
        if true is not None and not true.is_durable:
            return
        if true is None or true.next_position < first + count:
            self._breach(f"I5: {queue} {first}+{count} is confirmed and not committed")

    # Crashes and the coordinator

    def crashed(self, process: BrokerProcess) -> None:
        """I3 of what is left on the disk, if its broker is counted on."""
        for slot, instance in insides.instances(process.disk.store).items():
            if self._is_counted_on(process.name, slot):
                self._require_committed(process, slot, instance)

    def _is_counted_on(self, name: str, slot: int) -> bool:
        """True for a broker that must hold every committed entry of the slot."""
        config = self._configs.get(f"{PREFIX}/slots/{slot}")
        return config is None or name in (*config.isr, *config.elr)

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
        before = self._configs.get(written.key)
        if before is not None and config.epoch < before.epoch:
            self._breach(f"I1: the epoch of {written.key} fell to {config.epoch}")
        self._configs[written.key] = config

    # Quiet

    def behind(self, processes: list[BrokerProcess]) -> str:
        """Which copy has not applied all that is committed."""
        for process in processes:
            for copy in insides.copies(process.node) if process.node is not None else ():
                committed = self.slots[copy.slot].commit_lsn
                if copy.applied_lsn < committed and self._is_replica(process, copy.slot):
                    return f"{process.name} slot {copy.slot} is at {copy.applied_lsn}/{committed}"
        return ""

    def _is_replica(self, process: BrokerProcess, slot: int) -> bool:
        """A broker that is alone has every slot; another may keep a copy that counts no more."""
        config = self._configs.get(f"{PREFIX}/slots/{slot}")
        return config is None or config.incarnation_of(process.name) == process.incarnation

    def require_equal(self, processes: list[BrokerProcess]) -> None:
        """Every copy holds the committed log to its end, and its state is the log's sum."""
        for process in processes:
            assert process.node is not None
            for copy in insides.copies(process.node):
                if not self._is_replica(process, copy.slot):
                    continue
                where = f"{process.name} slot {copy.slot}"
                slot = self.slots[copy.slot]
                if copy.applied_lsn != slot.commit_lsn:
                    self._breach(f"quiet: {where} applied {copy.applied_lsn}/{slot.commit_lsn}")
                    continue
                self._require_sum(where, slot, copy.machine)

    def _require_sum(self, where: str, slot: TrueSlot, machine: SlotMachine) -> None:
        """I7: state = fold(committed log)."""
        if sorted(machine.queues) != sorted(slot.queues):
            self._breach(f"I7: {where} has queues {sorted(machine.queues)}")
            return
        for number, true in slot.queues.items():
            if not true.is_durable:
                continue
            ledger = machine.queues[number].ledger
            live = sum(c for _, c in ledger.settled.live_ranges(0, ledger.next_position))
            told = (ledger.next_position, ledger.messages, live)
            if told != (true.next_position, true.waiting, true.waiting):
                self._breach(f"I7: {where}: {true.name} is {told}")
