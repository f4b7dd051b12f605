"""Copies of queues' bindings as a slot keeps them for its channels: who gets what is published.

A binding stands in the slot of the channel that it names, or in all slots where its pattern has a
wildcard; the queue itself may be in any.  Laws: copies come and go with committed entries alone,
and an older word of a binding than the last one changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.limits import BINDING_REMEMBERED, BINDINGS_FOUND_MAX
from broker.model.entries import Bound, Unbound
from broker.model.patterns import PatternTrie
from broker.model.selector import Selector

#: (uuid of the queue, pattern)
CopyKey = tuple[bytes, str]


@dataclass(slots=True, frozen=True)
class BindingCopy:
    pattern: str
    queue: str
    uuid: bytes
    version: int
    selector: Selector | None

    @property
    def key(self) -> CopyKey:
        return self.uuid, self.pattern


class BindingCopies:
    def __init__(self) -> None:
        self.copies: dict[CopyKey, BindingCopy] = {}
        self._by_pattern: PatternTrie[BindingCopy] = PatternTrie()
        #: What is gone, in the order of its going: (version, when).
        self._gone: dict[CopyKey, tuple[int, int]] = {}
        #: channel -> what was found for it, since the last change
        self._found: dict[str, list[BindingCopy]] = {}
        self._dirty: set[CopyKey] = set()

    def match(self, channel: str) -> list[BindingCopy]:
        """Every binding that a message of the channel meets, but for selectors."""
        found = self._found.get(channel)
        if found is None:
            if len(self._found) >= BINDINGS_FOUND_MAX:
                self._found.clear()
            found = self._found[channel] = self._by_pattern.match(channel)
        return found

    def version_of(self, key: CopyKey) -> int:
        """The newest word of it that is known; -1 for none."""
        copy = self.copies.get(key)
        return copy.version if copy is not None else self._gone.get(key, (-1, 0))[0]

    def bind(self, entry: Bound, now: int) -> None:
        key = (entry.uuid, entry.pattern)
        if entry.version > self.version_of(key):
            self._take_out(key)
            self._gone.pop(key, None)
            selector = Selector.from_wire(entry.selector) if entry.selector is not None else None
            copy = BindingCopy(entry.pattern, entry.queue, entry.uuid, entry.version, selector)
            self._put_in(copy)
            self._dirty.add(key)
        self._forget(now)

    def unbind(self, entry: Unbound, now: int) -> None:
        key = (entry.uuid, entry.pattern)
        if entry.version >= self.version_of(key):
            self._take_out(key)
            self._gone.pop(key, None)
            self._gone[key] = (entry.version, now)
            self._dirty.add(key)
        self._forget(now)

    def _put_in(self, copy: BindingCopy) -> None:
        self.copies[copy.key] = copy
        self._by_pattern.add(copy.pattern, copy)
        self._found.clear()

    def _take_out(self, key: CopyKey) -> None:
        copy = self.copies.pop(key, None)
        if copy is not None:
            self._by_pattern.remove(copy.pattern, copy)
            self._found.clear()

    def _forget(self, now: int) -> None:
        """Nothing that was sent so long ago is still on its way."""
        while self._gone:
            key, (_, gone_at) = next(iter(self._gone.items()))
            if now - gone_at < BINDING_REMEMBERED:
                break
            del self._gone[key]
            self._dirty.add(key)

    def take_dirty(self) -> dict[CopyKey, list[Any] | None]:
        """Rows to write at a checkpoint: key -> row, None to delete it."""
        rows: dict[CopyKey, list[Any] | None] = {}
        for key in sorted(self._dirty):
            copy = self.copies.get(key)
            if copy is not None:
                selector = copy.selector.as_wire() if copy.selector is not None else None
                rows[key] = [copy.version, copy.queue, selector]
            else:
                gone = self._gone.get(key)
                rows[key] = list(gone) if gone is not None else None
        self._dirty.clear()
        return rows

    def load(self, rows: dict[CopyKey, list[Any]]) -> None:
        """What a checkpoint held: [version, queue, selector], or [version, when] of what is
        gone."""
        gone: dict[CopyKey, tuple[int, int]] = {}
        for (uuid, pattern), row in rows.items():
            if len(row) == 2:
                gone[uuid, pattern] = (row[0], row[1])
                continue
            version, queue, wire = row
            selector = Selector.from_wire(wire) if wire is not None else None
            self._put_in(BindingCopy(pattern, queue, uuid, version, selector))
        self._gone = dict(sorted(gone.items(), key=lambda item: item[1][1]))
