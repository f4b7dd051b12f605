"""The coordinator that is etcd: three threads between it and the loop.

Owns the threads and the events that they bring.  Law: none waits for another, so a slow swap
or a stream that hangs delays no keepalive; and a thread that ends says why.

    follow   version, list, watch from the next revision on; list again after any gap
    tenure   the lease and the broker's key, once the cluster was seen to be the right one
    swaps    one after the other, in order
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Lock, Thread

from broker.cluster.ownership import BrokerRecord, ClusterConfig, Member, SlotConfig
from broker.cluster.view import Change, ClusterView, Owned, Swap, SwapAnswer, SwapOutcome
from broker.errors import (
    CoordinatorFailed,
    OtherCluster,
    ProcessError,
    UnknownCluster,
    UnreadableKey,
)
from broker.limits import TENURE_DEFAULT
from broker.server.clock import elapsed_ns
from broker.server.coordinator import Answered, Changed, Event, Failed, Listed, TenureExtended
from broker.server.etcd_client import Compacted, EtcdClient, KeyEvent, Watch
from broker.server.etcd_endpoint import EtcdAccess, EtcdError, Silent, Unreachable
from broker.server.etcd_keys import (
    apply_change,
    decode_event,
    decode_value,
    encode_value,
    key_of,
    prefix_of,
)
from broker.server.etcd_tenure import Tenure
from broker.server.logs import log_event

_log = logging.getLogger("broker.coordinator")

#: Between two attempts while etcd does not answer.
_RETRY_S = 0.2


def elapsed_ms() -> int:
    return elapsed_ns() // 1_000_000


class EtcdCoordinator:
    """``wake`` makes the loop look at ``take_events``, from any thread.

    ``cluster_id`` is the id that the data belongs to, "" when it belongs to none yet.  With
    ``tenure_ms`` below six seconds the waits for etcd are shortened to a third of it.
    """

    def __init__(
        self,
        access: EtcdAccess,
        wake: Callable[[], None],
        *,
        cluster: str,
        broker_id: str,
        record: BrokerRecord,
        member: Member | None = None,
        cluster_id: str = "",
        tenure_ms: int = TENURE_DEFAULT,
    ) -> None:
        self._access = replace(access, timeout_ms=min(access.timeout_ms, tenure_ms // 3))
        self._wake = wake
        self._cluster = cluster
        self._cluster_id = cluster_id
        self._config: ClusterConfig | None = None
        self._silence_ms = tenure_ms // 3
        self._lock = Lock()
        self._events: deque[Event] = deque()
        #: Nothing is told any more: it has failed or was closed.
        self._is_deaf = False
        self._closing = Flag()
        #: The cluster is known to be the right one: nothing is written before.
        self._admitted = Flag()
        self._tenure_due = Flag()
        self._swaps: SimpleQueue[Swap | None] = SimpleQueue()
        self._watch: Watch | None = None
        # The calls of one thread never wait for those of another, so each has its own client.
        self._follower, self._swapper, keeper = (EtcdClient(self._access) for _ in range(3))
        self._tenure = Tenure(
            keeper,
            lambda until: self._tell(TenureExtended(until)),
            cluster=cluster,
            broker_id=broker_id,
            record=record,
            member=member or Member(),
            tenure_ms=tenure_ms,
            elapsed_ms=elapsed_ms,
        )
        bodies = (
            (self._follow, self._follower),
            (self._keep_tenure, keeper),
            (self._carry_swaps, self._swapper),
        )
        self._threads = [
            Thread(target=self._run, args=body, name=f"etcd{body[0].__name__}", daemon=True)
            for body in bodies
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def take_events(self) -> list[Event]:
        return [self._events.popleft() for _ in range(len(self._events))]

    def swap(self, swap: Swap) -> None:
        self._swaps.put(swap)

    def update_record(self, record: BrokerRecord) -> None:
        self._tenure.record = record
        self._tenure_due.set()

    def close(self) -> None:
        self._stop()
        ends_at = elapsed_ms() + 2 * self._access.timeout_ms
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0, ends_at - elapsed_ms()) / 1_000)
        with self._lock:
            self._is_deaf = True

    def _stop(self) -> None:
        """Makes every thread end; the tenure's revokes the lease on its way out."""
        self._closing.set()
        self._admitted.set()
        self._tenure_due.set()
        self._swaps.put(None)
        if self._watch is not None:
            self._watch.stop()

    def _run(self, body: Callable[[], None], client: EtcdClient) -> None:
        with closing(client):
            try:
                body()
            except ProcessError as error:
                self._fail(error)
            except BaseException as error:
                self._fail(CoordinatorFailed(f"{body.__name__} ended with {error!r}"))
                raise

    def _fail(self, error: ProcessError) -> None:
        self._tell(Failed(error))
        self._stop()

    def _tell(self, event: Event) -> None:
        with self._lock:
            if not self._is_deaf:
                self._events.append(event)
                self._is_deaf = isinstance(event, Failed)
                self._wake()

    # ------------------------------------------------------------------ what the keys say

    def _follow(self) -> None:
        trouble = _Trouble("follow")
        while not self._closing.is_set():
            try:
                revision = self._list()
                trouble.end()
                self._admitted.set()
                while not self._closing.is_set():
                    revision = self._watch_from(revision + 1)
            except Compacted as error:
                log_event(_log, logging.INFO, "watch fell behind", reason=error)
            except EtcdError as error:
                if not self._closing.is_set():
                    trouble.meet(error)
                self._closing.wait(_RETRY_S)

    def _list(self) -> int:
        """Tells everything that stands; returns the revision at which it did."""
        listing = self._follower.list_prefix(prefix_of(self._cluster))
        view = ClusterView()
        for stored in listing.keys:
            change = self._decoded(KeyEvent(stored.key, stored.revision, stored))
            if change is not None:
                apply_change(view, change)
        if view.config is None:
            text = f"etcd holds no cluster {self._cluster!r}: run `msgqueue cluster init`"
            raise UnknownCluster(text)
        self._require_same(view.config)
        self._tell(Listed(view))
        return listing.revision

    def _watch_from(self, revision: int) -> int:
        """Tells changes until the watch is silent; returns the last revision that was told.

        Silence is either peace or a member that hangs: a linearizable read tells them apart.
        """
        told = revision - 1
        endpoint = self._follower.endpoint
        try:
            self._watch = watch = self._follower.watch(
                prefix_of(self._cluster), revision, silence_ms=self._silence_ms
            )
            if self._closing.is_set():
                watch.stop()
            for events in watch:
                for event in events:
                    self._tell_change(event)
                    told = event.revision
        except Silent:
            self._follower.get(key_of(self._cluster, "config"))
            if self._follower.endpoint != endpoint:
                raise Unreachable(f"{endpoint}: its watch was silent") from None
        return told

    def _tell_change(self, event: KeyEvent) -> None:
        change = self._decoded(event)
        if change is None:
            return
        if isinstance(change.value, ClusterConfig):
            self._require_same(change.value)
        self._tell(Changed(change))

    def _decoded(self, event: KeyEvent) -> Change | None:
        """None for what cannot be read, too: it is left out of a list and passed over in a watch.

        The config stays what it was; it is fatal to have seen none.
        """
        try:
            return decode_event(self._cluster, event)
        except UnreadableKey as error:
            is_config = event.key == key_of(self._cluster, "config")
            if is_config and self._config is None:
                raise
            log_event(_log, logging.ERROR, "unreadable key", reason=error)
            return Change("config", "", self._config, event.revision) if is_config else None

    def _require_same(self, config: ClusterConfig) -> None:
        """Once seen, the id never changes: another means that etcd's data was replaced."""
        if self._cluster_id not in ("", config.id):
            text = f"{self._cluster!r} has the id {config.id}, this data is of {self._cluster_id}"
            raise OtherCluster(text)
        self._cluster_id = config.id
        self._config = config

    # ------------------------------------------------------------------ tenure and swaps

    def _keep_tenure(self) -> None:
        trouble = _Trouble("tenure")
        self._admitted.wait()
        try:
            while True:
                # Cleared before the look at what it announces, so that nothing is missed.
                self._tenure_due.clear()
                if self._closing.is_set():
                    return
                try:
                    wait_s = self._tenure.keep() / 1_000
                    trouble.end()
                except EtcdError as error:
                    trouble.meet(error)
                    wait_s = _RETRY_S
                self._tenure_due.wait(wait_s)
        finally:
            self._tenure.end()

    def _carry_swaps(self) -> None:
        trouble = _Trouble("swaps")
        while (swap := self._swaps.get()) is not None:
            try:
                answer = self._carry(swap)
                trouble.end()
            except EtcdError as error:
                trouble.meet(error)
                self._answer_unknown(swap)
            else:
                self._tell(Answered(swap, answer))

    def _carry(self, swap: Swap) -> SwapAnswer:
        if self._closing.is_set():
            return SwapAnswer(SwapOutcome.UNKNOWN)
        key = key_of(self._cluster, "slots", str(swap.slot))
        answer = self._swapper.put_if(key, encode_value(swap.config), swap.revision)
        if answer.is_done:
            return SwapAnswer(SwapOutcome.DONE, Owned(swap.config, answer.revision))
        if answer.found is None:
            return SwapAnswer(SwapOutcome.CONFLICT)
        try:
            config = decode_value("slots", answer.found)
        except UnreadableKey as error:
            log_event(_log, logging.ERROR, "unreadable key", reason=error)
            return SwapAnswer(SwapOutcome.UNKNOWN)
        assert isinstance(config, SlotConfig)
        return SwapAnswer(SwapOutcome.CONFLICT, Owned(config, answer.found.revision))

    def _answer_unknown(self, swap: Swap) -> None:
        """For it and for all that wait behind it: each would wait as long for the same etcd."""
        self._closing.wait(_RETRY_S)
        unanswered: list[Swap | None] = [swap]
        with suppress(Empty):
            while True:
                unanswered.append(self._swaps.get_nowait())
        for each in unanswered:
            if each is None:
                self._swaps.put(None)
            else:
                self._tell(Answered(each, SwapAnswer(SwapOutcome.UNKNOWN)))


class _Trouble:
    """Logs when etcd stops answering one of the threads, and when it answers again."""

    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._is_on = False

    def meet(self, error: EtcdError) -> None:
        if not self._is_on:
            self._is_on = True
            event = "etcd does not answer"
            log_event(_log, logging.WARNING, event, thread=self._thread, reason=error)

    def end(self) -> None:
        if self._is_on:
            self._is_on = False
            log_event(_log, logging.WARNING, "etcd answers again", thread=self._thread)
