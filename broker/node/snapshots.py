"""A slot copied whole to a replica that the log cannot bring up to date any more.

    primary                                  learner
    checkpoint at S
    state rows, bodies, indexes  -- part -->  a fresh instance, marked as partial
                                <-- taken --
    ...
                                 -- last -->  slot -> fresh instance, the old one erased: one batch
    entries from S + 1           -- prepare ->

Puts go on meanwhile.  The state rows are those of S; bodies and index rows are read as they are at
that moment, which the log makes good: entries above S write them again or erase them again.  Only
bodies below S's next positions are sent, so that no batch comes without its entry.

Law: one part at a time is under way to a learner, and a broken copy is thrown away whole.
"""

from __future__ import annotations

import msgpack

from broker.cluster.messages import SnapshotPart, SnapshotTaken
from broker.cluster.ownership import ReplicaId
from broker.cluster.primary import Progress
from broker.limits import REPLICA_RETRY, SNAPSHOT_PART_BYTES, SNAPSHOTS_AT_ONCE_MAX
from broker.node.peers import Peers
from broker.node.replica import Replica
from broker.node.replicas import Replicas, erase_instance
from broker.storage import keys
from broker.storage.store import Family, Store, WriteOps

_ROWS = 1_000
_INSTANCE_BYTES = 4
#: Said by a learner that does not know the copy of which a part came.
_UNKNOWN_PART = -1


class _Sending:
    """A copy on its way: where the next part begins, and the part that waits for its word."""

    __slots__ = (
        "cursor",
        "lsn",
        "lsn_epoch",
        "next_positions",
        "part",
        "sent_at",
        "state_rows",
        "waiting",
    )

    def __init__(
        self,
        lsn: int,
        lsn_epoch: int,
        state_rows: list[tuple[int, bytes, bytes]],
        next_positions: dict[int, int],
    ) -> None:
        self.lsn = lsn
        self.lsn_epoch = lsn_epoch
        self.state_rows = state_rows
        self.next_positions = next_positions
        self.part = 0
        self.cursor: tuple[int, bytes] | None = (0, b"")
        self.waiting: SnapshotPart | None = None
        self.sent_at = 0


class _Taking:
    __slots__ = ("epoch", "expected", "instance", "lsn")

    def __init__(self, instance: int, lsn: int, epoch: int) -> None:
        self.instance = instance
        self.lsn = lsn
        self.epoch = epoch
        self.expected = 0


class Snapshots:
    def __init__(self, store: Store, replicas: Replicas, peers: Peers, me: ReplicaId) -> None:
        self._store = store
        self._replicas = replicas
        self._peers = peers
        self._me = me
        #: (slot, broker, its incarnation, epoch) -> copy
        self._sending: dict[tuple[int, str, str, int], _Sending] = {}
        self._taking: dict[int, _Taking] = {}

    # Sending

    def go_on(self, replica: Replica, now: int) -> None:
        """Sends what is due of the copies of a slot in which this broker reigns."""
        primary = replica.primary
        assert primary is not None
        for progress in primary.followers.values():
            key = (replica.slot, progress.broker, progress.incarnation, primary.epoch)
            sending = self._sending.get(key)
            if sending is not None and not replica.is_beyond_log(progress):
                # The log has brought it up to date meanwhile.
                del self._sending[key]
                continue
            if sending is None:
                if not self._is_needed(replica, progress, now):
                    continue
                sending = self._sending[key] = self._begin(replica)
            if sending.waiting is None:
                sending.waiting = self._next_part(replica, progress, sending)
            elif now - sending.sent_at < REPLICA_RETRY:
                continue
            sending.sent_at = now
            self._peers.post(progress.broker, sending.waiting)

    def _is_needed(self, replica: Replica, progress: Progress, now: int) -> bool:
        primary = replica.primary
        assert primary is not None
        # As with entries, nothing of a reign leaves before its promise is durable.  Whether it
        # serves is another matter: it may need this very replica to commit its first entry.
        if replica.log.durable_lsn < primary.start_lsn or not replica.is_beyond_log(progress):
            return False
        self._forget_ended(now)
        return len(self._sending) < SNAPSHOTS_AT_ONCE_MAX and self._peers.is_up(
            progress.broker, now
        )

    def _forget_ended(self, now: int) -> None:
        """Copies of reigns that are over, to brokers that are gone, or that hold no copy or
        another one."""
        for key in list(self._sending):
            slot, broker, incarnation, epoch = key
            replica = self._replicas.find(slot)
            primary = replica.primary if replica is not None else None
            progress = primary.followers.get(broker) if primary is not None else None
            if (
                primary is None
                or primary.epoch != epoch
                or progress is None
                or progress.incarnation != incarnation
                or not self._peers.is_up(broker, now)
            ):
                del self._sending[key]

    def _begin(self, replica: Replica) -> _Sending:
        ops = WriteOps()
        lsn = replica.checkpoint(ops)
        self._store.write(ops)
        instance = replica.store.instance
        rows: list[tuple[int, bytes, bytes]] = []
        low, high = keys.instance_keys(instance)
        while found := self._store.scan(Family.STATE, low, high, _ROWS, SNAPSHOT_PART_BYTES):
            for key, value in found:
                rest = key[_INSTANCE_BYTES:]
                if key == keys.meta_key(instance):
                    # The copy has no entry at or below S.
                    meta = {**msgpack.unpackb(value), "trim_lsn": lsn}
                    rows.append((Family.STATE, rest, msgpack.packb(meta)))
                elif key != keys.promise_key(instance):
                    rows.append((Family.STATE, rest, value))
            low = found[-1][0] + b"\0"
        queues = replica.machine.queues.values()
        positions = {queue.ledger.number: queue.ledger.next_position for queue in queues}
        lsn_epoch = replica.log.epochs.at(lsn)
        assert lsn_epoch is not None
        return _Sending(lsn, lsn_epoch, rows, positions)

    def _next_part(self, replica: Replica, progress: Progress, sending: _Sending) -> SnapshotPart:
        assert replica.primary is not None
        rows, size = self._take_state_rows(sending)
        while size < SNAPSHOT_PART_BYTES and sending.cursor is not None:
            more, more_size = self._read_rows(replica, sending, SNAPSHOT_PART_BYTES - size)
            rows += more
            size += more_size
        is_last = sending.cursor is None and not sending.state_rows
        part = SnapshotPart(
            replica.slot,
            replica.primary.epoch,
            progress.incarnation,
            sending.lsn,
            sending.lsn_epoch,
            sending.part,
            is_last,
            rows,
        )
        sending.part += 1
        return part

    def _take_state_rows(self, sending: _Sending) -> tuple[list[tuple[int, bytes, bytes]], int]:
        taken, size = 0, 0
        for _, key, value in sending.state_rows:
            if size >= SNAPSHOT_PART_BYTES:
                break
            taken += 1
            size += len(key) + len(value)
        rows, sending.state_rows = sending.state_rows[:taken], sending.state_rows[taken:]
        return rows, size

    def _read_rows(
        self, replica: Replica, sending: _Sending, bytes_max: int
    ) -> tuple[list[tuple[int, bytes, bytes]], int]:
        """Rows of one family behind the cursor; moves the cursor to the next family at its end."""
        assert sending.cursor is not None
        families = (Family.BODY, Family.DUE, Family.EXPIRY, Family.IDS)
        index, after = sending.cursor
        low, high = keys.instance_keys(replica.store.instance)
        found = self._store.scan(families[index], low + after, high, _ROWS, bytes_max)
        if found:
            sending.cursor = (index, found[-1][0][_INSTANCE_BYTES:] + b"\0")
        else:
            sending.cursor = (index + 1, b"") if index + 1 < len(families) else None
        rows = [
            (int(families[index]), key[_INSTANCE_BYTES:], value)
            for key, value in found
            if _is_below(families[index], key, sending.next_positions)
        ]
        return rows, sum(len(key) + len(value) for key, value in found)

    def heard_taken(self, replica: Replica, broker: str, message: SnapshotTaken, now: int) -> None:
        key = (message.slot, broker, message.incarnation, message.epoch)
        sending = self._sending.get(key)
        if sending is None or sending.lsn != message.lsn or sending.waiting is None:
            return
        primary = replica.primary
        assert primary is not None
        progress = primary.followers[broker]
        progress.heard_at = now
        if message.part == _UNKNOWN_PART:
            del self._sending[key]
        elif message.part == sending.waiting.part:
            if sending.waiting.is_last:
                del self._sending[key]
                progress.begin_after(sending.lsn)
            sending.waiting = None

    # Taking

    def take_part(
        self, ops: WriteOps, replica: Replica, sender: str, message: SnapshotPart, now: int
    ) -> None:
        """Writes a part into a fresh instance; the last one puts it in the place of the old."""
        if message.epoch < replica.store.promised_epoch:
            return
        if message.epoch > replica.store.promised_epoch:
            replica.store.promise(ops, message.epoch)
        if _has(replica, message):
            # It was sent while the log was on its way: erasing what was acknowledged since would
            # break the word that was given.
            self._throw_away(ops, message.slot)
            self._answer(sender, message, message.part)
            return
        if message.part == 0:
            # Two copies of one lsn may be cut into other parts: what is here of a former one is
            # of no use.
            self._throw_away(ops, message.slot)
            instance = self._replicas.new_instance(ops)
            self._taking[message.slot] = _Taking(instance, message.lsn, message.epoch)
            ops.put(Family.STATE, keys.partial_key(instance), b"")
        taking = self._taking.get(message.slot)
        if (
            taking is None
            or (taking.lsn, taking.epoch) != (message.lsn, message.epoch)
            or message.part > taking.expected
        ):
            self._answer(sender, message, _UNKNOWN_PART)
            return
        if message.part == taking.expected:
            taking.expected += 1
            prefix = taking.instance.to_bytes(_INSTANCE_BYTES, "big")
            for family, key, value in message.rows:
                ops.put(Family(family), prefix + key, value)
            if message.is_last:
                del self._taking[message.slot]
                self._replicas.replace_instance(ops, replica, taking.instance, now)
                replica.follow_copy(sender, message.epoch)
        self._answer(sender, message, message.part)

    def _throw_away(self, ops: WriteOps, slot: int) -> None:
        """What was taken of a copy that does not go on."""
        taking = self._taking.pop(slot, None)
        if taking is not None:
            erase_instance(ops, taking.instance)
            ops.delete(Family.STATE, keys.partial_key(taking.instance))

    def _answer(self, sender: str, message: SnapshotPart, part: int) -> None:
        taken = SnapshotTaken(message.slot, message.epoch, self._me.incarnation, message.lsn, part)
        self._peers.post(sender, taken)


def _has(replica: Replica, message: SnapshotPart) -> bool:
    """True when the log here holds all that the copy would bring."""
    log = replica.log
    if message.lsn > log.last_lsn:
        return False
    return message.lsn <= log.commit_lsn or log.epochs.at(message.lsn) == message.lsn_epoch


def _is_below(family: Family, key: bytes, next_positions: dict[int, int]) -> bool:
    """True for rows of positions that the checkpoint knows."""
    if family is Family.BODY:
        number, first = keys.place_of_body(key)
    elif family is Family.IDS:
        number, first = keys.place_of_id(key)
    else:
        _, number, _, first = keys.decode_index_key(key)
    return first < next_positions.get(number, 0)
