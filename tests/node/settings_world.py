"""Commands of clients to queues with any settings, and what each answer says of the messages."""

from __future__ import annotations

from typing import Any

import msgpack

from broker.core.leaving.overflow import held
from broker.model.settings import Overflow
from tests.node.settings_clients import NAMES, OPERATOR, Client, Memory, Taker
from tests.node.settings_model import Fate, Holder, Message, QueueFacts
from tests.node.settings_operations import Operations
from tests.support.node_rig import Sent


class World(Operations):
    # Putting

    def make(self, name: str, options: dict[str, Any]) -> list[Message]:
        """New messages by the options of a put; ``each`` has (id, key, kind, own delay)."""
        queue, now = self.facts.queues[name], self.rig.now
        settings = queue.settings
        made: list[Message] = []
        for id_, key, kind, own in options["each"]:
            delay = options["delay_ms"]
            if options["timed"]:
                delay = own
            elif delay is None:
                delay = settings.delay_ms
            ttl = options["ttl_ms"] if options["ttl_ms"] is not None else settings.ttl_ms
            body = b"%d:" % len(self.facts.messages) + b"x" * options["size"]
            message = Message(body, name, queue.uuid, options["priority"], id_, key, kind, 0, 0)
            message.not_before = now + delay if delay else 0
            message.expires_at = now + delay + ttl if ttl is not None else 0
            self.facts.messages[body] = message
            made.append(message)
        return made

    def frames(self, options: dict[str, Any], made: list[Message]) -> tuple[bytes, bytes]:
        columns: dict[str, Any] = {"ids": [m.id for m in made], "keys": [m.key for m in made]}
        columns = {name: values for name, values in columns.items() if any(values)}
        if options["timed"]:
            columns["at_ms"] = [m.not_before or None for m in made]
        batch = msgpack.packb([[m.body, {"kind": m.kind}] for m in made])
        return msgpack.packb(columns) if columns else b"", batch

    def put(self, client: Client, name: str, options: dict[str, Any]) -> None:
        queue, made = self.facts.queues[name], self.make(name, options)
        columns, batch = self.frames(options, made)
        now = self.rig.now

        def judge(sent: Sent) -> None:
            if sent.re == "failed":
                assert sent["error"] == "queue_full", sent
                for message in made:
                    message.ended = True
                return
            self._note_put(queue, made, sent, now)

        given = {name: options[name] for name in ("priority", "delay_ms", "ttl_ms")}
        given = {name: value for name, value in given.items() if value is not None}
        if options["timed"]:
            given.pop("delay_ms", None)
        core = self.rig.queue(name)
        before = core.proposed_messages
        frames = [columns, batch] if columns else [batch]
        for message in made:
            if message.id is not None:
                queue.ids.setdefault(message.id, []).append((now, message))
        self.ask(client.peer, "put", *frames, judge=judge, queue=name, count=len(made), **given)
        if core.proposed_messages > before and core.settings.overflow == Overflow.REJECT:
            messages, size = held(core)
            assert messages <= (core.settings.max_messages or messages)
            # With instants of their own they are stored in parts, which weigh a little more.
            assert options["timed"] or size <= (core.settings.max_bytes or size)

    def _note_put(self, queue: QueueFacts, made: list[Message], sent: Sent, now: int) -> None:
        duplicates = set(sent.header.get("duplicates", ()))
        for index in duplicates:
            self.facts.require_duplicate(queue, made[index], now)
            made[index].ended = True
        taken = [message for index, message in enumerate(made) if index not in duplicates]
        assert sent["count"] == len(taken)
        for position, message in enumerate(taken, sent.header.get("first", 0)):
            message.position, message.sure, message.sure_at = position, True, self.rig.now
            if message.uuid != self.facts.queues[queue.name].uuid:
                # Its queue is about to be deleted, unless a crash undoes that.
                message.excuses.add(0)
            self.facts.require_distinct(queue, message, now)

    # Taking

    def get(self, client: Client, name: str, options: dict[str, Any], wait_ms: int) -> None:
        taker = self._taker(client, name, None, options)
        taker.ends_at = self.rig.now + wait_ms
        fields = self._fields(options) | {"max": options["most"], "timeout_ms": wait_ms}

        def judge(sent: Sent) -> None:
            taker.queue = self.facts.queues[name]
            assert sent["error"] == "exclusive_queue", sent
            del self.gets[req]

        req = self.ask(client.peer, "get", judge=judge, queue=name, **fields)
        if taker.queue.settings.exclusive:
            self.judges[req] = lambda _: None
        else:
            self.gets[req] = taker

    def consume(self, client: Client, name: str, number: int, options: dict[str, Any]) -> None:
        if number in client.consumers:
            return
        client.consumed += 1
        taker = client.consumers[number] = self._taker(client, name, client.consumed, options)
        fields = self._fields(options) | {"consumer": taker.number}
        fields |= {"credit": options["most"], "priority": options["priority"]}
        self.ask(client.peer, "consume", judge=_require_ok, queue=name, **fields)

    def _taker(
        self, client: Client, name: str, number: int | None, options: dict[str, Any]
    ) -> Taker:
        queue = self.facts.queues[name]
        queue.taken_blindly = queue.taken_blindly or options["auto_ack"]
        most, lease_ms, auto_ack = options["most"], options["lease_ms"], options["auto_ack"]
        return Taker(client.peer, queue, number, most, lease_ms, auto_ack, options["kind"])

    def _fields(self, options: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {"auto_ack": options["auto_ack"]}
        if options["lease_ms"] is not None:
            fields["lease_ms"] = options["lease_ms"]
        if options["kind"] is not None:
            fields["selector"] = [["kind", "=", options["kind"]]]
        return fields

    def credit(self, client: Client, number: int, messages: int) -> None:
        taker = client.consumers.get(number)
        if taker is not None:
            taker.credit += messages
            given = {"consumer": taker.number, "messages": messages}
            self.ask(client.peer, "credit", judge=_require_ok, **given)

    def cancel(self, client: Client, number: int) -> None:
        taker = client.consumers.pop(number, None)
        if taker is not None:
            self.ask(client.peer, "cancel", judge=_require_ok, consumer=taker.number)

    # Settling

    def settle(
        self, client: Client, cmd: str, memory: Memory, parts: list[tuple[int, int]], **f: Any
    ) -> None:
        """``cmd`` is ack, nack or reject; what nobody holds is taken or not, as the answer says."""
        queue = self.facts.queues[memory.queue]
        parts = list(dict.fromkeys(parts))
        named = self._named(queue, memory, parts)
        surely = [m for (_, n), m in named.items() if self._is_held(client, m, n)]
        now = self.rig.now

        def judge(sent: Sent) -> None:
            lost: set[int] = set()
            if sent.re == "failed":
                assert sent["error"] == "lease_lost", sent
                for first, count, _ in sent["lost"]:
                    lost.update(range(first, first + count))
            taken = [m for (position, _), m in named.items() if position not in lost]
            for message in named.values():
                message.settling.discard(req)
                if message not in taken:
                    message.excuses.discard(req)
            assert set(surely) <= set(taken), f"held and lost: {sent}"
            queue.count(_COUNTERS[cmd], len(taken))
            for message in taken:
                if message not in surely:
                    self._carry_out(cmd, message, f, now)
                if cmd == "ack" or (cmd == "reject" and message.fates[-1].target is None):
                    message.ended = True

        ranges = [[position, 1, attempts] for position, attempts in parts]
        req = self.ask(
            client.peer, cmd, judge=judge, queue=memory.queue, tag=memory.tag, ranges=ranges, **f
        )
        for message in named.values():
            if cmd != "nack":
                message.excuses.add(req)
            else:
                message.changed = True
        for message in surely:
            message.holder = None
            if cmd != "nack" or f["charge"] or f.get("delay_ms") or message.is_expired(now):
                # What costs nothing is ready before the answer.
                message.settling.add(req)
            self._carry_out(cmd, message, f, now)

    def _named(
        self, queue: QueueFacts, memory: Memory, parts: list[tuple[int, int]]
    ) -> dict[tuple[int, int], Message]:
        found = {part: self.facts.at(queue, part[0]) for part in parts}
        is_there = queue.uuid == memory.uuid
        return {part: m for part, m in found.items() if m is not None and is_there}

    def _is_held(self, client: Client, message: Message, attempts: int) -> bool:
        holder = message.holder
        return (
            holder is not None and holder.session == client.peer and message.attempts == {attempts}
        )

    def _carry_out(self, cmd: str, message: Message, fields: dict[str, Any], now: int) -> None:
        """What the command does to a message that it takes."""
        settings = self.facts.queues[message.queue].settings
        if cmd == "ack":
            return
        if cmd == "reject":
            message.changed = True
            message.fates.append(Fate("rejected", settings.dead_letter))
            return
        charged, delay = fields["charge"], fields.get("delay_ms")
        if message.is_expired(now) or charged:
            attempts = min(message.attempts) + 1
            self.charge(message)
        elif not delay:
            message.not_before = 0
            return
        else:
            attempts = min(message.attempts)
        delay = settings.backoff(attempts) if delay is None else delay
        message.not_before = now + delay if delay else 0
        message.changed = message.rests = True

    def extend(self, client: Client, memory: Memory, lease_ms: int) -> None:
        queue = self.facts.queues[memory.queue]
        named = self._named(queue, memory, memory.parts)
        surely = {m for (_, n), m in named.items() if self._is_held(client, m, n)}
        ends_at = self.rig.now + lease_ms
        for message in surely:
            assert message.holder is not None
            message.holder.ends_at = ends_at

        def judge(sent: Sent) -> None:
            got = {p for first, count, _ in sent["held"] for p in range(first, first + count)}
            taken = {m for (position, _), m in named.items() if position in got}
            assert surely <= taken, f"held and lost: {sent}"
            for message in taken - surely:
                assert message.holder is None, "held by two"
                message.holder = Holder(client.peer, None, ends_at)
                message.touched = True

        ranges = [[position, 1, attempts] for position, attempts in memory.parts]
        fields = {"queue": memory.queue, "tag": memory.tag, "ranges": ranges}
        self.ask(client.peer, "extend", judge=judge, lease_ms=lease_ms, **fields)
        self.turn()

    def transact(
        self, client: Client, memory: Memory, puts: list[tuple[str, dict[str, Any]]]
    ) -> None:
        """Everything or nothing; what is put comes to its queue at an instant of its own."""
        queue = self.facts.queues[memory.queue]
        named = self._named(queue, memory, memory.parts)
        surely = [m for (_, n), m in named.items() if self._is_held(client, m, n)]
        puts = [(name, {**options, "timed": False, "ttl_ms": None}) for name, options in puts]
        made = [self._transacted(name, options) for name, options in puts]

        def judge(sent: Sent) -> None:
            for message in named.values():
                message.settling.discard(req)
                if sent.re == "failed":
                    message.excuses.discard(req)
            for message in [m for each in made for m in each]:
                message.sure, message.ended = sent.re == "ok", sent.re != "ok"
            if sent.re == "failed":
                assert sent["error"] == "lease_lost", sent
                assert len(surely) < len(memory.parts), "all was held"
                return
            assert sent["settled"] == len(named) == len(memory.parts)
            queue.count("acked", len(named))
            for message in named.values():
                message.ended = True

        together = list(zip(puts, made, strict=True))
        fields = [
            {"queue": n, "count": len(m), "priority": o["priority"]} for (n, o), m in together
        ]
        for each, (_, options) in zip(fields, puts, strict=True):
            if options["delay_ms"] is not None:
                each["delay_ms"] = options["delay_ms"]
        pairs = [list(self.frames(o, m)) for (_, o), m in zip(puts, made, strict=True)]
        ranges = [[position, 1, attempts] for position, attempts in memory.parts]
        settles = [{"queue": memory.queue, "tag": memory.tag, "ranges": ranges}]
        client.transactions += 1
        producer = b"tx%d-%d" % (client.number, client.transactions)
        req = self.ask(
            client.peer,
            "transact",
            msgpack.packb(pairs),
            judge=judge,
            settles=settles,
            puts=fields,
            producer=producer,
            seq=0,
        )
        for message in named.values():
            message.excuses.add(req)
        if len(surely) == len(memory.parts):
            for message in surely:
                message.holder = None
                message.settling.add(req)

    def _transacted(self, name: str, options: dict[str, Any]) -> list[Message]:
        made = self.make(name, options)
        for message in made:
            message.expires_at = message.not_before = None
        return made

    # Ends

    def crash(self, kept: int) -> None:
        self.rig.crash(kept)
        self.judges.clear()
        self.gets.clear()
        self._know_queues()
        for client in self.clients:
            client.consumers.clear()
            client.peer = b""
        self.ask(OPERATOR, "hello", judge=lambda _: None, client="world", timeout_ms=300_000)
        self.facts.settle(self.look(), self.rig.now, crashed=True)
        for name in NAMES:
            if name not in self.facts.queues:
                self.declare(name, self.settings[name])
        for client in self.clients:
            self.connect(client, resume=True)

    def _know_queues(self) -> None:
        """The queues that are there, with the settings that they have."""
        for name in NAMES:
            core = self.rig.machine(name).names.get(name)
            self.facts.queues.pop(name, None)
            if core is None:
                continue
            known = self.known[core.ledger.uuid]
            known.adopt(core.settings)
            known.counts = {}
            known.began_with = core.ledger.messages - core.departing.positions
            self.facts.queues[name] = known


_COUNTERS = {"ack": "acked", "nack": "nacked", "reject": "rejected"}


def _require_ok(sent: Sent) -> None:
    assert sent.re == "ok", sent
