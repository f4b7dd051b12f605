"""What a node's turn gives to the shell, and what waits for the disk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from broker.cluster.view import Swap
from broker.node.replica import Mark, Replica


@dataclass(slots=True)
class Turn:
    """``sends`` are (peer, frames) in order; ``sync`` is a token when rows wait for a sync;
    ``wake_at`` is the next instant (ms) at which the node wants a turn.  ``links`` are (broker,
    frames), ``swaps`` are for the coordinator, ``published`` are multiparts for the XPUB."""

    sends: list[tuple[bytes, list[bytes]]]
    sync: int | None
    wake_at: int | None
    links: list[tuple[str, list[bytes]]] = field(default_factory=list)
    swaps: list[Swap] = field(default_factory=list)
    published: list[list[bytes]] = field(default_factory=list)


#: What a sync makes durable, slot by slot.
Written = list[tuple[Replica, Mark]]


class _Rows(NamedTuple):
    """Rows written by one turn."""

    token: int
    written: Written
    bytes: int


class Unsynced:
    """Rows that were written and are not known to be durable; oldest first."""

    def __init__(self) -> None:
        self.bytes = 0
        self._token = 0
        self._rows: deque[_Rows] = deque()

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, written: Written, size: int) -> int:
        """Gives the token that the shell returns when a later sync is done."""
        self._token += 1
        self._rows.append(_Rows(self._token, written, size))
        self.bytes += size
        return self._token

    def take(self, token: int) -> Written:
        """What is durable now."""
        durable: Written = []
        while self._rows and self._rows[0].token <= token:
            rows = self._rows.popleft()
            self.bytes -= rows.bytes
            durable += rows.written
        return durable


def earlier(one: int | None, other: int | None) -> int | None:
    """The first of two instants; None for never."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
