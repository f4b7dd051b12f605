"""Questions about the broker or the cluster as a whole: ``map``, ``queues``, ``stats`` of all.

Each broker answers for the slots that it serves.  In a cluster the one that was asked puts the same
question to the others, gathers for a while, and says which slots nobody answered for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from broker.cluster.messages import Answer, Question
from broker.core.commands.queue_stats import TOTALS, totals_of
from broker.core.services.facts import SERVICE_TOTALS
from broker.core.services.facts import totals_of as totals_of_services
from broker.core.session import Session
from broker.limits import GATHER_MAX
from broker.model import commands
from broker.model.replies import Reply, ok
from broker.model.service_commands import Services
from broker.names import is_hidden
from broker.node.channels.listing import FIELDS, list_channels, merge_channels
from broker.node.federation import Federation
from broker.node.reception import Reception
from broker.node.replicas import Replicas
from broker.node.service_listing import ASKED, list_services, merge_services
from broker.protocol.commands import VERSION, Malformed, decode_command

#: ``deleted_messages`` went with their queues, ``unroutable`` ones were published for queues that
#: were deleted before they came there.
_TOTALS = (*TOTALS, "queues", "deleted_messages", "unroutable", *SERVICE_TOTALS)


class _Gathering:
    """One question that others were asked: who is still to answer, and what came."""

    __slots__ = ("command", "ends_at", "parts", "peer", "waiting")

    def __init__(self, peer: bytes, command: commands.Command, ends_at: int) -> None:
        self.peer = peer
        self.command = command
        self.ends_at = ends_at
        self.waiting: set[str] = set()
        self.parts: list[dict[str, Any]] = []


class Census:
    def __init__(
        self, reception: Reception, replicas: Replicas, federation: Federation | None
    ) -> None:
        self._reception = reception
        self._replicas = replicas
        self._federation = federation
        self._gatherings: dict[bytes, _Gathering] = {}
        self._next_id = 1
        self.handlers: dict[
            type[commands.Command], Callable[[bytes, Session | None, Any], None]
        ] = {
            commands.Map: self._handle_map,
            commands.Queues: self._handle_queues,
            commands.Channels: self._handle_channels,
            Services: self._handle_services,
        }
        if federation is not None:
            federation.take_count = self._take
            federation.take_question = self._take_question

    def _handle_map(self, peer: bytes, session: Session | None, command: commands.Map) -> None:
        if command.req is not None:
            self._reception.add_replies([ok(peer, command.req, **self._map())])

    def _map(self) -> dict[str, Any]:
        me = self._reception.broker_id
        slots = self._replicas.slots
        federation = self._federation
        if federation is None:
            reign = self._replicas.reign
            owners, epochs = [me] * slots, [reign] * slots
            return {"slots": slots, "brokers": {me: []}, "owners": owners, "epochs": epochs}
        steering = federation.steering
        view = steering.view
        return {
            "cluster": self._reception.welcome.get("cluster", ""),
            "slots": slots,
            "brokers": {name: list(record.clients) for name, record in view.brokers.items()},
            "owners": [steering.primary_of(slot) for slot in range(slots)],
            "epochs": [
                view.slots[slot].config.epoch if slot in view.slots else 0 for slot in range(slots)
            ],
        }

    def _handle_queues(
        self, peer: bytes, session: Session | None, command: commands.Queues
    ) -> None:
        if command.req is not None:
            self._ask(peer, command, self._own_queues(command))

    def _handle_channels(
        self, peer: bytes, session: Session | None, command: commands.Channels
    ) -> None:
        if command.req is not None:
            self._ask(peer, command, self._own_channels(command))

    def _handle_services(self, peer: bytes, session: Session | None, command: Services) -> None:
        if command.req is not None:
            self._ask(peer, command, self._own_services(command))

    def handle_all_stats(self, peer: bytes, session: Session, command: commands.Stats) -> None:
        """Totals over all queues, and this broker's own counters."""
        if command.req is not None:
            self._ask(peer, command, self._own_stats())

    def _take_question(self, broker: str, message: Question) -> None:
        """Answers another broker for the slots that are served here."""
        try:
            command = decode_command(message.raw)
        except Malformed:
            return
        if isinstance(command, commands.Queues):
            part = self._own_queues(command)
        elif isinstance(command, commands.Channels):
            part = self._own_channels(command)
        elif isinstance(command, Services):
            part = self._own_services(command)
        else:
            part = self._own_stats()
        assert self._federation is not None
        answer = Answer(message.session, [msgpack.packb(part)])
        self._federation.peers.post(broker, answer)

    def _own_queues(self, command: commands.Queues) -> dict[str, Any]:
        names = sorted(
            name
            for replica in self._replicas
            if replica.machine.is_serving
            for name, queue in replica.machine.names.items()
            if name > command.after and not queue.deleted and not is_hidden(name)
        )
        return {
            "queues": names[: command.max],
            "more": len(names) > command.max,
            "served": self._served(),
        }

    def _own_channels(self, command: commands.Channels) -> dict[str, Any]:
        machines = [replica.machine for replica in self._replicas if replica.machine.is_serving]
        for machine in machines:
            machine.log.advance_time(self._reception.now)
        return {**list_channels(machines, command), "served": self._served()}

    def _own_services(self, command: Services) -> dict[str, Any]:
        machines = [replica.machine for replica in self._replicas if replica.machine.is_serving]
        page = list_services(machines, command, self._reception.now)
        return {**page, "served": self._served()}

    def _own_stats(self) -> dict[str, Any]:
        totals = dict.fromkeys(_TOTALS, 0)
        for replica in self._replicas:
            if not replica.machine.is_serving:
                continue
            for queue in replica.machine.queues.values():
                if is_hidden(queue.name):
                    # What transactions put and no target has taken yet.
                    totals["departing"] += queue.departing.positions
                    continue
                totals["queues"] += 1
                for name, number in totals_of(queue).items():
                    totals[name] += number
            totals["deleted_messages"] += replica.machine.deleted_messages
            totals["unroutable"] += replica.machine.unroutable
            for name, number in totals_of_services(replica.machine.services.values()).items():
                totals[name] += number
        return {"stats": totals, "served": self._served()}

    def _served(self) -> list[int]:
        return sorted(replica.slot for replica in self._replicas if replica.machine.is_serving)

    # Asking the others

    def _ask(self, peer: bytes, command: commands.Command, own: dict[str, Any]) -> None:
        gathering = _Gathering(peer, command, self._reception.now + GATHER_MAX)
        gathering.parts.append(own)
        federation = self._federation
        others = federation.reachable(self._reception.now) if federation is not None else []
        if federation is None or not others:
            self._reception.add_replies([self._result(gathering)])
            return
        question = self._next_id.to_bytes(16, "big")
        self._next_id += 1
        self._gatherings[question] = gathering
        frames = [msgpack.packb(_question(command))]
        for broker in others:
            gathering.waiting.add(broker)
            federation.peers.post(broker, Question(question, frames))

    def _take(self, broker: str, message: Answer) -> bool:
        """An answer of another broker; False when it answers no question of ours."""
        gathering = self._gatherings.get(message.session)
        if gathering is None:
            return False
        if broker in gathering.waiting:
            gathering.waiting.discard(broker)
            gathering.parts.append(msgpack.unpackb(message.raw[0]))
            if not gathering.waiting:
                del self._gatherings[message.session]
                self._reception.add_replies([self._result(gathering)])
        return True

    def end_late(self, now: int) -> list[Reply]:
        """Questions that waited long enough are answered with what came."""
        late = [key for key, gathering in self._gatherings.items() if gathering.ends_at <= now]
        return [self._result(self._gatherings.pop(key)) for key in late]

    def _result(self, gathering: _Gathering) -> Reply:
        command, parts = gathering.command, gathering.parts
        assert command.req is not None
        fields: dict[str, Any] = {}
        if isinstance(command, commands.Queues):
            names = sorted({name for part in parts for name in part["queues"]})
            more = any(part["more"] for part in parts) or len(names) > command.max
            fields = {"queues": names[: command.max], "more": more}
        elif isinstance(command, commands.Channels):
            fields = merge_channels(parts, command)
        elif isinstance(command, Services):
            fields = merge_services(parts, command)
        else:
            # A broker of an older release tells fewer of them.
            totals = {n: sum(part["stats"].get(n, 0) for part in parts) for n in _TOTALS}
            fields = {"stats": {**totals, **self._reception.own_stats()}}
        if self._federation is not None:
            served = {slot for part in parts for slot in part["served"]}
            missing = [slot for slot in range(self._replicas.slots) if slot not in served]
            fields["slots_missing"] = missing
        return ok(gathering.peer, command.req, **fields)


def _question(command: commands.Command) -> dict[str, Any]:
    if isinstance(command, commands.Queues):
        return {"v": VERSION, "cmd": "queues", "req": 0, "after": command.after, "max": command.max}
    if isinstance(command, commands.Channels):
        asked = {name: getattr(command, name) for name in FIELDS}
        return {"v": VERSION, "cmd": "channels", "req": 0, **asked}
    if isinstance(command, Services):
        asked = {name: getattr(command, name) for name in ASKED}
        return {"v": VERSION, "cmd": "services", "req": 0, **asked}
    return {"v": VERSION, "cmd": "stats", "req": 0}
