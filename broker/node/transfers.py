"""Carries what leaves the queues that are served here to other queues, here or elsewhere.

    outbox row -- put (producer: the slot, sequence: the row's) --> target's slot
               <-- ok, or it was there already --                   -> Cleared
               <-- anything else --                                 -> again, in order, later

What it knows of puts under way is volatile: another reign begins again with the rows.  Law: a
line's puts are sent in order, and a row goes only after its target said that it has the message,
or, of a share, that the queue which was bound is no more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack

from broker.core.books.outbox import Line
from broker.core.channels.ended import channel_of
from broker.core.channels.sharing import drop_bound
from broker.core.choosing.picked import Picked
from broker.core.choosing.serving import frames_of
from broker.core.choosing.sheet import runs_of
from broker.core.leaving.departures import clear
from broker.core.machine import SlotMachine
from broker.errors import QueueNotFound, UnreadableMessage
from broker.limits import (
    DELAYED_LANES,
    PRIORITY_MAX,
    READ_BYTES,
    SEQUENCE_WINDOW,
    TRANSFER_BYTES_UNDER_WAY_MAX,
    TRANSFER_RETRY,
    TRANSFERS_UNDER_WAY_MAX,
)
from broker.model.commands import Put
from broker.model.entries import Move, Share
from broker.model.stored_batch import StoredBatch
from broker.names import OUTBOX, TRANSFER_PRODUCER
from broker.node.inner_client import InnerClient
from broker.node.replica import Replica
from broker.node.replicas import Replicas
from broker.protocol.due_column import due_times_of
from broker.protocol.transfers import PUT_FIELDS

#: What a put's columns keep; an instant was for the queue that is left.
_COLUMNS_LEFT = "at_ms"


class _Course:
    """The puts under way to one target."""

    __slots__ = ("at", "bytes", "retry_at", "taken", "under_way", "width")

    def __init__(self, at: int) -> None:
        #: The sequence from which on nothing was sent.
        self.at = at
        #: Sent and unanswered: sequence -> bytes
        self.under_way: dict[int, int] = {}
        self.bytes = 0
        #: How many puts may be under way; one while the target refuses.
        self.width = TRANSFERS_UNDER_WAY_MAX
        self.retry_at = 0
        #: What the target has and no entry says yet.
        self.taken: dict[int, None] = {}

    @property
    def has_room(self) -> bool:
        return len(self.under_way) < self.width and self.bytes < TRANSFER_BYTES_UNDER_WAY_MAX

    def note_sent(self, sequence: int, size: int) -> None:
        self.under_way[sequence] = size
        self.bytes += size
        self.at = sequence + 1

    def note_taken(self, sequence: int) -> None:
        self.taken[sequence] = None
        if sequence in self.under_way:
            self.bytes -= self.under_way.pop(sequence)
            self.width = TRANSFERS_UNDER_WAY_MAX

    def turn_back(self, retry_at: int) -> None:
        """All that is unanswered is sent again then, one at first; what is still answered meanwhile
        says nothing of whether the target takes more."""
        self.at = min(self.under_way)
        self.under_way.clear()
        self.bytes = 0
        self.width = 1
        self.retry_at = retry_at


class _Asked:
    """What a request was about; ``course`` and ``machine`` tell whether that still matters."""

    __slots__ = ("course", "machine", "sequence", "target")

    def __init__(self, machine: SlotMachine, course: _Course, target: str, sequence: int) -> None:
        self.machine = machine
        self.course = course
        self.target = target
        self.sequence = sequence


class Transfers:
    """``client`` puts; ``may_act`` says whether a slot is served now."""

    def __init__(
        self,
        replicas: Replicas,
        active: dict[int, Replica],
        client: InnerClient,
        may_act: Callable[[Replica, int], bool],
    ) -> None:
        self._replicas = replicas
        self._active = active
        self._client = client
        self._may_act = may_act
        self._now = 0
        #: slot -> whose courses these are, and target -> course
        self._courses: dict[int, tuple[SlotMachine, dict[str, _Course]]] = {}
        #: slot -> when it is looked at again
        self._looks: dict[int, int] = {}

    def next_wake_at(self) -> int | None:
        return min(self._looks.values()) if self._looks else None

    def step(self, now: int) -> None:
        """Says what was taken, and sends what may be sent."""
        self._now = now
        if not self._active and not self._looks:
            return
        slots = [slot for slot, replica in self._active.items() if replica.machine.outbox.lines]
        if self._looks:
            slots += [s for s, at in self._looks.items() if at <= now and s not in self._active]
        for slot in slots:
            self._looks.pop(slot, None)
            replica = self._replicas.find(slot)
            if replica is not None and replica.machine.is_serving:
                if self._may_act(replica, now):
                    self._go_on(replica)
                else:
                    self._look_at(slot, now + TRANSFER_RETRY)

    def _look_at(self, slot: int, at: int) -> None:
        self._looks[slot] = min(at, self._looks.get(slot, at))

    def _go_on(self, replica: Replica) -> None:
        machine = replica.machine
        machine.log.advance_time(self._now)
        courses = self._courses_of(machine)
        for target in [target for target in courses if target not in machine.outbox.lines]:
            del courses[target]
        for target, line in machine.outbox.lines.items():
            course = courses.get(target)
            if course is None:
                course = courses[target] = _Course(next(iter(line)))
            if course.taken:
                self._clear(machine, target, line, course)
                self._active[replica.slot] = replica
            if course.retry_at > self._now:
                self._look_at(machine.slot, course.retry_at)
            else:
                self._send(machine, target, line, course)

    def _courses_of(self, machine: SlotMachine) -> dict[str, _Course]:
        owner, courses = self._courses.get(machine.slot, (None, {}))
        if owner is not machine:
            courses = {}
            self._courses[machine.slot] = (machine, courses)
        return courses

    # Sending

    def _send(self, machine: SlotMachine, target: str, line: Line, course: _Course) -> None:
        """Sends on while there is room.  A line may have gaps; what is sent of it lies within the
        window of sequences that the target remembers."""
        first = next(iter(line))
        end = min(machine.outbox.next_sequences[target], first + SEQUENCE_WINDOW)
        course.at = max(course.at, first)
        while course.has_room and course.at < end:
            row = line.get(course.at)
            if row is None or course.at in course.taken:
                course.at += 1
                continue
            number, move = row
            try:
                put = _put_of(machine, number, move)
            except UnreadableMessage as error:
                self._refused(machine, course, move, error.text)
                return
            asked = _Asked(machine, course, target, move.sequence)
            course.note_sent(move.sequence, move.size)
            self._client.ask(put, partial(self._hear, asked))

    def _refused(self, machine: SlotMachine, course: _Course, move: Move, text: str) -> None:
        machine.outbox.errors[move.target] = text
        course.under_way[move.sequence] = 0
        course.turn_back(self._now + TRANSFER_RETRY)
        self._look_at(machine.slot, course.retry_at)

    # Answers

    def _hear(self, asked: _Asked, header: dict[str, Any]) -> None:
        """The answer to one put."""
        if not self._is_current(asked):
            return
        machine, course = asked.machine, asked.course
        if header["re"] == "ok" or self._is_nobodys(asked, header):
            if asked.sequence in course.under_way:
                machine.outbox.errors.pop(asked.target, None)
            course.note_taken(asked.sequence)
            replica = self._replicas.find(machine.slot)
            assert replica is not None
            self._active[machine.slot] = replica
        elif asked.sequence in course.under_way:
            machine.outbox.errors[asked.target] = f"{header['error']}: {header['text']}"
            course.turn_back(self._now + TRANSFER_RETRY)
            self._look_at(machine.slot, course.retry_at)

    def _is_nobodys(self, asked: _Asked, header: dict[str, Any]) -> bool:
        """True for a share of a queue that is no more: it ends as if it were taken, and counted."""
        machine, sequence = asked.machine, asked.sequence
        row = machine.outbox.lines.get(asked.target, {}).get(sequence)
        if row is None or not isinstance(row[1], Share) or header["error"] != QueueNotFound.name:
            return False
        if sequence not in asked.course.taken:
            drop_bound(machine, row[1])
        return True

    def _is_current(self, asked: _Asked) -> bool:
        machine, courses = self._courses.get(asked.machine.slot, (None, {}))
        return machine is asked.machine and courses.get(asked.target) is asked.course

    def _clear(self, machine: SlotMachine, target: str, line: Line, course: _Course) -> None:
        """Proposes the end of what the target has taken, one entry for each source queue."""
        moves: dict[int, list[Move]] = {}
        for sequence in sorted(course.taken):
            if sequence in line:
                number, move = line[sequence]
                moves.setdefault(number, []).append(move)
        course.taken.clear()
        for number, taken in moves.items():
            clear(machine, machine.queues[number], target, taken)


def _put_of(machine: SlotMachine, number: int, move: Move) -> Put:
    """The put that makes a move, but for its ``req``."""
    batch = _read(machine, number, move)
    picked = _picked(batch, move)
    *columns, bodies = frames_of(picked)
    properties = msgpack.unpackb(batch.properties) if batch.properties else {}
    source = machine.queues[number].name
    channel = channel_of(source)
    if channel is not None:
        properties["channel"] = channel
    # What a transaction puts, or was published, was in no queue yet: instants are for the target.
    is_new = source == OUTBOX or channel is not None
    fields = {
        "priority": PRIORITY_MAX - move.extent.lane % DELAYED_LANES,
        **{name: value for name, value in properties.items() if name in PUT_FIELDS},
        # What it died of before is no news.
        "death": None,
        **(msgpack.unpackb(move.note) if move.note else {}),
    }
    kept = columns[0] if columns and is_new else _kept(*columns)
    return Put(
        queue=move.target,
        uuid=move.uuid if isinstance(move, Share) else None,
        count=sum(item.count for item in picked),
        producer=TRANSFER_PRODUCER + str(machine.slot).encode(),
        seq=move.sequence,
        columns=kept,
        due_times=due_times_of(kept),
        is_new=is_new or None,
        batch=bodies,
        **fields,
    )


def _picked(batch: StoredBatch, move: Move) -> list[Picked]:
    """What of the batch the move is about."""
    if not isinstance(move, Share) or not move.mask:
        return [Picked(batch, move.first, move.count, 0)]
    runs = runs_of(int.from_bytes(move.mask, "little"), batch.first)
    return [Picked(batch, first, count, 0) for first, count in runs]


def _read(machine: SlotMachine, number: int, move: Move) -> StoredBatch:
    end = move.first + move.count
    found = machine.bodies.read(number, move.extent.lane, move.first, end, 1, READ_BYTES)
    if not found or found[0].first > move.first or found[0].end < end:
        raise UnreadableMessage(f"the stored batch of position {move.first} is missing")
    return found[0]


def _kept(columns: bytes = b"") -> bytes:
    if not columns:
        return b""
    values = msgpack.unpackb(columns)
    values.pop(_COLUMNS_LEFT, None)
    return bytes(msgpack.packb(values)) if values else b""
