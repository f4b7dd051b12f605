"""A slot's log: positions (lsn), reigns (epochs), how far it is durable, committed, applied.

    applied_lsn <= commit_lsn <= last_lsn,   durable_lsn <= last_lsn

Order kept here: an entry is proposed (or received from the primary), written, made durable,
committed, applied, and only then answered.  Commit is what every in-sync replica has durable;
alone, that is one's own disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from broker.cluster.epochs import EpochTable
from broker.model.entries import Entry


class Proposed:
    """An entry on its way: ``now`` is the slot's time at the proposal, which never falls."""

    __slots__ = ("chain", "entry", "lsn", "now")

    def __init__(self, lsn: int, now: int, entry: Entry, chain: int = 0) -> None:
        self.lsn = lsn
        self.now = now
        self.entry = entry
        #: The log's checksum chain at this entry, known once it is written.
        self.chain = chain


class SlotLog:
    """``epoch`` is the reign that proposes here; ``chain`` the checksum chain at ``last_lsn``, from
    where this log goes on; ``epochs`` the table of (epoch, first lsn)."""

    def __init__(
        self,
        epoch: int,
        last_lsn: int,
        now: int,
        chain: int = 0,
        epochs: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.epoch = epoch
        self.epochs = EpochTable(epochs)
        self.last_lsn = last_lsn
        self.durable_lsn = last_lsn
        self.commit_lsn = last_lsn
        self.applied_lsn = last_lsn
        self.applied_chain = chain
        self.now = now
        self._unwritten: list[Proposed] = []
        self._uncommitted: deque[Proposed] = deque()

    @property
    def last_epoch(self) -> int:
        return self.epochs.at(self.last_lsn) or 0

    @property
    def last_chain(self) -> int:
        """The chain at ``last_lsn``; all that was proposed must have been written."""
        return self._uncommitted[-1].chain if self._uncommitted else self.applied_chain

    def chain_at(self, lsn: int) -> int:
        """The chain at an entry that is not applied, or at the last that is."""
        if lsn == self.applied_lsn:
            return self.applied_chain
        return self._uncommitted[lsn - self.applied_lsn - 1].chain

    @property
    def is_quiet(self) -> bool:
        """True when all that was proposed is applied."""
        return self.applied_lsn == self.last_lsn

    def advance_time(self, now: int) -> int:
        self.now = max(self.now, now)
        return self.now

    def propose(self, entry: Entry) -> int:
        lsn = self.last_lsn + 1
        proposed = Proposed(lsn, self.now, entry)
        self._append(proposed, self.epoch)
        self._unwritten.append(proposed)
        return lsn

    def receive(self, proposed: Proposed, epoch: int) -> None:
        """The next entry as it was read, from the primary or from the own disk."""
        assert proposed.lsn == self.last_lsn + 1, "a log has no gaps"
        self._append(proposed, epoch)
        self.advance_time(proposed.now)

    def _append(self, proposed: Proposed, epoch: int) -> None:
        self.last_lsn = proposed.lsn
        self.epochs.note(epoch, proposed.lsn)
        self._uncommitted.append(proposed)

    def cut(self, lsn: int) -> list[Proposed]:
        """Forgets the entries above ``lsn``, none of which is committed; gives them in order."""
        assert lsn >= self.commit_lsn, "a committed entry is never cut"
        gone: deque[Proposed] = deque()
        while self._uncommitted and self._uncommitted[-1].lsn > lsn:
            gone.appendleft(self._uncommitted.pop())
        self._unwritten = [proposed for proposed in self._unwritten if proposed.lsn <= lsn]
        self.epochs.cut(lsn)
        self.last_lsn = lsn
        self.durable_lsn = min(self.durable_lsn, lsn)
        return list(gone)

    def take_unwritten(self) -> list[Proposed]:
        """What was proposed since the last call; the caller writes it before anything else."""
        unwritten, self._unwritten = self._unwritten, []
        return unwritten

    def become_durable(self, lsn: int) -> None:
        """Our disk holds the log up to ``lsn``."""
        assert lsn <= self.last_lsn
        self.durable_lsn = max(self.durable_lsn, lsn)

    def commit(self, lsn: int) -> None:
        """Every in-sync replica has the log up to ``lsn``."""
        assert lsn <= self.last_lsn
        self.commit_lsn = max(self.commit_lsn, lsn)

    def next_committed(self) -> Proposed | None:
        """The next entry to apply; the caller applies it at once."""
        if not self._uncommitted or self._uncommitted[0].lsn > self.commit_lsn:
            return None
        proposed = self._uncommitted.popleft()
        assert proposed.lsn == self.applied_lsn + 1, "entries are applied in order"
        self.applied_lsn = proposed.lsn
        self.applied_chain = proposed.chain
        return proposed

    @property
    def uncommitted(self) -> list[Proposed]:
        return list(self._uncommitted)

    def uncommitted_of(self, number: int) -> list[Entry]:
        """What is proposed and not yet committed for one queue, in order."""
        return [
            proposed.entry
            for proposed in self._uncommitted
            if getattr(proposed.entry, "number", None) == number
            or any(part.number == number for part in getattr(proposed.entry, "settled", ()))
        ]
