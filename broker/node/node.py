"""One broker as a machine that takes turns: frames in, frames out, rows written, syncs asked for.

A turn: ``receive`` any number of multiparts, then ``finish_turn``.  It writes the turn's rows (not
yet durable) and gives what to send now and a token; when the shell has synced the store it calls
``synced`` with the token and finishes a turn again, which sends what had waited.

    receive -> propose -> write -> (sync) -> synced -> commit -> apply -> answers and deliveries

A broker that is alone is a cluster of one: it reigns over every slot and is asked nothing.  In a
cluster ``federation`` joins it to the others.

Law: nothing that a disk must hold leaves before the sync that holds it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgpack

from broker.cluster.view import Change, ClusterView, Swap, SwapAnswer
from broker.core.session import Session
from broker.model.replies import Reply
from broker.node.bindings import BindingCarrier
from broker.node.census import Census
from broker.node.channels.hub import Hub
from broker.node.dispatch import Dispatch
from broker.node.federation import Federation
from broker.node.guests import GUEST
from broker.node.inner_client import INNER_PEER, InnerClient
from broker.node.put_order import PutOrder
from broker.node.reception import Reception
from broker.node.recurring import Recurring
from broker.node.replica import Replica
from broker.node.replicas import Replicas
from broker.node.settings import NodeSettings
from broker.node.suspended import Suspended
from broker.node.transfers import Transfers
from broker.node.turn import Turn, Unsynced, Written, earlier
from broker.protocol.commands import VERSION
from broker.storage.store import Store, WriteOps


class Node:
    def __init__(
        self, store: Store, settings: NodeSettings, draw: Callable[[int], bytes], now_ms: int
    ) -> None:
        self._store = store
        self._settings = settings
        self._replicas = Replicas(store, settings, draw, now_ms)
        self._reception = Reception(settings, draw, self._replicas)
        self._order = PutOrder()
        self._unsynced = Unsynced()
        #: Slots to look at in this turn, by number.
        self._active: dict[int, Replica] = {r.slot: r for r in self._replicas}
        self._wakes: dict[int, int] = {}
        self._packer = msgpack.Packer()
        self._suspended = Suspended(self._reception)
        #: When more than calls is to be looked at; None while that is in this turn.
        self._whole_turn_at: int | None = None
        self._federation: Federation | None = None
        if settings.cluster:
            federation = Federation(
                settings,
                store,
                self._replicas,
                self._reception,
                self._order,
                draw,
                self._take_of_guest,
            )
            federation.active = self._active
            self._federation = federation
            self._reception.forwarding = federation.forwarding
        self._census = Census(self._reception, self._replicas, self._federation)
        for kind, handler in self._census.handlers.items():
            self._reception.handlers[kind] = handler
        self._dispatch = Dispatch(
            self._reception,
            self._replicas,
            self._order,
            self._census,
            self._federation,
            self._active,
            now_ms,
        )
        self._inner = inner = InnerClient(self._dispatch.take_inner)
        self._reception.sessions.add_inner(inner.session)
        self._transfers = Transfers(self._replicas, self._active, inner, self._may_act)
        self._bindings = BindingCarrier(self._replicas, self._active, inner, self._may_act)
        self.recurring = Recurring(self._replicas, self._active, self._may_act, self._advance)
        self._hub = Hub(self._reception, self._replicas, self._federation, inner)

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
    def incarnation(self) -> str:
        """Names this broker's disk."""
        return self._replicas.incarnation

    @property
    def cluster_id(self) -> str:
        """The cluster that the data belongs to; "" for none."""
        return self._replicas.cluster_id

    @property
    def unsynced_bytes(self) -> int:
        """Bytes written and not yet known to be durable."""
        return self._unsynced.bytes

    @property
    def is_drained(self) -> bool:
        return self._reception.draining and not self._unsynced and not self._dispatch.calls.is_busy

    def receive(self, now_ms: int, peer: bytes, frames: list[bytes]) -> None:
        """Takes a client's multipart; the answer is a reply and never an exception."""
        if not self._dispatch.take(now_ms, peer, frames):
            self._whole_turn_at = None

    def _advance(self, now_ms: int) -> None:
        """Whatever comes by another way than ``receive`` wants a whole turn."""
        self._reception.now = max(self._reception.now, now_ms)
        self._whole_turn_at = None

    def note_subscription(self, topic: bytes, on: bool) -> None:
        """A connection of the XPUB subscribes a prefix of topics, or gives it up."""
        self._advance(self._reception.now)
        self._hub.note_subscription(topic, on)

    def receive_raw(self, now_ms: int, frames: list[bytes]) -> None:
        """Takes a raw publisher's multipart; what is none is counted."""
        self._advance(now_ms)
        self._hub.raw.receive(frames)

    def _take_of_guest(self, guest: Session, frames: list[bytes]) -> None:
        self._dispatch.take_of_guest(guest, frames)

    # Other brokers and the coordinator

    def receive_link(self, now_ms: int, frames: list[bytes]) -> None:
        """Takes one multipart of another broker; one that is none is counted and dropped."""
        self._advance(now_ms)
        if self._federation is not None:
            self._federation.receive(self._reception.now, frames)

    def view_listed(self, now_ms: int, view: ClusterView) -> None:
        """The coordinator's keys, all of them.  Raises OtherCluster or ConfigError when the data
        on this disk cannot belong to it."""
        federation = self._require_federation(now_ms)
        federation.steering.list_view(view)
        assert view.config is not None
        self._replicas.join(federation.ops, view.config.id, view.config.slots)
        self._reception.welcome = {"cluster": self._settings.cluster, "slots": view.config.slots}

    def view_changed(self, now_ms: int, change: Change) -> None:
        self._require_federation(now_ms).steering.change(change)

    def swap_answered(self, now_ms: int, swap: Swap, answer: SwapAnswer) -> None:
        federation = self._require_federation(now_ms)
        federation.steering.swap_answered(self._reception.now, swap, answer)

    def tenure_extended(self, now_ms: int, until_ms: int) -> None:
        """This broker is known to be alive until then, on the node's clock (R10)."""
        steering = self._require_federation(now_ms).steering
        steering.extend_tenure(self._reception.now, until_ms)

    def begin_leave(self, now_ms: int) -> None:
        """Hands the slots over that others can serve; see ``has_left``."""
        self._require_federation(now_ms).steering.is_leaving = True

    @property
    def has_left(self) -> bool:
        assert self._federation is not None
        return self._federation.steering.has_left

    def _require_federation(self, now_ms: int) -> Federation:
        assert self._federation is not None, "a broker that is alone has no coordinator"
        self._advance(now_ms)
        return self._federation

    # Turns

    def finish_turn(self, now_ms: int) -> Turn:
        """Does what is due, serves takers, writes the turn's rows, gives what may leave now."""
        reception = self._reception
        reception.now = now = max(reception.now, now_ms)
        calls = self._dispatch.calls
        if self._whole_turn_at is not None and now < self._whole_turn_at:
            return self._finish_calls(self._whole_turn_at, now)
        federation = self._federation
        if federation is not None:
            federation.step(now)
            self._dispatch.place_consumers(federation, now)
        for replica in reception.end_silent():
            self._active[replica.slot] = replica
        if self._wakes:
            for slot, at in list(self._wakes.items()):
                if at <= now:
                    self._wake(slot)
        if self._order:
            self._order.forget_old(now)
        calls.step(now)
        self._transfers.step(now)
        self._bindings.step(now)
        ops = federation.ops if federation is not None else WriteOps()
        written: Written = []
        replies = reception.take_replies()
        active = list(self._active.values())
        self._active.clear()
        for replica in active:
            lsn = self._turn_of(replica, ops, now)
            if lsn is not None:
                written.append((replica, replica.mark(lsn)))
            replies += replica.machine.replies
            replica.machine.replies = []
        replies += self._hub.step(now, active)
        if federation is None:
            sync = self._write(ops, written)
            published = self._hub.take_published()
            sends = self._encode(replies)
            self._whole_turn_at = wake_at = self._wake_at()
            return Turn(sends, sync, earlier(wake_at, calls.next_wake_at()), published=published)
        return self._finish_federated(federation, replies, active, written, now)

    def _finish_calls(self, whole_turn_at: int, now: int) -> Turn:
        """The turn of a broker alone to which nothing but calls and answers came: nothing else is
        due.  A call waits for two turns, and most of what a whole one does is to look around."""
        calls = self._dispatch.calls
        calls.step(now)
        sends = self._encode(self._reception.take_replies())
        return Turn(sends, None, earlier(whole_turn_at, calls.next_wake_at()))

    def _finish_federated(
        self,
        federation: Federation,
        replies: list[Reply],
        active: list[Replica],
        written: Written,
        now: int,
    ) -> Turn:
        ops = federation.ops
        written += federation.take_received()
        sync = self._write(ops, written)
        ops.clear()
        replies += self._census.end_late(now)
        replies += federation.forwarding.replies
        federation.forwarding.replies = []
        sends = self._encode(replies)
        sends += federation.forwarding.raw
        federation.forwarding.raw = []
        links = federation.gather(now, active)
        swaps, published = federation.steering.take_swaps(), self._hub.take_published()
        wake_at = earlier(self._wake_at(), self._dispatch.calls.next_wake_at())
        return Turn(sends, sync, wake_at, links, swaps, published)

    def _wake(self, slot: int) -> None:
        replica = self._replicas.find(slot)
        if replica is not None:
            self._active[slot] = replica

    def _turn_of(self, replica: Replica, ops: WriteOps, now: int) -> int | None:
        """One slot's turn; gives the last lsn written."""
        may_act = True
        if self._federation is not None:
            may_act = self._federation.may_act(replica, now)
            self._suspended.note(replica, may_act, now)
        may_act = may_act and not self._reception.draining
        lsn = replica.turn(ops, self._settings, now, may_act)
        if replica.machine.awake and may_act:
            self._active[replica.slot] = replica
        self._set_wake(replica, may_act)
        return lsn

    def _may_act(self, replica: Replica, now: int) -> bool:
        federation = self._federation
        return not self._reception.draining and (
            federation is None or federation.may_act(replica, now)
        )

    def _set_wake(self, replica: Replica, may_act: bool) -> None:
        at = replica.next_wake_at(may_act)
        if at:
            self._wakes[replica.slot] = at
        else:
            self._wakes.pop(replica.slot, None)

    def _wake_at(self) -> int | None:
        """When anything but a call is due."""
        if self._active:
            return self._reception.now
        instants = [
            self._reception.sessions.next_look_at(),
            self._transfers.next_wake_at(),
            self._bindings.next_wake_at(),
            self._hub.next_wake_at(),
            *self._wakes.values(),
        ]
        if self._federation is not None:
            instants.append(self._federation.next_wake_at(self._reception.now))
        return min([at for at in instants if at is not None], default=None)

    def _write(self, ops: WriteOps, written: Written) -> int | None:
        if not ops and not written:
            return None
        if ops:
            self._store.write(ops)
        if not written:
            return None
        return self._unsynced.add(written, ops.bytes)

    def synced(self, now_ms: int, token: int) -> None:
        """All rows up to ``token`` are durable: commit, apply, and let the answers go."""
        self._advance(now_ms)
        for replica, mark in self._unsynced.take(token):
            replica.become_durable(mark)
            self._active[replica.slot] = replica
            if self._federation is not None:
                self._federation.note_progress(replica)

    def _encode(self, replies: list[Reply]) -> list[tuple[bytes, list[bytes]]]:
        pack = self._packer.pack
        federation = self._federation
        sends: list[tuple[bytes, list[bytes]]] = []
        for peer, header, frames in replies:
            header["v"] = VERSION
            if federation is not None and peer[0] == GUEST:
                federation.send_answer(peer, [pack(header), *frames])
            elif peer == INNER_PEER:
                self._inner.hear(header)
            else:
                sends.append((peer, [pack(header), *frames]))
        return sends

    def excuse_silence(self, now_ms: int) -> None:
        """This process was paused: nobody's silence until now counts against him."""
        self._advance(now_ms)
        now = self._reception.now
        for session in self._reception.sessions:
            session.heard_at = now
        if self._federation is not None:
            self._federation.excuse_silence(now)

    def disconnected(self, now_ms: int, peer: bytes) -> None:
        """The peer's connection is over.  Its session may be resumed, and keeps its messages until
        it is silent too long; what it had to do with calls is over, for no connection takes any
        of that over from another."""
        self._advance(now_ms)
        session = self._reception.sessions.of_peer(peer)
        if session is not None:
            self._dispatch.calls.disconnected(session)

    def unreachable(self, now_ms: int, peer: bytes, reason: str) -> None:
        """The peer is gone or takes no more: its session ends."""
        self._advance(now_ms)
        session = self._reception.sessions.of_peer(peer)
        if session is not None:
            self._reception.count("sessions_unreachable")
            self._reception.end_session(session, charge=True)

    def set_alarm(self, reason: str | None) -> None:
        """While a reason stands, puts are refused with it; settles and deliveries go on."""
        self._advance(self._reception.now)
        self._reception.set_alarm(reason)

    def begin_drain(self, now_ms: int) -> None:
        """No new work from now on; what was proposed is finished and answered."""
        self._advance(now_ms)
        self._reception.begin_drain()

    def close(self, now_ms: int) -> list[tuple[bytes, list[bytes]]]:
        """Writes the last checkpoints; gives the farewells.  The shell then syncs the store."""
        ops = WriteOps()
        for replica in self._replicas:
            replica.machine.log.advance_time(now_ms)
            replica.checkpoint(ops)
        self._store.write(ops)
        return self._encode(self._reception.farewells())
