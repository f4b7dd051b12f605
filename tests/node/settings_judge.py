"""A node whose queues have any settings: its turns, and the judgement of all that it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgpack

from broker.core.books.tags import decode_tag
from broker.core.leaving.overflow import held
from broker.limits import READ_BYTES
from broker.names import OUTBOX
from tests.node.settings_clients import OPERATOR, STEP_MS, Client, Memory, Taker
from tests.node.settings_model import (
    WAITING,
    Facts,
    Fate,
    Holder,
    Message,
    QueueFacts,
    Seen,
)
from tests.node.soundness import require_sound
from tests.support.node_rig import NodeRig, Sent


class Judge:
    def __init__(self) -> None:
        self.rig = NodeRig()
        self.facts = Facts()
        self.clients = [Client(number) for number in range(2)]
        self.judges: dict[int, Callable[[Sent], None]] = {}
        self.gets: dict[int, Taker] = {}
        self.is_settled = True

    @property
    def by_peer(self) -> dict[bytes, Client]:
        return {client.peer: client for client in self.clients if client.peer}

    # Turns

    def turn(self) -> None:
        self._end_leases()
        sent = self.rig.turn()
        for one in sent:
            if one.re != "messages":
                self._judge(one)
        for one in sent:
            if one.re == "messages":
                self._judge_delivery(one)

    def sync(self) -> None:
        self.rig.sync()
        self.turn()

    def ask(
        self, peer: bytes, cmd: str, *frames: bytes, judge: Callable[[Sent], None], **f: Any
    ) -> int:
        req = self.rig.command(peer, cmd, *frames, **f)
        self.judges[req] = judge
        return req

    def _judge(self, sent: Sent) -> None:
        if sent.req is not None:
            assert sent.req in self.judges, f"answered twice or unasked: {sent}"
            self.judges.pop(sent.req)(sent)
        else:
            assert sent.re in ("closed", "cancelled"), sent

    def pass_time(self, steps: int) -> None:
        # What was sent is written before time goes on, as a turn does.
        self.turn()
        self.rig.now += steps * STEP_MS
        self.turn()
        for client in self.clients:
            self.ask(client.peer, "ping", judge=lambda sent: _require(sent.re == "pong"))
        self.ask(OPERATOR, "ping", judge=lambda sent: _require(sent.re == "pong"))
        self.turn()

    # Ends of leases and sessions

    def _end_leases(self) -> None:
        for message in self.facts.messages.values():
            if message.holder is not None and message.holder.ends_at <= self.rig.now:
                message.holder = None
                self.charge(message)
                message.not_before = 0

    def charge(self, message: Message, *, certain: bool = True) -> None:
        """It failed: one more attempt, or it leaves."""
        queue = self.facts.queues[message.queue]
        message.changed = True
        if message.is_expired(self.rig.now):
            message.fates.append(Fate("expired", queue.settings.dead_letter, certain))
            return
        most = queue.settings.attempts_max
        failed = {attempts + 1 for attempts in message.attempts}
        gone = {n for n in failed if most is not None and n >= most}
        if gone:
            sure = certain and gone == failed
            message.fates.append(Fate("attempts", queue.settings.dead_letter, sure))
            if sure:
                return
        if message.expires_at is None:
            # It may have expired instead.
            certain = False
        message.attempts = failed - gone if certain else message.attempts | (failed - gone)

    def end_session(self, client: Client, *, charged: bool) -> None:
        for message in self.facts.messages.values():
            holder = message.holder
            if holder is None or holder.session != client.peer:
                continue
            message.holder = None
            message.not_before = 0
            if charged:
                self.charge(message, certain=False)
            elif message.is_expired(self.rig.now):
                self.charge(message)
        client.consumers.clear()
        for req in [req for req, taker in self.gets.items() if taker.peer == client.peer]:
            del self.gets[req]
            self.judges.pop(req, None)

    # Deliveries

    def _judge_delivery(self, sent: Sent) -> None:
        taker = self._taker_of(sent)
        found = list(self.read(sent, "in_flight"))
        messages = [self._judge_taken(seen, taker) for seen in found]
        if not found:
            return
        # What was taken with auto_ack may come after its taker has ended.
        auto_ack = taker is None or taker.auto_ack
        queue = self.facts.queues[sent["queue"]]
        if queue.uuid == found[0].uuid:
            queue.count("delivered", len(found))
            queue.count("acked", len(found) if auto_ack else 0)
        if taker is None:
            return
        assert all(taker.wants(message) for message in messages)
        assert [s.rank for s in found] == sorted(s.rank for s in found), "out of order"
        taker.credit -= len(found)
        assert taker.credit >= 0, "more than its credit"
        if auto_ack:
            return
        self._judge_held(taker, messages, sent)
        self._require_best(taker, messages, found)

    def _taker_of(self, sent: Sent) -> Taker | None:
        if sent.req is not None:
            self.judges.pop(sent.req, None)
            taker = self.gets.pop(sent.req, None)
            if taker is not None and not sent.messages():
                assert taker.ends_at <= self.rig.now, "a get ends before its time"
            return taker
        client = self.by_peer.get(sent.peer)
        takers = client.consumers.values() if client is not None else []
        return next((taker for taker in takers if taker.number == sent["consumer"]), None)

    def _judge_taken(self, seen: Seen, taker: Taker | None) -> Message:
        message = self.facts.messages[seen.body]
        self.facts.see(message, seen, self.rig.now)
        assert message.sure, f"delivered before it is confirmed: {message}"
        assert message.holder is None, f"in flight already: {message}"
        assert not message.settling, f"given away while it is settled: {message}"
        message.touched = True
        message.attempts = {seen.attempts}
        message.fates.clear()
        message.rests = False
        if taker is None or taker.auto_ack:
            message.ended = True
            return message
        now = self.rig.now
        assert message.not_before is None or message.not_before <= now, f"too early: {message}"
        assert not message.is_expired(now), f"expired: {message}"
        message.not_before = 0
        return message

    def _judge_held(self, taker: Taker, messages: list[Message], sent: Sent) -> None:
        queue = taker.queue
        settings = queue.settings
        assert not settings.paused, "paused"
        if settings.exclusive:
            assert taker.number is not None, "a get of an exclusive queue"
        ends_at = self.rig.now + (taker.lease_ms or settings.lease_ms)
        for message in messages:
            self._require_alone(queue, message)
            message.holder = Holder(taker.peer, taker.number, ends_at)
        in_flight = sum(1 for m in self.facts.of_queue(queue) if m.holder is not None)
        most = settings.max_in_flight
        assert most is None or in_flight <= most, "more than max_in_flight"
        queue.note_given(self.rig.now, len(messages))
        parts = [(seen.position, seen.attempts) for seen in self.read(sent, "in_flight")]
        client = self.by_peer[taker.peer]
        client.memory = [
            *client.memory[-7:],
            Memory(queue.name, queue.uuid, sent["tag"], parts),
        ]

    def _require_alone(self, queue: QueueFacts, message: Message) -> None:
        """Of its key nothing else is in flight, on its way out, or waits for a retry."""
        if not queue.is_keyed or message.key is None:
            return
        for other in self.facts.of_queue(queue):
            if other is message or other.key != message.key:
                continue
            assert other.holder is None, f"two of a key in flight: {message} {other}"
            assert not other.settling, f"its key is not free yet: {message} {other}"
            waits = other.not_before is not None and other.not_before > self.rig.now
            assert not (other.rests and waits), f"a retry of its key waits: {message} {other}"

    def _require_best(self, taker: Taker, messages: list[Message], found: list[Seen]) -> None:
        """What is still ready at the end of the turn is not before what was given."""
        queue, worst = taker.queue, max(seen.rank for seen in found)
        keys = {m.key: seen.rank for m, seen in zip(messages, found, strict=True)}

        def judge(places: list[Seen]) -> None:
            for seen in places:
                message = self.facts.messages[seen.body]
                if seen.state != "ready" or seen.uuid != queue.uuid or not taker.wants(message):
                    continue
                if message.is_expired(self.rig.now):
                    continue
                if not queue.is_keyed or seen.key is None:
                    assert seen.rank > worst, f"passed over: {seen}"
                else:
                    assert seen.rank > keys.get(seen.key, seen.rank[:1]), f"passed over: {seen}"

        self.browse(queue.name, judge)

    # Looking

    def read(self, sent: Sent, state: str = "") -> Iterable[Seen]:
        """The messages of a delivery or a page."""
        name = sent["queue"]
        tag = sent.header.get("tag")
        uuid = decode_tag(tag).uuid if tag is not None else self.facts.queues[name].uuid
        columns = msgpack.unpackb(sent.frames[0]) if len(sent.frames) == 2 else {}
        none = [None] * len(sent.messages())
        ids, keys = columns.get("ids", none), columns.get("keys", none)
        for index, one in enumerate(sent.messages()):
            yield Seen(
                name,
                uuid,
                one.position,
                bytes(one.body[0]),
                state or one.run["state"],
                one.attempts,
                one.priority,
                one.run.get("due_at", 0),
                one.run.get("death"),
                ids[index],
                keys[index],
            )

    def browse(self, name: str, judge: Callable[[list[Seen]], None], **fields: Any) -> None:
        def judge_page(sent: Sent) -> None:
            if sent.re == "failed":
                assert sent["error"] in ("queue_not_found", "ids_not_indexed"), sent
                judge([])
                return
            assert sent["next"] is None
            judge(list(self.read(sent)))

        self.ask(OPERATOR, "browse", judge=judge_page, queue=name, max=10_000, **fields)

    def look(self) -> dict[bytes, list[Seen]]:
        """Where each message is; of queues as they are before this turn."""
        places: dict[bytes, list[Seen]] = {}

        def judge(found: list[Seen]) -> None:
            positions = [seen.position for seen in found]
            assert positions == sorted(set(positions))
            for seen in found:
                places.setdefault(seen.body, []).append(seen)

        for name in self.facts.queues:
            self.browse(name, judge)
        judge(self._in_outboxes())
        self.turn()
        return places

    def _in_outboxes(self) -> list[Seen]:
        """What transactions have put and no target has taken."""
        found: list[Seen] = []
        for slot in self.rig.node._replicas:
            outbox = slot.machine.names.get(OUTBOX)
            if outbox is None:
                continue
            ledger = outbox.ledger
            end = ledger.next_position
            for lane in ledger.lanes:
                batches = slot.machine.bodies.read(ledger.number, lane, 0, end, 1_000, READ_BYTES)
                for batch in batches:
                    bodies = [element[0] for element in msgpack.unpackb(batch.batch)]
                    for low, size, _ in outbox.departing.overlapping(batch.first, batch.count):
                        for body in bodies[low - batch.first : low - batch.first + size]:
                            at = len(found)
                            facts = ("departing", 0, 4, 0, None, None, None)
                            found.append(Seen(OUTBOX, b"", at, body, *facts))
        return found

    # Agreement

    def quiet(self) -> None:
        """Until all is committed and nothing is left to do; then all must agree."""
        self.settle_down()
        # What expired is gone within a second of its commit.
        self.pass_time(1)
        self.settle_down()
        places = self.look()
        self.facts.settle(places, self.rig.now, crashed=False)
        for queue in self.facts.queues.values():
            here = [s for found in places.values() for s in found if s.uuid == queue.uuid]
            self._require_equal(queue, here)

    def settle_down(self) -> None:
        for _ in range(200):
            self.turn()
            self.sync()
            if self.rig.is_quiet and not set(self.judges) - set(self.gets):
                return
        raise AssertionError("the node never comes to rest")

    def _require_equal(self, queue: QueueFacts, here: list[Seen]) -> None:
        core = self.rig.queue(queue.name)
        require_sound(self.rig, core)
        stats = self.rig.stats(queue.name, OPERATOR)
        states = dict.fromkeys(("ready", "in_flight", "departing"), 0)
        states["delayed"] = 0
        for seen in here:
            states["delayed" if seen.state == "resting" else seen.state] += 1
        assert states == {state: stats[state] for state in states}
        assert stats["messages"] == len(here)
        self._require_counters(queue, stats)
        self._require_limits(queue, stats)
        self._require_served(queue, here, stats)

    def _require_counters(self, queue: QueueFacts, stats: dict[str, Any]) -> None:
        told = stats["counters"]
        for name in ("acked", "nacked", "rejected", "removed", "purged", "delivered"):
            assert told[name] == queue.counts.get(name, 0), (name, told, queue.counts)
        left = ("rejected", "exhausted", "expired", "overflowed")
        assert told["dead_lettered"] + told["dropped"] == sum(told[name] for name in left), told
        gone = sum(told[name] for name in (*left, "acked", "removed", "purged", "redriven"))
        stayed = stats["messages"] - stats["departing"]
        assert stayed == queue.began_with + told["put"] - gone, (stats, queue.began_with)

    def _require_limits(self, queue: QueueFacts, stats: dict[str, Any]) -> None:
        """A queue that drops holds nothing ready above its limits."""
        core, settings = self.rig.queue(queue.name), queue.settings
        if not core.drops or not stats["ready"]:
            return
        messages, size = held(core)
        on_their_way = sum(move.size for _, _, move in core.departing)
        most, most_bytes = settings.max_messages, settings.max_bytes
        assert most is None or messages - core.departing.positions <= most
        assert most_bytes is None or size - on_their_way <= most_bytes

    def _require_served(self, queue: QueueFacts, here: list[Seen], stats: dict[str, Any]) -> None:
        """Nobody waits beside a message that could be his."""
        settings = queue.settings
        if settings.paused or settings.max_per_second is not None:
            return
        if settings.max_in_flight is not None and stats["in_flight"] >= settings.max_in_flight:
            return
        away = {seen.key for seen in here if seen.state not in ("ready", "delayed")}
        ready = [self.facts.messages[s.body] for s in here if s.state == "ready"]
        if queue.is_keyed:
            first: dict[str | None, Seen] = {}
            for seen in sorted(here, key=lambda seen: seen.rank):
                if seen.state == "ready":
                    first.setdefault(seen.key, seen)
            heads = {seen.body for seen in first.values()}
            ready = [m for m in ready if m.key is None or (m.body in heads and m.key not in away)]
        takers = [c for client in self.clients for c in client.consumers.values()]
        takers = [t for t in [*takers, *self.gets.values()] if t.queue is queue]
        if settings.exclusive:
            return
        for taker in takers:
            idle = taker.credit > 0 and not taker.auto_ack
            assert not idle or not any(map(taker.wants, ready)), f"not served: {taker} {ready}"


def _require(fact: bool) -> None:
    assert fact


def waiting(places: list[Seen]) -> list[Seen]:
    return [seen for seen in places if seen.state in WAITING]
