"""One broker as a machine that takes turns: frames in, frames out, rows written, syncs asked for.

A turn: ``receive`` any number of multiparts, then ``finish_turn``.  It writes the turn's rows (not
yet durable) and gives what to send now and a token; when the shell has synced the store it calls
``synced`` with the token and finishes a turn again, which sends what had waited.

    receive -> propose -> write -> (sync) -> synced -> commit -> apply -> answers and deliveries

Law: nothing that a disk must hold leaves before the sync that holds it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgpack

from broker.core.applying import apply_committed
from broker.core.handlers import HANDLERS
from broker.core.session import Session
from broker.core.turns import seal, serve, tick
from broker.errors import (
    ConsumerNotFound,
    MsgQueueError,
    NoSession,
    ProcessError,
    RoutingIdNotAllowed,
)
from broker.model import commands
from broker.model.replies import Reply
from broker.model.slots import slot_of
from broker.node.reception import Reception
from broker.node.settings import NodeSettings
from broker.node.slots import ServedSlot, Slots
from broker.protocol.commands import VERSION, Malformed, decode_command
from broker.storage.store import Store, WriteOps


@dataclass(slots=True)
class Turn:
    """``sends`` are (peer, frames) in order; ``sync`` is a token when rows wait for a sync;
    ``wake_at`` is the next instant (ms) at which the node wants a turn."""

    sends: list[tuple[bytes, list[bytes]]]
    sync: int | None
    wake_at: int | None


class _Unsynced:
    """Rows written by one turn: up to which lsn of which slots, and how many bytes."""

    __slots__ = ("bytes", "slots", "token")

    def __init__(self, token: int, slots: list[tuple[ServedSlot, int]], size: int) -> None:
        self.token = token
        self.slots = slots
        self.bytes = size


class Node:
    def __init__(
        self, store: Store, settings: NodeSettings, draw: Callable[[int], bytes], now_ms: int
    ) -> None:
        self._store = store
        self._settings = settings
        self._slots = Slots(store, settings, draw, now_ms)
        self._reception = Reception(settings, draw, self._slots)
        self._token = 0
        self._unsynced: deque[_Unsynced] = deque()
        #: Bytes written and not yet known to be durable.
        self.unsynced_bytes = 0
        #: Slots to look at in this turn, by number.
        self._active: dict[int, ServedSlot] = {s.machine.slot: s for s in self._slots}
        self._wakes: dict[int, int] = {}
        self._packer = msgpack.Packer()

    @classmethod
    def open(
        cls,
        store: Store,
        *,
        now_ms: int,
        draw: Callable[[int], bytes],
        settings: NodeSettings,
    ) -> Node:
        """Recovers what the store holds; raises DataDamaged or FormatTooNew by name."""
        return cls(store, settings, draw, now_ms)

    @property
    def counters(self) -> dict[str, int]:
        return self._reception.counters

    @property
    def is_drained(self) -> bool:
        return self._reception.draining and not self._unsynced

    def receive(self, now_ms: int, peer: bytes, frames: list[bytes]) -> None:
        """Takes one multipart; whatever it holds, the answer is a reply and never an exception."""
        reception = self._reception
        reception.now = max(reception.now, now_ms)
        try:
            command = decode_command(frames)
        except Malformed as bad:
            reception.refuse_malformed(peer, bad)
            return
        try:
            if len(peer) != 5 or peer[0]:
                raise RoutingIdNotAllowed("a routing id is the broker's to choose")
            self._handle(peer, command)
        except ProcessError:
            # A failed disk is no client's mistake: it ends the process.
            raise
        except MsgQueueError as error:
            reception.refuse(peer, command, error)

    def _handle(self, peer: bytes, command: commands.Command) -> None:
        reception = self._reception
        kind = type(command)
        session = reception.sessions.of_peer(peer)
        if session is None:
            if kind is not commands.Hello:
                raise NoSession("say hello first")
        else:
            session.heard_at = reception.now
        handler = reception.handlers.get(kind)
        if handler is not None:
            handler(peer, session, command)
            return
        assert session is not None
        if kind is commands.Stats and getattr(command, "queue", None) is None:
            reception.handle_all_stats(session, command)
            return
        reception.require_open(kind)
        served = self._slot_of(session, command)
        served.machine.log.advance_time(reception.now)
        self._active[served.machine.slot] = served
        HANDLERS[kind](served.machine, session, command)

    def _slot_of(self, session: Session, command: commands.Command) -> ServedSlot:
        if isinstance(command, commands.Credit | commands.Cancel):
            consumer = session.consumers.get(command.consumer)
            if consumer is None:
                raise ConsumerNotFound(f"this session has no consumer {command.consumer}")
            slot = consumer.place[0]
        else:
            name: str = command.queue  # type: ignore[attr-defined]
            slot = slot_of(name, self._settings.slots)
        served = self._slots.find(slot)
        if served is None:
            served = self._slots.require(slot, self._reception.now)
            self._reception.adopt(served)
        return served

    def finish_turn(self, now_ms: int) -> Turn:
        """Does what is due, serves takers, writes the turn's rows, gives what may leave now."""
        reception = self._reception
        reception.now = now = max(reception.now, now_ms)
        for served in reception.end_silent():
            self._active[served.machine.slot] = served
        for slot, at in list(self._wakes.items()):
            if at <= now:
                self._wake(slot)
        ops = WriteOps()
        written: list[tuple[ServedSlot, int]] = []
        replies = reception.take_replies()
        active, self._active = self._active, {}
        for served in active.values():
            lsn = self._turn_of(served, ops, now)
            if lsn is not None:
                written.append((served, lsn))
            replies += served.machine.replies
            served.machine.replies = []
        sync = self._write(ops, written)
        return Turn(self._encode(replies), sync, self._wake_at())

    def _wake(self, slot: int) -> None:
        served = self._slots.find(slot)
        if served is not None:
            self._active[slot] = served

    def _turn_of(self, served: ServedSlot, ops: WriteOps, now: int) -> int | None:
        """One slot's turn; gives the last lsn written."""
        machine = served.machine
        machine.log.advance_time(now)
        tick(machine)
        if not self._reception.draining:
            serve(machine)
        served.keep_up(ops, self._settings)
        seal(machine)
        served.store.write_effects(ops, machine)
        lsn = served.store.write_entries(ops, machine)
        if machine.awake and not self._reception.draining:
            self._active[machine.slot] = served
        self._set_wake(served)
        return lsn

    def _set_wake(self, served: ServedSlot) -> None:
        instants = [at for at in (served.machine.next_wake_at(), served.next_upkeep_at()) if at]
        slot = served.machine.slot
        if instants:
            self._wakes[slot] = min(instants)
        else:
            self._wakes.pop(slot, None)

    def _wake_at(self) -> int | None:
        if self._active:
            return self._reception.now
        instants = list(self._wakes.values())
        silence_at = self._reception.sessions.next_look_at()
        if silence_at is not None:
            instants.append(silence_at)
        return min(instants, default=None)

    def _write(self, ops: WriteOps, written: list[tuple[ServedSlot, int]]) -> int | None:
        if not ops:
            return None
        self._store.write(ops)
        if not written:
            return None
        self._token += 1
        self._unsynced.append(_Unsynced(self._token, written, ops.bytes))
        self.unsynced_bytes += ops.bytes
        return self._token

    def synced(self, now_ms: int, token: int) -> None:
        """All rows up to ``token`` are durable: commit, apply, and let the answers go."""
        self._reception.now = max(self._reception.now, now_ms)
        while self._unsynced and self._unsynced[0].token <= token:
            unsynced = self._unsynced.popleft()
            self.unsynced_bytes -= unsynced.bytes
            for served, lsn in unsynced.slots:
                served.machine.log.become_durable(lsn)
                apply_committed(served.machine)
                served.changed = True
                self._active[served.machine.slot] = served

    def _encode(self, replies: list[Reply]) -> list[tuple[bytes, list[bytes]]]:
        pack = self._packer.pack
        sends: list[tuple[bytes, list[bytes]]] = []
        for peer, header, frames in replies:
            header["v"] = VERSION
            sends.append((peer, [pack(header), *frames]))
        return sends

    def excuse_silence(self, now_ms: int) -> None:
        """This process was paused: nobody's silence until now counts against him."""
        self._reception.now = max(self._reception.now, now_ms)
        for session in self._reception.sessions:
            session.heard_at = self._reception.now

    def unreachable(self, now_ms: int, peer: bytes, reason: str) -> None:
        """The peer is gone or takes no more: its session ends."""
        self._reception.now = max(self._reception.now, now_ms)
        session = self._reception.sessions.of_peer(peer)
        if session is not None:
            self._reception.count("sessions_unreachable")
            for served in self._reception.end_session(session, charge=True):
                self._active[served.machine.slot] = served

    def set_alarm(self, reason: str | None) -> None:
        """While a reason stands, puts are refused with it; settles and deliveries go on."""
        self._reception.set_alarm(reason)

    def begin_drain(self, now_ms: int) -> None:
        """No new work from now on; what was proposed is finished and answered."""
        self._reception.now = max(self._reception.now, now_ms)
        self._reception.begin_drain()

    def close(self, now_ms: int) -> list[tuple[bytes, list[bytes]]]:
        """Writes the last checkpoints; gives the farewells.  The shell then syncs the store."""
        ops = WriteOps()
        for served in self._slots:
            served.machine.log.advance_time(now_ms)
            served.checkpoint(ops)
        self._store.write(ops)
        farewells = self._reception.farewells()
        return self._encode(farewells)
