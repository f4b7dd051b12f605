"""The hub: from the slots' committed messages to this broker's XPUB, its sessions and its fellows.

    slot --Published--> hub --multiparts--> XPUB here
                         |  --Fanout------> brokers where somebody listens --> XPUB there
                         |  --heads-------> sessions that registered a pattern that matches

Owns what sessions subscribe, the echoes, and what is told of channels' heads.  It keeps no message:
what nobody listens to is dropped here, and what a subscriber misses it reads from the history.
Law: one look and one multipart a batch; no message is looked into.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.core.machine import SlotMachine
from broker.core.session import Session
from broker.limits import ECHO_PREFIX, SUBSCRIBE_WAIT
from broker.model import commands
from broker.model.published import Published
from broker.model.replies import Reply, ok
from broker.node.channels.audience import HERE, Audience
from broker.node.channels.between_brokers import BetweenBrokers
from broker.node.channels.echoes import Echoes
from broker.node.channels.events import Events
from broker.node.channels.fanout import encode, join
from broker.node.channels.heads import ChangedHeads, push
from broker.node.channels.raw_publishers import RawPublishers
from broker.node.channels.registry import Key, Registry
from broker.node.federation import Federation
from broker.node.inner_client import InnerClient
from broker.node.reception import Reception
from broker.node.replica import Replica
from broker.node.replicas import Replicas


class Hub:
    """``inner`` carries publishes of the broker's own and of raw publishers."""

    def __init__(
        self,
        reception: Reception,
        replicas: Replicas,
        federation: Federation | None,
        inner: InnerClient,
    ) -> None:
        self._reception = reception
        self._audience = Audience()
        self._registry = Registry(self._note_interest)
        self._echoes = Echoes()
        self._changed = ChangedHeads()
        self._events = Events(reception.broker_id, self._is_heard, inner.tell)
        self.raw = RawPublishers(reception.count, inner.tell)
        self._others: BetweenBrokers | None = None
        if federation is not None:
            self._others = BetweenBrokers(federation, self._audience)
            federation.take_fanout = self._take_fanout
        #: Subscribes that wait for other brokers: (until when, who asked, request, version)
        self._waiting: list[tuple[int, bytes, int, int]] = []
        self._published: list[list[bytes]] = []
        reception.end_subscriptions = self._registry.end_session
        reception.note_event = self._events.note
        replicas.connect_by(self._connect)
        for kind, handler in (
            (commands.Subscribe, self._handle_subscribe),
            (commands.Unsubscribe, self._handle_unsubscribe),
            (commands.Echo, self._handle_echo),
            (commands.Dropped, self._handle_dropped),
        ):
            reception.handlers[kind] = handler

    def _connect(self, machine: SlotMachine) -> None:
        machine.count_subscribers = self.count
        machine.note_event = self._events.note

    def count(self, name: str) -> int:
        """Subscriptions that match the channel, on all brokers."""
        return self._audience.route(name).subscriptions if self._audience else 0

    def _is_heard(self, name: str) -> bool:
        return bool(self._audience) and self._audience.route(name).is_heard

    def _note_interest(self, key: Key, count: int) -> None:
        self._audience.tell(HERE, key, count)
        if self._others is not None:
            self._others.note_interest(key, count)

    # From clients

    def _handle_subscribe(
        self, peer: bytes, session: Session | None, command: commands.Subscribe
    ) -> None:
        assert session is not None
        self._registry.subscribe(session, command.sub, command.pattern)
        if command.req is None:
            return
        others = self._others
        if others is not None and others.unaware(others.version):
            ends_at = self._reception.now + SUBSCRIBE_WAIT
            self._waiting.append((ends_at, peer, command.req, others.version))
        else:
            self._reception.add_replies([ok(peer, command.req)])

    def _handle_unsubscribe(
        self, peer: bytes, session: Session | None, command: commands.Unsubscribe
    ) -> None:
        assert session is not None
        self._registry.unsubscribe(session, command.sub)
        self._confirm(peer, command)

    def _handle_echo(self, peer: bytes, session: Session | None, command: commands.Echo) -> None:
        self._echoes.ask(peer, command, self._reception.now)

    def _handle_dropped(
        self, peer: bytes, session: Session | None, command: commands.Dropped
    ) -> None:
        assert session is not None
        self._registry.require(session, command.sub)
        self._reception.count("messages_missed_by_subscribers", command.count)
        self._confirm(peer, command)

    def _confirm(self, peer: bytes, command: commands.Command) -> None:
        if command.req is not None:
            self._reception.add_replies([ok(peer, command.req)])

    def note_subscription(self, topic: bytes, on: bool) -> None:
        """A connection of the XPUB subscribes a prefix of topics, or gives it up."""
        if topic.startswith(ECHO_PREFIX):
            self._echoes.note_held(topic, on)
        else:
            self._registry.note_held(topic, on)

    # A turn

    def step(self, now: int, active: Iterable[Replica]) -> list[Reply]:
        """Sends what was published and committed, and says what is due; the answers."""
        self._fan_out(active, now)
        self._events.tell_due(now)
        replies: list[Reply] = []
        due = self._changed.take_due(now)
        if due is not None:
            heads, reigns = due
            replies += push(self._registry, heads, reigns)
            if self._others is not None:
                self._others.tell_heads(heads)
                self._others.tell_reigns(reigns)
        self._echoes.give_late(now)
        if self._others is not None:
            replies += self._step_cluster(self._others, now)
        if self._echoes.out:
            self._published += self._echoes.out
            replies += self._echoes.replies
            self._echoes.out, self._echoes.replies = [], []
        return replies

    def _step_cluster(self, others: BetweenBrokers, now: int) -> list[Reply]:
        others.step(now)
        replies: list[Reply] = []
        heard, others.heard = others.heard, []
        for heads, reigns in heard:
            replies += push(self._registry, heads, reigns)
        waiting, self._waiting = self._waiting, []
        for ends_at, peer, req, version in waiting:
            unaware = others.unaware(version)
            if unaware and now < ends_at:
                self._waiting.append((ends_at, peer, req, version))
            elif unaware:
                replies.append(ok(peer, req, missing=unaware))
            else:
                replies.append(ok(peer, req))
        return replies

    def _fan_out(self, active: Iterable[Replica], now: int) -> None:
        for replica in active:
            machine = replica.machine
            if machine.published:
                runs, machine.published = machine.published, []
                if self._audience:
                    self._send(runs, now)
            if self._others is not None and machine.is_serving and not machine.is_announced:
                machine.is_announced = True
                self._announce(machine, now)

    def _send(self, runs: list[Published], now: int) -> None:
        by_channel: dict[str, list[Published]] = {}
        for run in runs:
            by_channel.setdefault(run.channel, []).append(run)
        for name, its in by_channel.items():
            route = self._audience.route(name)
            if not route.is_heard:
                continue
            for run in join(its) if len(its) > 1 else its:
                for frames in encode(route.topic, run):
                    if route.is_heard_here:
                        self._published.append(frames)
                    if route.brokers:
                        assert self._others is not None
                        self._others.fan_out(route.brokers, frames)
            if route.registered:
                last = its[-1]
                head = (name, last.epoch, last.first + last.count, last.start)
                self._changed.note(head, now)

    def _announce(self, machine: SlotMachine, now: int) -> None:
        """A reign begins: who listens may have missed the end of the former one."""
        epoch = machine.log.epoch
        self._events.note("slot.reign", slot=machine.slot, epoch=epoch)
        if not self._audience.registered:
            return
        self._changed.note_reign(machine.slot, epoch, now)
        for channel in machine.channels.names.values():
            if channel.is_kept and self._audience.route(channel.name).registered:
                self._changed.note((channel.name, epoch, channel.next, channel.start), now)

    def _take_fanout(self, frames: list[bytes]) -> None:
        """What another broker's slot has for the subscribers here."""
        self._reception.count("fanouts_received")
        self._published.append(frames)

    def take_published(self) -> list[list[bytes]]:
        """The multiparts for the XPUB, in order."""
        published, self._published = self._published, []
        return published

    def next_wake_at(self) -> int | None:
        instants = [self._changed.next_at(), self._echoes.next_at(), self._events.next_at()]
        if self._waiting:
            instants.append(self._waiting[0][0])
        if self._others is not None:
            instants.append(self._others.next_wake_at())
        return min([at for at in instants if at is not None], default=None)
