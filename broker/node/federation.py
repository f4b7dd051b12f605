"""This broker among others: what arrives from them, which slots it reigns over, what they are told.

Joins the steering (what should be), the replicas (what is) and the forwarding (whose clients).
One turn: messages are taken as they come, ``step`` follows the ownership map, and after the turn's
rows are written ``gather`` gives what to send.

Law: a primary sends entries while its own disk still syncs them, but says nothing of a reign before
that reign's promise is durable, and a follower says ``prepared`` only of what is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from broker.cluster.messages import (
    Answer,
    ChannelMessage,
    Fanout,
    Forward,
    LinkHeader,
    Message,
    Prepare,
    Prepared,
    Question,
    Refusal,
    Refused,
    SessionEnded,
    SnapshotPart,
    SnapshotTaken,
    decode_link,
)
from broker.cluster.ownership import ReplicaId
from broker.cluster.view import Owned
from broker.core.session import Session
from broker.errors import NotAnEnvelope, UnknownVersion
from broker.limits import REPLICA_RETRY
from broker.node.call_forwarding import CallForwarding
from broker.node.forwarding import Forwarding
from broker.node.guests import Guests
from broker.node.peers import Arrival, Peers
from broker.node.put_order import PutOrder
from broker.node.reception import Reception
from broker.node.replica import Mark, Replica
from broker.node.replicas import Replicas
from broker.node.settings import NodeSettings
from broker.node.snapshots import Snapshots
from broker.node.steering import Steering
from broker.node.stepping_down import step_down
from broker.storage.store import Store, WriteOps

_BOOT_BYTES = 6


class Federation:
    """``take_forward`` handles a guest's command: (guest, frames)."""

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        replicas: Replicas,
        reception: Reception,
        order: PutOrder,
        draw: Callable[[int], bytes],
        take_forward: Callable[[Session, list[bytes]], None],
    ) -> None:
        self._replicas = replicas
        self._reception = reception
        self._order = order
        self._take_forward = take_forward
        me = ReplicaId(settings.broker_id, replicas.incarnation)
        self.me = me
        self.steering = Steering(me, replicas.cluster_id)
        self.peers = Peers(me.broker, me.incarnation, int.from_bytes(draw(_BOOT_BYTES), "big"))
        self.guests = Guests()
        self.forwarding = Forwarding(
            me.broker, self.peers, self.steering, reception.sessions, order
        )
        self.calls = CallForwarding(
            me.broker, self.peers, self.steering, reception.sessions, self.forwarding
        )
        #: Ends the calls of a slot whose reign is over.
        self.end_services: Callable[[Replica], None] = lambda _replica: None
        self.snapshots = Snapshots(store, replicas, self.peers, me)
        #: Slots to look at in this turn, by number.
        self.active: dict[int, Replica] = {}
        #: When every slot is looked at for what to repeat, and for followers to keep company.
        self._beat_at = 0
        #: Followers that took entries in this turn.
        self._received: dict[int, Replica] = {}
        #: Takes an answer to a question that was put to all; False for any other.
        self.take_count: Callable[[str, Answer], bool] = lambda _broker, _message: False
        #: Answers a question that another broker puts to all.
        self.take_question: Callable[[str, Question], None] = lambda _broker, _message: None
        #: Takes what another broker tells of channels, and a multipart for subscribers here.
        self.take_of_channels: Callable[[LinkHeader, ChannelMessage], None]
        self.take_fanout: Callable[[list[bytes]], None]
        #: Hears that a broker may have missed something, or that its process is another.
        self.link_began_anew: Callable[[str], None]
        #: Rows of the turn, written at its end.
        self.ops = WriteOps()
        self._handlers: dict[type[Any], Callable[[LinkHeader, Any, int], None]] = {
            Prepare: self._take_prepare,
            Prepared: self._take_prepared,
            Refused: self._take_refused,
            SnapshotPart: self._take_snapshot_part,
            SnapshotTaken: self._take_snapshot_taken,
            Forward: self._take_forwarded,
            Answer: self._take_answer,
            Question: self._take_asked,
            SessionEnded: self._take_session_ended,
            Fanout: self._take_fanout,
        }

    # What arrives

    def receive(self, now: int, frames: list[bytes]) -> None:
        """Takes one multipart of another broker; what is none is counted."""
        try:
            header, messages = decode_link(frames)
        except (NotAnEnvelope, UnknownVersion) as error:
            self._reception.count(f"link_{error.name}")
            return
        if header.cluster != self.steering.cluster_id or header.broker == self.me.broker:
            self._reception.count("link_of_another_cluster")
            return
        arrival = self.peers.arrive(header, now)
        if arrival in (Arrival.BROKEN, Arrival.RENEWED):
            self._reception.count("links_broken")
            self._break_stream(header.broker, now)
        takes_forwards = arrival in (Arrival.IN_ORDER, Arrival.RENEWED)
        for message in messages:
            if isinstance(message, Forward | Answer | SessionEnded | Question | Fanout):
                if takes_forwards:
                    self._handlers[type(message)](header, message, now)
            elif isinstance(message, ChannelMessage):
                self.take_of_channels(header, message)
            elif 0 <= message.slot < self._replicas.slots:
                self._handlers[type(message)](header, message, now)
            else:
                self._reception.count("link_of_another_slot")

    def _take_prepare(self, header: LinkHeader, message: Prepare, now: int) -> None:
        if message.incarnation != self.me.incarnation:
            self.peers.post(header.broker, self._refusal(message, Refusal.WRONG_STORE))
            return
        replica = self._replicas.require(message.slot, now)
        primary = replica.primary
        if primary is not None:
            if message.epoch <= primary.epoch:
                refusal = self._refusal(message, Refusal.STALE_EPOCH, primary.epoch)
                self.peers.post(header.broker, refusal)
                return
            self.step_down(replica, now)
        answer = replica.take_prepare(self.ops, message, header.broker, self.me.incarnation, now)
        if answer is not None:
            self.peers.post(header.broker, answer)
        self.active[replica.slot] = replica
        self._received[replica.slot] = replica

    def _refusal(self, message: Prepare, reason: Refusal, known: int = 0) -> Refused:
        return Refused(message.slot, message.epoch, self.me.incarnation, reason, known)

    def _take_prepared(self, header: LinkHeader, message: Prepared, now: int) -> None:
        replica = self._reigning(header, message)
        if replica is None or replica.primary is None:
            return
        last_lsn = replica.log.last_lsn
        replica.primary.heard_prepared(
            header.broker, message.received_lsn, message.durable_lsn, last_lsn, now
        )
        replica.commit_what_is_held()
        self.active[replica.slot] = replica
        self.note_progress(replica)

    def note_progress(self, replica: Replica) -> None:
        """More is durable: who waits for that, a handover or a learner, is looked at at once."""
        primary = replica.primary
        if primary is not None and (primary.joining or primary.is_handing_over):
            self.steering.touched[replica.slot] = None

    def _take_refused(self, header: LinkHeader, message: Refused, now: int) -> None:
        replica = self._reigning(header, message)
        if replica is None or replica.primary is None:
            return
        if message.reason == Refusal.STALE_EPOCH:
            if message.known > replica.primary.epoch:
                self.step_down(replica, now)
        elif message.reason in (Refusal.GAP, Refusal.MISMATCH):
            replica.primary.heard_mismatch(header.broker, message.known, now)
        elif message.reason == Refusal.SUSPECT:
            self._reception.count("replicas_suspect")
        self.active[replica.slot] = replica

    def _reigning(
        self, header: LinkHeader, message: Prepared | Refused | SnapshotTaken
    ) -> Replica | None:
        """The replica in whose reign of this broker the message belongs."""
        replica = self._replicas.find(message.slot)
        primary = replica.primary if replica is not None else None
        if primary is None or message.epoch != primary.epoch:
            return None
        progress = primary.followers.get(header.broker)
        is_known = progress is not None and progress.incarnation == message.incarnation
        return replica if is_known else None

    def _take_snapshot_part(self, header: LinkHeader, message: SnapshotPart, now: int) -> None:
        replica = self._replicas.require(message.slot, now)
        if message.incarnation != self.me.incarnation or replica.primary is not None:
            return
        self.snapshots.take_part(self.ops, replica, header.broker, message, now)
        self._received[replica.slot] = replica
        self.active[replica.slot] = replica

    def _take_snapshot_taken(self, header: LinkHeader, message: SnapshotTaken, now: int) -> None:
        replica = self._reigning(header, message)
        if replica is not None:
            self.snapshots.heard_taken(replica, header.broker, message, now)
            self.active[replica.slot] = replica

    def _take_forwarded(self, header: LinkHeader, message: Forward, now: int) -> None:
        self._take_forward(self.guests.of(header.broker, message, now), message.raw)

    def _take_answer(self, header: LinkHeader, message: Answer, now: int) -> None:
        for take in (self.take_count, self.calls.take_answer):
            if take(header.broker, message):
                return
        self.forwarding.take_answer(header.broker, message)

    def _take_asked(self, header: LinkHeader, message: Question, now: int) -> None:
        self.take_question(header.broker, message)

    def _take_fanout(self, header: LinkHeader, message: Fanout, now: int) -> None:
        self.take_fanout(message.raw)

    def _take_session_ended(self, header: LinkHeader, message: SessionEnded, now: int) -> None:
        guest = self.guests.take(header.broker, message.session)
        if guest is not None:
            self._reception.release(guest, message.charge)

    def _break_stream(self, broker: str, now: int) -> None:
        """What was under way for clients, in either direction, is lost."""
        self.link_began_anew(broker)
        self.forwarding.break_stream(broker, now)
        self.calls.break_stream(broker)
        for guest in self.guests.take_all(broker):
            self._reception.release(guest, charge=False)

    # A turn

    def step(self, now: int) -> None:
        """Follows the ownership map; asks for what should change in it."""
        steering = self.steering
        for broker in self.peers.take_silent(now):
            self._reception.count("links_silent")
            self.peers.begin_stream(broker)
            self._break_stream(broker, now)
        steering.look_round(now)
        if steering.view.config is None:
            return
        self._compare_clocks(now)
        steering.repeat_unknown(now)
        touched, steering.touched = steering.touched, {}
        for slot in touched:
            self._steer(slot, now)

    def _compare_clocks(self, now: int) -> None:
        was_off = self.steering.is_clock_off
        offset, clocks = self.peers.clock_offset(now), self.peers.clocks(now)
        self.steering.note_clocks(offset, clocks, now)
        if self.steering.is_clock_off and not was_off:
            self._reception.count("clock_off")

    def _steer(self, slot: int, now: int) -> None:
        steering = self.steering
        owned = steering.view.slots[slot]
        self.forwarding.follow_primary(slot, now)
        replica = self._replicas.find(slot)
        if replica is not None and replica.primary is not None:
            if owned.config.epoch > replica.primary.epoch:
                self.step_down(replica, now)
            else:
                self._go_on(replica, owned, now)
                return
        promised = replica.store.promised_epoch if replica is not None else 0
        mine = steering.may_reign(slot, promised)
        if mine is not None:
            replica = replica or self._replicas.require(slot, now)
            replica.start_reign(self.ops, self.me.broker, mine, steering.min_isr, now)
            assert replica.primary is not None
            replica.primary.tenure_number = steering.tenure_number
            self.active[slot] = replica
        else:
            steering.try_take(slot, now)

    def _go_on(self, replica: Replica, owned: Owned, now: int) -> None:
        primary = replica.primary
        assert primary is not None
        if owned.config.epoch == primary.epoch and owned.revision > primary.owned.revision:
            primary.adopt(owned, now)
        self.steering.drive(replica, primary, now)
        replica.commit_what_is_held()
        self.active[replica.slot] = replica

    def may_act(self, replica: Replica, now: int) -> bool:
        """R4, R10: whether this broker may serve the slot at this moment."""
        primary = replica.primary
        return (
            primary is not None
            and primary.is_serving
            and primary.has_quorum
            and not primary.is_handing_over
            and primary.tenure_number == self.steering.tenure_number
            and self.steering.has_tenure(now)
        )

    def step_down(self, replica: Replica, now: int) -> None:
        """The reign is over; whoever waits on it is told."""
        self._reception.count("stepped_down")
        self.end_services(replica)
        step_down(replica, self._reception, self.forwarding, self.guests, self._order, now)
        # What was written for the slot is part of what is read anew.
        self._replicas.write(self.ops)
        self.ops.clear()
        self._replicas.reopen(replica, now)
        self.active[replica.slot] = replica

    def take_received(self) -> list[tuple[Replica, Mark]]:
        """What the turn's sync makes durable of others' entries."""
        received = [
            (replica, replica.mark(replica.log.last_lsn))
            for replica in self._received.values()
            if replica.primary is None and replica.needs_sync
        ]
        self._received.clear()
        return received

    def excuse_silence(self, now: int) -> None:
        self.peers.excuse_silence(now)
        for replica in self._replicas:
            if replica.primary is not None:
                replica.primary.excuse_silence(now)

    def reachable(self, now: int) -> list[str]:
        return [broker for broker in self._others() if self.peers.is_up(broker, now)]

    def next_wake_at(self, now: int) -> int:
        """The next look at the slots, the next word to the others."""
        instants = [self.steering.next_look_at(), self._beat_at]
        heartbeat_at = self.peers.next_heartbeat_at(self._others())
        place_at = self.forwarding.next_place_at()
        instants += [at for at in (heartbeat_at, place_at) if at is not None]
        return max(min(instants), now + 1)

    def gather(self, now: int, active: list[Replica]) -> list[tuple[str, list[bytes]]]:
        """After the turn's rows are written: what other brokers are to be told."""
        for replica in active:
            answer = replica.take_answer(self.me.incarnation)
            if answer is not None:
                self.peers.post(*answer)
        speaking: Iterable[Replica] = active
        if now >= self._beat_at:
            self._beat_at = now + REPLICA_RETRY
            speaking = self._replicas
        for replica in speaking:
            if replica.primary is not None and replica.primary.followers:
                for broker, message in replica.prepares(now):
                    self.peers.post(broker, message)
                self.snapshots.go_on(replica, now)
        return self.peers.take(self.steering.cluster_id, self._others(), now)

    def _others(self) -> list[str]:
        return [broker for broker in self.steering.alive if broker != self.me.broker]

    def send_answer(self, peer: bytes, frames: list[bytes]) -> None:
        """A reply to a guest."""
        place = self.guests.place_of(peer)
        if place is not None:
            broker, session_id = place
            message: Message = Answer(session_id, frames)
            self.peers.post(broker, message)
