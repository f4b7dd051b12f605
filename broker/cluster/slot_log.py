"""A slot's log: positions (lsn), the reign (epoch), and how far it is durable, committed, applied.

    applied_lsn <= commit_lsn <= durable_lsn <= last_lsn

Order kept here: an entry is proposed, written, made durable, committed, applied, and only then
answered.  Commit is what every in-sync replica has durable; alone, that is one's own disk.
"""

from __future__ import annotations

from collections import deque

from broker.model.entries import Entry


class Proposed:
    """An entry on its way: ``now`` is the slot's time at the proposal, which never falls."""

    __slots__ = ("chain", "entry", "lsn", "now")

    def __init__(self, lsn: int, now: int, entry: Entry) -> None:
        self.lsn = lsn
        self.now = now
        self.entry = entry
        #: The log's checksum chain at this entry, known once it is written.
        self.chain = 0


class SlotLog:
    """``chain`` is the checksum chain at ``last_lsn``, where this log goes on."""

    def __init__(self, epoch: int, last_lsn: int, now: int, chain: int = 0) -> None:
        self.epoch = epoch
        self.last_lsn = last_lsn
        self.durable_lsn = last_lsn
        self.commit_lsn = last_lsn
        self.applied_lsn = last_lsn
        self.applied_chain = chain
        self.now = now
        self._unwritten: list[Proposed] = []
        self._uncommitted: deque[Proposed] = deque()

    def advance_time(self, now: int) -> int:
        self.now = max(self.now, now)
        return self.now

    def propose(self, entry: Entry) -> int:
        self.last_lsn += 1
        proposed = Proposed(self.last_lsn, self.now, entry)
        self._unwritten.append(proposed)
        self._uncommitted.append(proposed)
        return self.last_lsn

    def replay(self, proposed: Proposed) -> None:
        """An entry found on disk at a restart; it is applied by the caller at once."""
        self.last_lsn = self.durable_lsn = self.commit_lsn = proposed.lsn
        self.applied_lsn = proposed.lsn
        self.applied_chain = proposed.chain
        self.advance_time(proposed.now)

    def take_unwritten(self) -> list[Proposed]:
        """What was proposed since the last call; the caller writes it before anything else."""
        unwritten, self._unwritten = self._unwritten, []
        return unwritten

    def become_durable(self, lsn: int) -> None:
        """Our disk holds the log up to ``lsn``."""
        assert self.durable_lsn <= lsn <= self.last_lsn
        self.durable_lsn = lsn
        self.commit_lsn = lsn

    def next_committed(self) -> Proposed | None:
        """The next entry to apply; the caller applies it at once."""
        if not self._uncommitted or self._uncommitted[0].lsn > self.commit_lsn:
            return None
        proposed = self._uncommitted.popleft()
        assert proposed.lsn == self.applied_lsn + 1, "entries are applied in order"
        self.applied_lsn = proposed.lsn
        self.applied_chain = proposed.chain
        return proposed

    def uncommitted_of(self, number: int) -> list[Entry]:
        """What is proposed and not yet committed for one queue, in order."""
        return [
            proposed.entry
            for proposed in self._uncommitted
            if getattr(proposed.entry, "number", None) == number
        ]
