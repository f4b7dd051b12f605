"""The coordination service as its clients see it: keys with revisions, leases, and a history.

Owns what is stored and until when a lease lives.  It knows nothing of brokers or slots, and no
delay: ``coordinator_client.py`` carries requests to it and answers back.  Law: every change is one
revision, and the history tells all changes since the last compaction in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from broker.testing.schedule import Event, Schedule


class Row(NamedTuple):
    value: Any
    revision: int
    lease: int


class Written(NamedTuple):
    """One change of one key; the value is None when the key went."""

    revision: int
    key: str
    value: Any


class Compacted(Exception):
    """The history before the asked revision is gone: list anew."""


@dataclass(eq=False, slots=True)
class _Lease:
    ttl_us: int
    ends: Event


class EtcdModel:
    """``on_change`` hears of every change, at its instant."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._rows: dict[str, Row] = {}
        self._leases: dict[int, _Lease] = {}
        self._history: list[Written] = []
        self._compacted = 0
        self._next_lease = 1
        self.revision = 0
        #: False while there is no leader: nothing is answered and no lease ends.
        self.available = True
        self.on_change: list[Callable[[Written], None]] = []

    # Keys

    def get(self, key: str) -> Row | None:
        return self._rows.get(key)

    def listed(self) -> tuple[int, dict[str, Row]]:
        return self.revision, dict(self._rows)

    def lease_of(self, key: str) -> int:
        """The lease that a key lives under; 0 for none, or where there is no such key."""
        row = self._rows.get(key)
        return row.lease if row is not None else 0

    def put(self, key: str, value: Any, lease: int = 0) -> Row:
        self.revision += 1
        row = self._rows[key] = Row(value, self.revision, lease)
        self._changed(key, value)
        return row

    def put_if_absent(self, key: str, value: Any) -> None:
        if key not in self._rows:
            self.put(key, value)

    def swap(self, key: str, revision: int, value: Any) -> tuple[bool, Row | None]:
        """Whether ``value`` stands now, and what stands."""
        row = self._rows.get(key)
        if (row.revision if row else 0) != revision:
            return False, row
        return True, self.put(key, value)

    def _delete(self, key: str) -> None:
        self.revision += 1
        del self._rows[key]
        self._changed(key, None)

    def _changed(self, key: str, value: Any) -> None:
        written = Written(self.revision, key, value)
        self._history.append(written)
        for tell in self.on_change:
            tell(written)

    def since(self, revision: int) -> list[Written]:
        """Changes above ``revision``."""
        if revision < self._compacted:
            raise Compacted
        first = len(self._history) - (self.revision - revision)
        return self._history[first:]

    def compact(self) -> None:
        self._compacted = self.revision
        self._history.clear()

    # Leases

    def grant(self, ttl_us: int) -> int:
        number = self._next_lease
        self._next_lease += 1
        self._leases[number] = _Lease(ttl_us, self._end_later(number, ttl_us))
        return number

    def keep_alive(self, number: int) -> bool:
        """False when the lease has ended."""
        lease = self._leases.get(number)
        if lease is None:
            return False
        lease.ends.cancel()
        lease.ends = self._end_later(number, lease.ttl_us)
        return True

    def revoke(self, number: int) -> None:
        lease = self._leases.pop(number, None)
        if lease is not None:
            lease.ends.cancel()
            for key in [key for key, row in self._rows.items() if row.lease == number]:
                self._delete(key)

    def _end_later(self, number: int, delay_us: int) -> Event:
        return self._schedule.after(delay_us, f"etcd ends lease {number}", self._end, number)

    def _end(self, number: int) -> None:
        if self.available:
            self.revoke(number)

    # Outages

    def lose_leader(self) -> None:
        self.available = False

    def elect_leader(self) -> None:
        """A new leader counts every lease anew, so that they live longer than was promised."""
        self.available = True
        for number, lease in list(self._leases.items()):
            lease.ends.cancel()
            lease.ends = self._end_later(number, lease.ttl_us)
