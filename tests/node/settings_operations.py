"""Sessions, and commands to queues as wholes, with what each answer says of the messages."""

from __future__ import annotations

from typing import Any

from broker.errors import BadField
from tests.node.settings_clients import NAMES, OPERATOR, Client
from tests.node.settings_judge import Judge, waiting
from tests.node.settings_model import QueueFacts, Seen
from tests.support.node_rig import Sent

#: Changing these needs an empty queue.
_MADE_OF = ("ordering", "dedup", "index_ids")


class Operations(Judge):
    def begin(self, settings: dict[str, dict[str, Any]]) -> None:
        self.settings = settings
        #: Also those that are deleted, for a crash may undo that.
        self.known: dict[bytes, QueueFacts] = {}
        self.hello(OPERATOR)
        for client in self.clients:
            self.connect(client)
        for name in NAMES:
            self.declare(name, settings[name])
        self.settle_down()

    # Sessions

    def hello(self, peer: bytes, **fields: Any) -> Sent:
        found: list[Sent] = []
        self.ask(peer, "hello", judge=found.append, client="world", timeout_ms=300_000, **fields)
        self.turn()
        return found[0]

    def connect(self, client: Client, *, resume: bool = False) -> None:
        """A new connection; a session that is resumed ends free of charge."""
        fields = {"resume": client.session} if resume and client.session else {}
        if fields:
            self.end_session(client, charged=False)
        client.connects += 1
        client.peer = b"\0%d%03d" % (client.number, client.connects)
        client.session = self.hello(client.peer, **fields)["session"]

    def bye(self, client: Client) -> None:
        self.ask(client.peer, "bye", judge=lambda _: None)
        self.end_session(client, charged=False)
        self.turn()
        self.connect(client)

    def vanish(self, client: Client) -> None:
        self.rig.node.unreachable(self.rig.now, client.peer, "gone")
        self.end_session(client, charged=True)
        self.connect(client)

    # Queues

    def declare(self, name: str, settings: dict[str, Any]) -> None:
        self.ask(OPERATOR, "declare", judge=_require_ok, queue=name, settings=settings)
        core = self.rig.machine(name).names[name]
        queue = QueueFacts(name, core.ledger.uuid, core.settings)
        queue.adopt(core.settings)
        self.facts.queues[name] = self.known[queue.uuid] = queue

    def update(self, name: str, values: dict[str, Any]) -> None:
        queue = self.facts.queues[name]
        try:
            settings = queue.settings.updated(values)
        except BadField:
            return
        made_of = any(name in values for name in _MADE_OF)

        def judge(sent: Sent) -> None:
            if made_of and sent.re == "failed":
                assert sent["error"] in ("queue_not_empty", "queue_not_found")
            else:
                assert sent.re == "ok", sent
                if made_of:
                    queue.adopt(queue.settings.updated(values))

        self.ask(OPERATOR, "update", judge=judge, queue=name, settings=values)
        if not made_of:
            queue.adopt(settings)
        if settings.exclusive and not made_of:
            self._end_gets(queue)

    def _end_gets(self, queue: QueueFacts) -> None:
        for req, taker in list(self.gets.items()):
            if taker.queue is queue:
                del self.gets[req]
                self.judges[req] = lambda _: None

    def delete(self, name: str) -> None:
        """It is made anew at once, with the settings that it began with."""
        queue = self.facts.queues[name]
        now = self.rig.now
        named = [m for m in self.facts.messages.values() if self.facts.may_be_in(m, name, now)]
        inside = self.facts.of_queue(queue)

        def judge(sent: Sent) -> None:
            assert sent.re == "ok", sent
            for message in inside:
                message.ended = message.ended or (
                    message.uuid == queue.uuid and not self.facts.may_leave(message, now)
                )

        req = self.ask(OPERATOR, "delete", judge=judge, queue=name, if_empty=False)
        for message in named:
            message.excuses.add(req)
            if message.uuid == queue.uuid:
                message.holder = None
        self._end_gets(queue)
        for client in self.clients:
            consumers = client.consumers.items()
            client.consumers = {n: taker for n, taker in consumers if taker.queue is not queue}
        self.declare(name, self.settings[name])

    def purge(self, name: str) -> None:
        queue = self.facts.queues[name]
        self._take_out("purge", queue, "purged")

    def remove(self, name: str, **named: Any) -> None:
        self._take_out("remove", self.facts.queues[name], "removed", **named)

    def _take_out(self, cmd: str, queue: QueueFacts, counter: str, **named: Any) -> None:
        """All that a browse shows to wait is taken out; for a purge also what is coming back."""
        listed: list[Seen] = []
        self.browse(queue.name, lambda places: listed.extend(waiting(places)), **named)
        returning = [m for m in self.facts.of_queue(queue) if m.holder is None]

        def judge(sent: Sent) -> None:
            for message in returning:
                message.settling.discard(req)
            if sent.re == "failed":
                assert sent["error"] == "ids_not_indexed", sent
                return
            queue.count(counter, sent["count"])
            assert sent["count"] >= len(listed), (sent, listed)
            if cmd != "purge":
                assert sent["count"] == len(listed), (sent, listed)
            for seen in listed:
                self.facts.messages[seen.body].ended = True

        req = self.ask(OPERATOR, cmd, judge=judge, queue=queue.name, **named)
        for message in returning:
            message.excuses.add(req)
            # While a purge is under way nothing expires; it is looked at again later.
            message.touched = message.touched or cmd == "purge"

    def reschedule(self, name: str, after_ms: int, **named: Any) -> None:
        queue = self.facts.queues[name]
        listed: list[Seen] = []
        self.browse(name, lambda places: listed.extend(waiting(places)), **named)
        at = self.rig.now + after_ms
        waits = [m for m in self.facts.of_queue(queue) if m.holder is None]

        def judge(sent: Sent) -> None:
            if sent.re == "failed":
                assert sent["error"] == "ids_not_indexed", sent
                return
            assert sent["count"] == len(listed), (sent, listed)
            for seen in listed:
                message = self.facts.messages[seen.body]
                message.not_before = at if after_ms else 0
                message.rests = False

        self.ask(OPERATOR, "reschedule", judge=judge, queue=name, at_ms=at, **named)
        for message in waits:
            message.not_before, message.changed = None, True
            # What expires meanwhile is looked at again later.
            message.touched = True

    def redrive(self, name: str, to: str | None, **fields: Any) -> None:
        given = {"to": to, **fields} if to is not None else fields

        def judge(sent: Sent) -> None:
            assert sent.re == "ok" or sent["error"] == "limit_reached", sent

        if to != name:
            self.facts.queues[name].redriven = True
            self.ask(OPERATOR, "redrive", judge=judge, queue=name, **given)


def _require_ok(sent: Sent) -> None:
    assert sent.re == "ok", sent
