"""A coordinator within the process: for a single broker, and for brokers that share one process.

Owns keys with revisions, a watch and a compare-and-swap, as any coordinator has them.  It needs
no service and forgets everything with the process, so a tenure has no deadline: it ends when
its holder closes, or when ``LocalKeys.end_tenure`` takes it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from broker.cluster.ownership import BrokerRecord, ClusterConfig, Member, SlotConfig
from broker.cluster.view import Change, ClusterView, Owned, Swap, SwapAnswer, SwapOutcome
from broker.errors import BrokerIdInUse, OtherCluster, ProcessError, UnknownCluster
from broker.server.coordinator import (
    Answered,
    Changed,
    Event,
    Failed,
    Listed,
    TenureExtended,
)

#: Later than any instant of a clock in milliseconds.
NEVER_MS = 2**63 - 1

Value = ClusterConfig | Member | BrokerRecord | SlotConfig


class _Stored(NamedTuple):
    value: Value
    revision: int


class LocalKeys:
    """The keys of one cluster, which any number of ``LocalCoordinator`` may share.

    Kinds and names are those of ``Change``.  Safe to use from several threads: watchers are
    called under the lock, in the order of revisions, and must not call back.
    """

    def __init__(self, config: ClusterConfig | None = None) -> None:
        self._lock = Lock()
        self._revision = 0
        self._keys: dict[tuple[str, str], _Stored] = {}
        self._watchers: list[Callable[[Change], None]] = []
        if config is not None:
            self.put("config", "", config)
            for slot in range(config.slots):
                self.put("slots", str(slot), SlotConfig())

    def put(self, kind: str, name: str, value: Value) -> None:
        with self._lock:
            self._write(kind, name, value)

    def delete(self, kind: str, name: str) -> None:
        with self._lock:
            self._delete(kind, name)

    def end_tenure(self, broker_id: str) -> None:
        """As if the broker's keepalives had stopped for longer than its tenure."""
        self.delete("brokers", broker_id)

    def register(self, broker_id: str, member: Member, record: BrokerRecord) -> None:
        """Raises BrokerIdInUse when another incarnation holds the id."""
        with self._lock:
            present = self._keys.get(("brokers", broker_id))
            if present is not None:
                holder = present.value
                assert isinstance(holder, BrokerRecord)
                if holder.incarnation != record.incarnation:
                    raise BrokerIdInUse(f"{broker_id} is alive with another data directory")
            if ("members", broker_id) not in self._keys:
                self._write("members", broker_id, member)
            self._write("brokers", broker_id, record)

    def swap(self, swap: Swap) -> SwapAnswer:
        key = ("slots", str(swap.slot))
        with self._lock:
            present = self._keys.get(key)
            if (0 if present is None else present.revision) != swap.revision:
                return SwapAnswer(SwapOutcome.CONFLICT, _owned(present))
            self._write(*key, swap.config)
            return SwapAnswer(SwapOutcome.DONE, _owned(self._keys[key]))

    def watch(self, listed: Callable[[ClusterView], None], watch: Callable[[Change], None]) -> None:
        """Calls ``listed`` with what stands, and ``watch`` with each change from there on."""
        with self._lock:
            listed(self._view())
            self._watchers.append(watch)

    def unwatch(self, watch: Callable[[Change], None]) -> None:
        with self._lock:
            if watch in self._watchers:
                self._watchers.remove(watch)

    def _view(self) -> ClusterView:
        view = ClusterView()
        for (_, name), (value, revision) in self._keys.items():
            match value:
                case ClusterConfig():
                    view.config = value
                case Member():
                    view.members[name] = value
                case BrokerRecord():
                    view.brokers[name] = value
                case SlotConfig():
                    view.slots[int(name)] = Owned(value, revision)
        return view

    def _write(self, kind: str, name: str, value: Value) -> None:
        self._revision += 1
        self._keys[kind, name] = _Stored(value, self._revision)
        self._tell(Change(kind, name, value, self._revision))

    def _delete(self, kind: str, name: str) -> None:
        if self._keys.pop((kind, name), None) is not None:
            self._revision += 1
            self._tell(Change(kind, name, None, self._revision))

    def _tell(self, change: Change) -> None:
        for watcher in self._watchers:
            watcher(change)


class LocalCoordinator:
    """``wake`` makes the loop look at ``take_events``, from any thread."""

    def __init__(
        self,
        keys: LocalKeys,
        wake: Callable[[], None],
        *,
        broker_id: str,
        record: BrokerRecord,
        member: Member | None = None,
        cluster_id: str = "",
    ) -> None:
        self._keys = keys
        self._wake = wake
        self._broker_id = broker_id
        self._record = record
        self._member = member or Member()
        self._cluster_id = cluster_id
        self._events: deque[Event] = deque()
        self._is_open = False

    def start(self) -> None:
        assert not self._is_open
        self._is_open = True
        self._keys.watch(self._listed, self._changed)
        if not self._is_open:
            self._keys.unwatch(self._changed)
            return
        try:
            self._keys.register(self._broker_id, self._member, self._record)
        except BrokerIdInUse as error:
            self._keys.unwatch(self._changed)
            self._fail(error)
            return
        self._tell(TenureExtended(NEVER_MS))

    def take_events(self) -> list[Event]:
        return [self._events.popleft() for _ in range(len(self._events))]

    def swap(self, swap: Swap) -> None:
        if self._is_open:
            self._tell(Answered(swap, self._keys.swap(swap)))

    def update_record(self, record: BrokerRecord) -> None:
        self._record = record
        if self._is_open:
            self._keys.put("brokers", self._broker_id, record)

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._keys.unwatch(self._changed)
        self._keys.end_tenure(self._broker_id)

    def _listed(self, view: ClusterView) -> None:
        if view.config is None:
            self._fail(UnknownCluster("run `msgqueue cluster init` first"))
        elif self._cluster_id not in ("", view.config.id):
            self._fail(OtherCluster(f"id {view.config.id}, expected {self._cluster_id}"))
        else:
            self._tell(Listed(view))

    def _changed(self, change: Change) -> None:
        self._tell(Changed(change))

    def _fail(self, error: ProcessError) -> None:
        self._is_open = False
        self._tell(Failed(error))

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._wake()


def _owned(stored: _Stored | None) -> Owned | None:
    if stored is None:
        return None
    assert isinstance(stored.value, SlotConfig)
    return Owned(stored.value, stored.revision)
