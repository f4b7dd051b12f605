"""One lane of a queue, read in order: a window of batches in memory, the rest on disk.

             handed out          window            on disk
    ------------------------|----------------|---------------------> positions
                            ^position        ^loaded_to

Behind ``position`` every unsettled message is in flight, came back, or rests.  The window
holds all that is committed when ``complete``; then a new batch is appended to it as it is.
"""

from __future__ import annotations

from collections import deque

from broker.model.stored_batch import StoredBatch

#: (batch, first, count): the positions of a batch that are still to be handed out
WindowPart = tuple[StoredBatch, int, int]


class LaneStream:
    __slots__ = ("complete", "lane", "loaded_to", "window", "window_bytes")

    def __init__(self, lane: int, loaded_to: int) -> None:
        self.lane = lane
        self.loaded_to = loaded_to
        self.window: deque[WindowPart] = deque()
        self.window_bytes = 0
        self.complete = False

    @property
    def position(self) -> int:
        """The first position of a batch that has not been handed out wholly."""
        return self.window[0][0].first if self.window else self.loaded_to

    def append(self, batch: StoredBatch, first: int, count: int) -> None:
        if not self.window or self.window[-1][0] is not batch:
            self.window_bytes += batch.size
        self.window.append((batch, first, count))
        self.loaded_to = batch.end

    def advance(self, count: int) -> None:
        """Hands out ``count`` positions of the head."""
        batch, first, size = self.window.popleft()
        if count < size:
            self.window.appendleft((batch, first + count, size - count))
        elif not self.window:
            self.window_bytes = 0
        elif self.window[0][0] is not batch:
            self.window_bytes -= batch.size

    def cut(self, first: int, count: int) -> None:
        """Takes positions out of the window that somebody claimed by their number."""
        kept: deque[WindowPart] = deque()
        for batch, low, size in self.window:
            end = low + size
            for a, b in ((low, min(end, first)), (max(low, first + count), end)):
                if a < b:
                    kept.append((batch, a, b - a))
        self.window = kept

    @property
    def handed_to(self) -> int:
        """Every position of this lane below was handed out, or is settled."""
        return self.window[0][1] if self.window else self.loaded_to

    def skip_to(self, position: int) -> None:
        """A purge: nothing below ``position``, where a batch begins, is left to hand out."""
        while self.window and self.window[0][1] < position:
            self.advance(self.window[0][2])
        if self.loaded_to < position:
            self.loaded_to = position
            self.complete = False
