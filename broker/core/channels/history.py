"""``history``: what a channel keeps, in its order, to who joins late or has missed something.

One call gives a bounded part: as many messages and bytes as are asked for, and so much of the disk.
Law: nothing changes, and no more is shown than the settings ask to keep, however much more is
still there.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker import limits
from broker.core.channels.channel import Channel, History
from broker.core.channels.publishing import LANE
from broker.core.commands.pages import Page, Piece
from broker.core.machine import SlotMachine
from broker.core.session import Session
from broker.errors import BadField, SequenceAhead, UnknownEpoch, UnreadableMessage
from broker.model import commands
from broker.model.replies import Reply
from broker.model.stored_batch import StoredBatch


def handle_history(machine: SlotMachine, session: Session, command: commands.History) -> None:
    if command.req is None:
        raise BadField("history needs req: without it nobody could tell whose messages come")
    channel = machine.channels.find(command.channel)
    epoch = machine.log.epoch
    if command.epoch is not None and command.epoch > epoch:
        raise UnknownEpoch(f"the slot is in its epoch {epoch}, not in {command.epoch}")
    if command.after >= channel.next:
        raise SequenceAhead(f"the next message of {channel.name} is {channel.next}")
    page = Page(command.max, command.bytes_max)
    look = _Look(machine, channel, command)
    after = look.fill(page)
    header = {
        "re": "history",
        "req": command.req,
        "channel": channel.name,
        "epoch": epoch,
        "next": channel.next,
        "oldest": look.oldest,
        "after": after,
        "more": after + 1 < channel.next,
        "runs": page.runs(),
    }
    machine.replies.append(Reply(session.peer, header, page.frames()))


def oldest_by_number(machine: SlotMachine, channel: Channel) -> int:
    """The first sequence that is kept, as far as it can be told without reading."""
    history = channel.history
    if history is None:
        return channel.next
    settled = machine.queues[history.number].ledger.settled
    oldest = max(history.trimmed_to, settled.first_live(history.trimmed_to))
    most = history.settings.history_messages
    if most is not None:
        oldest = max(oldest, channel.next - most)
    return min(oldest, channel.next)


class _Look:
    """One call's way through a history; ``oldest`` is the first sequence that could be shown."""

    def __init__(self, machine: SlotMachine, channel: Channel, command: commands.History) -> None:
        self._machine = machine
        self._next = channel.next
        self._history = channel.history
        self._reads = limits.BROWSE_READS
        self._bytes = limits.BROWSE_BYTES
        self.oldest = oldest_by_number(machine, channel)
        self._from = max(self.oldest, command.after + 1)
        if command.last:
            self._from = max(self._from, channel.next - 1)
        self._since = command.since_ms or 0

    def fill(self, page: Page) -> int:
        """Fills the page; gives the sequence to go on after."""
        history = self._history
        if history is None or self._from >= self._next:
            return self._next - 1
        age_ms = history.settings.history_ms
        if age_ms is not None:
            kept_since = self._machine.now - age_ms
            self.oldest = self._first_since(history, self.oldest, kept_since)
        at = max(self._from, self.oldest)
        if self._since:
            at = self._first_since(history, at, self._since)
        done = at - 1
        try:
            while done + 1 < self._next and not self._is_spent:
                batches = self._read(history, done + 1, limits.BROWSE_READ_BYTES)
                for batch in batches:
                    taken = _add(page, batch, max(done + 1, batch.first))
                    done = taken if taken < batch.end else batch.end - 1
                    if taken < batch.end - 1:
                        return done
                if not batches:
                    return self._next - 1
        except UnreadableMessage:
            # What was found before it is good and leaves first.
            if done < at:
                raise
        return done

    @property
    def _is_spent(self) -> bool:
        return self._reads <= 0 or self._bytes <= 0

    def _read(self, history: History, first: int, size: int) -> list[StoredBatch]:
        batches = self._machine.bodies.read(
            history.number, LANE, first, self._next, limits.BROWSE_RECORDS, size
        )
        self._reads -= 1
        self._bytes -= sum(batch.size for batch in batches)
        return batches

    def _first_since(self, history: History, low: int, instant: int) -> int:
        """The first message from ``low`` on that was published at ``instant`` or later.

        Time never falls in a slot, so that a few batches tell.
        """
        high = self._next
        while low < high:
            middle = (low + high) // 2
            found = self._machine.bodies.read(history.number, LANE, middle, high, 1, 1)
            if found and found[0].put_at < instant:
                low = found[0].end
            else:
                high = min(middle, found[0].first) if found else middle
        return low


def _add(page: Page, batch: StoredBatch, first: int) -> int:
    """Adds the batch's messages from ``first`` on; gives the last one that is in the page."""
    labels: dict[str, Any] = msgpack.unpackb(batch.properties) if batch.properties else {}
    run = {"at": batch.put_at, **labels}
    return first + page.add(Piece(batch, first, batch.end - first, run)) - 1
