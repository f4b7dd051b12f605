"""What must be true of every single message, whatever settings its queues have.

No queue is simulated.  A message is known by its body, and carries what was done to it; when
somebody sees it, or misses it, that must be allowed by what was done.  A crash makes some of it
unsure, until the next look at all queues settles it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker.limits import SECOND
from broker.model.settings import Dedup, Ordering, Overflow, QueueSettings
from broker.names import OUTBOX

#: States of a message that nobody has.
WAITING = ("ready", "delayed", "resting")


@dataclass(frozen=True)
class Seen:
    """A message at one place, as a browse or a delivery tells of it."""

    queue: str
    uuid: bytes
    position: int
    body: bytes
    state: str
    attempts: int
    priority: int
    due_at: int
    death: dict[str, Any] | None
    id: str | None
    key: str | None

    @property
    def rank(self) -> tuple[int, int]:
        return -self.priority, self.position


@dataclass(eq=False)
class Holder:
    session: bytes
    consumer: int | None
    ends_at: int


@dataclass(frozen=True)
class Fate:
    """Why a message leaves its queue without an acknowledgement, and where to."""

    reason: str
    target: str | None
    certain: bool = True


@dataclass(eq=False)
class Message:
    body: bytes
    queue: str
    uuid: bytes
    priority: int
    id: str | None
    key: str | None
    kind: str
    #: Not ready before; None where nobody knows.
    not_before: int | None
    #: 0 for never; None where nobody knows.
    expires_at: int | None
    #: None while it is on its way to its first queue.
    position: int | None = None
    #: What the attempts may be.
    attempts: set[int] = field(default_factory=lambda: {0})
    #: Its put was confirmed, or somebody saw it.
    sure: bool = False
    sure_at: int = 0
    #: It must never be seen again.
    ended: bool = False
    holder: Holder | None = None
    #: It was handed out once, so that nobody foresees when it expires.
    touched: bool = False
    #: Requests under way that may end it, and those that surely take it from where it waits.
    excuses: set[int] = field(default_factory=set)
    settling: set[int] = field(default_factory=set)
    fates: list[Fate] = field(default_factory=list)
    #: Something was done to it that a crash may undo.
    changed: bool = False
    #: It failed and holds its key until it is ready again.
    rests: bool = False

    def is_expired(self, now: int) -> bool:
        return self.expires_at is not None and 0 < self.expires_at <= now


@dataclass(eq=False)
class QueueFacts:
    name: str
    uuid: bytes
    settings: QueueSettings
    #: All that its settings ever were since it was made, for what happened by them shows later.
    policies: set[str] = field(default_factory=set)
    dead_letters: set[str | None] = field(default_factory=set)
    attempts_maxima: set[int | None] = field(default_factory=set)
    #: Somebody takes with auto_ack, and may never hear what he got.
    taken_blindly: bool = False
    #: Somebody asked to redrive it.
    redriven: bool = False
    #: Counters of this reign, and what it began with.
    counts: dict[str, int] = field(default_factory=dict)
    began_with: int = 0
    #: Of this instant: messages delivered by the rate that the settings have.
    given_at: int = -1
    given: int = 0
    #: id -> (instant of the put, message), in the order of the puts
    ids: dict[str, list[tuple[int, Message]]] = field(default_factory=dict)

    def adopt(self, settings: QueueSettings) -> None:
        if settings.dedup != self.settings.dedup or settings.index_ids != self.settings.index_ids:
            self.ids.clear()
        self.settings = settings
        self.given = 0
        if settings.max_messages is not None or settings.max_bytes is not None:
            self.policies.add(settings.overflow)
        self.dead_letters.add(settings.dead_letter)
        self.attempts_maxima.add(settings.attempts_max)

    def count(self, name: str, messages: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + messages

    def note_given(self, now: int, messages: int) -> None:
        """No instant has more than 50 ms of the rate, or one message."""
        if now != self.given_at:
            self.given_at, self.given = now, 0
        self.given += messages
        rate = self.settings.max_per_second
        assert rate is None or self.given <= max(rate // 20, 1), "faster than max_per_second"

    @property
    def is_keyed(self) -> bool:
        return self.settings.ordering == Ordering.KEY


class Facts:
    """All messages and queues of a run."""

    def __init__(self) -> None:
        self.queues: dict[str, QueueFacts] = {}
        self.messages: dict[bytes, Message] = {}

    def of_queue(self, queue: QueueFacts) -> list[Message]:
        return [m for m in self.messages.values() if m.uuid == queue.uuid and not m.ended]

    def at(self, queue: QueueFacts, position: int) -> Message | None:
        found = [m for m in self.of_queue(queue) if m.position == position]
        assert len(found) <= 1, "two messages at one position"
        return found[0] if found else None

    # What may become of a message by itself

    def may_leave(self, message: Message, now: int) -> bool:
        """Whether it may be on its way, or elsewhere, or gone, without anybody's word."""
        queue = self.queues.get(message.queue)
        if queue is None or queue.uuid != message.uuid or queue.redriven or message.fates:
            return True
        if message.position is None or message.expires_at is None or message.is_expired(now):
            return True
        return bool(queue.policies - {Overflow.REJECT}) and message.holder is None

    def may_be_in(self, message: Message, name: str, now: int) -> bool:
        return message.queue == name or self.may_leave(message, now)

    def may_be_absent(self, message: Message, now: int) -> bool:
        if not message.sure or message.excuses:
            return True
        if message.uuid in {q.uuid for q in self.queues.values() if q.taken_blindly}:
            return True
        if not self.may_leave(message, now):
            return False
        queue = self.queues.get(message.queue)
        if queue is None or queue.uuid != message.uuid:
            return True
        if any(fate.target is None for fate in message.fates):
            return True
        if message.holder is None and Overflow.DROP_OLDEST in queue.policies:
            return True
        is_kept = None not in queue.dead_letters and message.expires_at is not None
        if not is_kept and (message.expires_at is None or message.is_expired(now)):
            return True
        # It may have gone on from where it went to.
        others = [q for q in self.queues.values() if q is not queue]
        return any(Overflow.DROP_OLDEST in q.policies or q.settings.ttl_ms for q in others)

    # Sightings

    def require_move(self, message: Message, seen: Seen, now: int) -> None:
        """A message is in another queue than it was: somebody or something sent it there."""
        source = self.queues.get(message.queue)
        if message.position is None or source is None or source.uuid != message.uuid:
            return
        if source.redriven:
            return
        assert self.may_leave(message, now), f"moved by nobody: {message} {seen}"
        assert seen.death is not None, f"moved without a death: {message} {seen}"
        if seen.death["queue"] != message.queue:
            return
        reason, fates = seen.death["reason"], {fate.reason for fate in message.fates}
        if reason in ("rejected", "attempts"):
            assert reason in fates, (message, seen)
        elif reason == "expired":
            assert message.expires_at is None or 0 < message.expires_at <= seen.death["at"]
        else:
            assert reason == "overflow"
            assert Overflow.DEAD_LETTER_OLDEST in source.policies
        assert seen.death["attempts"] - (reason == "attempts") in message.attempts
        assert seen.queue in source.dead_letters

    def note_moved(self, message: Message, seen: Seen, now: int) -> None:
        self.require_move(message, seen, now)
        came_by_put = message.position is None
        message.queue, message.uuid, message.position = seen.queue, seen.uuid, seen.position
        message.attempts, message.holder, message.touched = {0}, None, False
        message.fates.clear()
        message.changed = message.rests = False
        message.not_before = seen.due_at if came_by_put else 0
        # A dead letter lives on; what was sent back begins a new life at an unknown instant.
        message.expires_at = 0 if seen.death is not None else None

    def see(self, message: Message, seen: Seen, now: int) -> None:
        """What holds whoever sees it, and whenever."""
        assert not message.ended, f"seen after its end: {message} {seen}"
        if (seen.uuid, seen.position) != (message.uuid, message.position):
            self.note_moved(message, seen, now)
        assert seen.attempts in message.attempts, f"{message} {seen}"
        assert seen.priority == message.priority, f"{message} {seen}"
        assert (seen.id, seen.key) == (message.id, message.key), f"{message} {seen}"

    # Looks at everything

    def settle(self, places: dict[bytes, list[Seen]], now: int, *, crashed: bool) -> None:
        """Nothing is on its way to the disk: what was unsure is known from here on."""
        unknown = places.keys() - self.messages.keys()
        assert not unknown, f"put by nobody: {unknown}"
        for body, message in self.messages.items():
            found = places.get(body, [])
            if len(found) > 1 and crashed:
                # Its target has it, and its source did not hear so before the crash.
                found = [seen for seen in found if seen.state != "departing"]
            assert len(found) <= 1, f"in two places: {message} {found}"
            if not found:
                assert message.ended or self.may_be_absent(message, now), f"lost: {message}"
                message.ended = True
            elif found[0].queue == OUTBOX:
                assert message.position is None, f"{message} {found[0]}"
                message.sure = True
            else:
                self._settle_one(message, found[0], now, crashed=crashed)

    def _settle_one(self, message: Message, seen: Seen, now: int, *, crashed: bool) -> None:
        if crashed and message.changed:
            # What was done may be undone.
            message.attempts |= set(range(max(message.attempts) + 1))
            message.not_before = None
        if crashed:
            message.holder = None
        stood = (seen.uuid, seen.position) == (message.uuid, message.position)
        self.see(message, seen, now)
        if stood and not crashed:
            self._require_state(message, seen, now)
        if message.not_before is not None and seen.state in WAITING:
            due_at = message.not_before if message.not_before > now else 0
            assert seen.due_at == due_at, f"{message} {seen}"
        if seen.state in WAITING:
            message.not_before = seen.due_at
        message.attempts = {seen.attempts}
        message.sure = True
        message.changed = False
        message.excuses.clear()
        message.settling.clear()
        message.rests = message.rests and seen.state == "resting"
        if seen.state != "departing":
            message.fates.clear()

    def _require_state(self, message: Message, seen: Seen, now: int) -> None:
        assert not message.settling, f"answered by nobody: {message} {seen}"
        held = message.holder is not None
        assert held == (seen.state == "in_flight"), f"{message} {seen}"
        certain = [fate for fate in message.fates if fate.certain]
        assert not certain or seen.state == "departing", f"stayed: {message} {seen}"
        if message.is_expired(now) and seen.state in WAITING:
            over = max(message.expires_at or 0, message.sure_at) + SECOND <= now
            assert message.touched or not over, f"not expired: {message} {seen}"

    # Ids

    def require_distinct(self, queue: QueueFacts, message: Message, now: int) -> None:
        """A message was taken: no other with its id keeps it out."""
        if message.id is None or queue.settings.dedup == Dedup.OFF:
            return
        others = [(at, m) for at, m in queue.ids.get(message.id, []) if m is not message]
        for at, other in others:
            if queue.settings.dedup == Dedup.WINDOW:
                still = at + queue.settings.dedup_window_ms > now
                assert not still or not other.sure, f"a second of its id: {message} {other}"
            else:
                here = other.sure and other.uuid == queue.uuid
                stays = here and not other.ended and not self.may_leave(other, now)
                assert not stays or other.excuses, f"a second of its id: {message} {other}"

    def require_duplicate(self, queue: QueueFacts, message: Message, now: int) -> None:
        """A message was not taken: some other that is or was in its queue has its id."""
        assert queue.settings.dedup != Dedup.OFF
        assert message.id is not None
        others = [m for _, m in queue.ids.get(message.id, []) if m is not message]
        others += [
            m
            for m in self.messages.values()
            if m.id == message.id and m is not message
            if m.ended or self.may_be_in(m, queue.name, now)
        ]
        assert others, f"no duplicate: {message}"
