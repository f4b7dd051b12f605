"""One broker process's conversation with the coordination service.

Owns the tenure (a lease that is kept alive), the list and the watch, and the swaps under way; it
gives the node what it learns through the process, as the shell does.  Law: a tenure counts from
the sending of the keepalive, and every swap has exactly one answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from broker.cluster.ownership import BrokerRecord, ClusterConfig, Member, SlotConfig
from broker.cluster.view import Change, ClusterView, Owned, Swap, SwapAnswer, SwapOutcome
from broker.testing.etcd_model import Compacted, EtcdModel, Row, Written
from broker.testing.schedule import MS, SECOND, Event, Schedule

PREFIX = "/sim"
TIMEOUT_US = 2 * SECOND
_RETRY_US = 200 * MS


@dataclass(slots=True)
class CoordinatorFaults:
    """Probabilities of one request, and of one delivery of the watch."""

    lose_request: float = 0.0
    lose_reply: float = 0.0
    #: Carried out after its sender has given up.
    late_request: float = 0.0
    slow_watch: float = 0.0
    slow_watch_us_max: int = 3 * SECOND


@dataclass(frozen=True, slots=True)
class Tenure:
    """``safety`` is taken off the tenure: the drift and the margin."""

    ttl_ms: int
    safety_ms: int


class Host(Protocol):
    """The process, as this client sees it."""

    name: str

    @property
    def incarnation(self) -> str: ...

    def now_ms(self) -> int: ...

    def view_listed(self, view: ClusterView) -> None: ...

    def view_changed(self, change: Change) -> None: ...

    def swap_answered(self, swap: Swap, answer: SwapAnswer) -> None: ...

    def tenure_extended(self, until_ms: int) -> None: ...


class CoordinatorClient:
    def __init__(
        self,
        host: Host,
        etcd: EtcdModel,
        schedule: Schedule,
        random: Random,
        faults: CoordinatorFaults,
        tenure: Tenure,
    ) -> None:
        self._host = host
        self._etcd = etcd
        self._schedule = schedule
        self._random = random
        self._faults = faults
        self._tenure = tenure
        self._lease = 0
        #: The revision up to which the host was told; None while it waits for a list.
        self._seen: int | None = None
        self._watch: Event | None = None
        self._timer: Event | None = None
        self._is_open = True
        self._is_paused = False
        #: True while this machine does not reach the service.
        self.is_cut = False

    def open(self) -> None:
        self._etcd.on_change.append(self._follow)
        self._keep_alive()
        self._list()

    def close(self) -> None:
        self._is_open = False
        self._etcd.on_change.remove(self._follow)
        if self._timer is not None:
            self._timer.cancel()

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        if self._timer is not None:
            self._timer.cancel()
        self._keep_alive()
        self._watch_soon()

    # Requests

    def _ask(self, name: str, request: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        """``answered`` gets the result once, or None when no answer came in time."""
        faults, chance = self._faults, self._random.random
        travel_us = 200 + int(2 * MS * chance())
        if faults.late_request and chance() < faults.late_request:
            travel_us = TIMEOUT_US + int(4 * SECOND * chance())
        call = _Call(answered)
        label = f"{self._host.name} asks {name}"
        self._schedule.after(TIMEOUT_US, f"{label} no more", self._answer, call, None)
        if not (faults.lose_request and chance() < faults.lose_request):
            self._schedule.after(travel_us, label, self._carry_out, call, request, name)

    def _carry_out(self, call: _Call, request: Callable[[], Any], name: str) -> None:
        faults, chance = self._faults, self._random.random
        if self.is_cut or not self._etcd.available:
            return
        result = request()
        if faults.lose_reply and chance() < faults.lose_reply:
            return
        delay_us = 200 + int(2 * MS * chance())
        label = f"{self._host.name} hears {name}"
        self._schedule.after(delay_us, label, self._answer, call, result)

    def _answer(self, call: _Call, result: Any) -> None:
        if call.answered is not None and self._is_open:
            answered, call.answered = call.answered, None
            answered(result)

    # Tenure

    def _keep_alive(self) -> None:
        if not self._is_open or self._is_paused:
            return
        sent_ms = self._host.now_ms()
        interval_us = self._tenure.ttl_ms * MS // 3
        label = f"{self._host.name} keeps its tenure"
        self._timer = self._schedule.after(interval_us, label, self._keep_alive)
        self._ask("tenure", self._tenure_request, lambda lease: self._kept(lease, sent_ms))

    def _tenure_request(self) -> int:
        """Lengthens the lease, or takes a new one with this broker's record under it."""
        etcd, host = self._etcd, self._host
        key = f"{PREFIX}/brokers/{host.name}"
        # A request of a former life may have put the key under a lease that nobody renews.
        if self._lease and etcd.keep_alive(self._lease) and etcd.lease_of(key) == self._lease:
            return self._lease
        lease = etcd.grant(self._tenure.ttl_ms * MS)
        record = BrokerRecord(host.incarnation, (f"sim://{host.name}",), f"sim://{host.name}", "1")
        etcd.put_if_absent(f"{PREFIX}/members/{host.name}", Member())
        etcd.put(key, record, lease)
        return lease

    def _kept(self, lease: int | None, sent_ms: int) -> None:
        if lease is not None:
            self._lease = lease
            until_ms = sent_ms + self._tenure.ttl_ms - self._tenure.safety_ms
            self._host.tenure_extended(until_ms)

    # Views

    def _list(self) -> None:
        if self._is_open:
            self._seen = None
            self._ask("list", self._etcd.listed, self._listed)

    def _listed(self, found: tuple[int, dict[str, Row]] | None) -> None:
        if found is None:
            label = f"{self._host.name} lists again"
            self._schedule.after(_RETRY_US, label, self._list)
            return
        revision, rows = found
        view = ClusterView()
        for key, row in rows.items():
            _take_in(view, key, row)
        self._seen = revision
        self._host.view_listed(view)
        self._watch_soon()

    def _follow(self, written: Written) -> None:
        self._watch_soon()

    def _watch_soon(self) -> None:
        if self._watch is not None or self._seen is None or not self._is_open:
            return
        faults, chance = self._faults, self._random.random
        delay_us = 500 + int(2 * MS * chance())
        if faults.slow_watch and chance() < faults.slow_watch:
            delay_us += int(faults.slow_watch_us_max * chance() ** 2)
        label = f"{self._host.name} watches"
        self._watch = self._schedule.after(delay_us, label, self._tell_changes)

    def _tell_changes(self) -> None:
        self._watch = None
        if not self._is_open or self._seen is None or self._is_paused:
            return
        if self.is_cut or not self._etcd.available:
            label = f"{self._host.name} watches"
            self._watch = self._schedule.after(_RETRY_US, label, self._tell_changes)
            return
        try:
            changes = self._etcd.since(self._seen)
        except Compacted:
            self._list()
            return
        for written in changes:
            self._seen = written.revision
            self._host.view_changed(_change_of(written))

    # Swaps

    def swap(self, swap: Swap) -> None:
        key = f"{PREFIX}/slots/{swap.slot}"
        self._ask(
            f"swap {swap.slot} {swap.revision} {swap.config.epoch}",
            lambda: self._etcd.swap(key, swap.revision, swap.config),
            lambda result: self._host.swap_answered(swap, _swap_answer(result)),
        )


class _Call:
    """A request under way; ``answered`` is None once it was answered or given up."""

    __slots__ = ("answered",)

    def __init__(self, answered: Callable[[Any], None]) -> None:
        self.answered: Callable[[Any], None] | None = answered


def _swap_answer(result: tuple[bool, Row | None] | None) -> SwapAnswer:
    if result is None:
        return SwapAnswer(SwapOutcome.UNKNOWN)
    done, row = result
    owned = Owned(row.value, row.revision) if row is not None else None
    return SwapAnswer(SwapOutcome.DONE if done else SwapOutcome.CONFLICT, owned)


def _change_of(written: Written) -> Change:
    _, _, kind, *name = written.key.split("/")
    return Change(kind, name[0] if name else "", written.value, written.revision)


def _take_in(view: ClusterView, key: str, row: Row) -> None:
    _, _, kind, *name = key.split("/")
    value = row.value
    if isinstance(value, ClusterConfig):
        view.config = value
    elif isinstance(value, Member):
        view.members[name[0]] = value
    elif isinstance(value, BrokerRecord):
        view.brokers[name[0]] = value
    elif isinstance(value, SlotConfig):
        view.slots[int(name[0])] = Owned(value, row.revision)
    else:
        raise AssertionError(f"nobody knows the key {key} of kind {kind}")
