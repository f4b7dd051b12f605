"""The loop: sockets, the node, the disk and the coordinator, one turn after another.

A turn takes in what the cluster and then what clients sent (bounded), lets the node decide and
write, sends what may leave, and gives what was written to the committer.  All decisions are the
node's; this module owns when they are asked for.  Its laws:

- While the store stalls or too much is unsynced, nothing is read (back-pressure): what other
  brokers send is written too, and they send again what they get no answer to.
- After a pause of this process all input that waits is taken in before the node looks at the
  time, so that a pause is never taken for the silence of others, and a tenure that ran out
  meanwhile is known before anything is done for clients.
- What goes to other brokers leaves before this one waits for its disk.
- A connection that is over is told to the node when all that came over it was taken in.
- An error of the disk leaves ``run`` at once; nothing is sent after it.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable

from broker import limits
from broker.node.node import Node
from broker.server.channel_sockets import ChannelSockets
from broker.server.client_socket import ClientSocket
from broker.server.committer import Committer
from broker.server.connections import Connections
from broker.server.counter_report import CounterReport
from broker.server.ending import Ending
from broker.server.logs import log_event
from broker.server.membership import Membership
from broker.server.schedules import Schedules
from broker.server.wake_pipe import WakePipe
from broker.server.watermarks import Watermarks
from broker.storage.store import Store

_log = logging.getLogger("broker.server")

#: The watch over memory, disk and connections.
WATCH_MS = 200
#: Between two lines of counters.
REPORT_MS = 60_000
#: How long the loop waits before it asks a stalled store again.
STALL_MS = 5
#: The loop looks at the time each WATCH_MS; a longer gap is a pause of the process.
PAUSE_MS = 1_000
CATCH_UP_TURNS_MAX = 64
#: Written bytes for which a hop to the committer's thread is not repaid.
ALONE_BYTES_MAX = 64 * limits.KIB
#: Connections are looked through when the process has grown by so much.
GROWTH_BYTES = 32 * limits.MIB


class Reactor:
    """One thread; ``run`` returns when a stop was asked for and the node has drained.

    ``membership`` is None for a lone broker, ``channels`` where nobody subscribes.
    """

    def __init__(
        self,
        *,
        node: Node,
        store: Store,
        clients: ClientSocket,
        connections: Connections,
        committer: Committer,
        watermarks: Watermarks,
        pipe: WakePipe,
        now_ms: Callable[[], int],
        stop_asked: Callable[[], bool],
        drain_ms: int,
        membership: Membership | None = None,
        channels: ChannelSockets | None = None,
    ) -> None:
        self._node = node
        self._store = store
        self._clients = clients
        self._connections = connections
        self._committer = committer
        self._watermarks = watermarks
        self._pipe = pipe
        self._now_ms = now_ms
        self._membership = membership
        self._channels = channels
        self._ending = Ending(
            node, membership, stop_asked=stop_asked, now_ms=now_ms, drain_ms=drain_ms
        )
        self._told = committer.durable
        self._looked_at = now_ms()
        self._wake_at: int | None = self._looked_at
        self._watch_at = self._looked_at
        self._report_at = self._looked_at + REPORT_MS
        self._report = CounterReport(
            clients.counters,
            connections.counters,
            node.counters,
            {} if membership is None else membership.counters,
            *([] if channels is None else channels.counters),
        )
        self._schedules = Schedules(node)
        #: Peers whose connections are over, as far as the node has not been told.
        self._gone: list[bytes] = []
        connections.note_gone = self._gone.append
        self._scanned_bytes = 0
        self._alarm: str | None = None
        self._is_held = False
        #: True while the store has not said since the last write that it goes on.
        self._may_stall = True
        self._poll = select.poll()
        self._poll.register(pipe.fileno, select.POLLIN)
        self._poll_held = select.poll()
        self._poll_held.register(pipe.fileno, select.POLLIN)
        for source in (clients, connections, membership):
            if source is not None:
                self._poll.register(source.fileno, select.POLLIN)
        self._channel_filenos = frozenset(() if channels is None else channels.filenos)
        for fileno in self._channel_filenos:
            self._poll.register(fileno, select.POLLIN)

    def run(self) -> None:
        self._watch(self._looked_at)
        while not self._ending.is_over(is_held=self._is_held):
            self._wait()
            self._turn()
        self._report.tell()

    def _wait(self) -> None:
        """Blocks until there is something to do; returns at once while there is."""
        if self._is_held:
            ready = self._poll_held.poll(STALL_MS)
        elif self._has_input():
            return
        else:
            wake_at = self._watch_at
            if self._wake_at is not None and self._wake_at < wake_at:
                wake_at = self._wake_at
            ready = self._poll.poll(max(0, wake_at - self._now_ms()))
        for fileno, _ in ready:
            if fileno == self._pipe.fileno:
                self._pipe.clear()
            elif fileno == self._connections.fileno:
                self._connections.follow()
            elif fileno in self._channel_filenos:
                assert self._channels is not None
                self._channels.note_ready(fileno)

    def _has_input(self) -> bool:
        if not self._clients.is_drained or self._clients.has_input():
            return True
        channels = self._channels
        if channels is not None and (not channels.is_drained or channels.has_input()):
            return True
        membership = self._membership
        return membership is not None and (not membership.is_drained or membership.has_input())

    def _turn(self) -> None:
        now_ms = self._now_ms()
        if self._committer.durable > self._told:
            self._tell_durable(now_ms)
        self._is_held = self._must_hold()
        if self._is_held:
            return
        self._ending.advance(now_ms)
        now_ms = self._take_in(now_ms)
        if self._gone and self._clients.is_drained:
            self._tell_gone(now_ms)
        self._act(now_ms)
        if now_ms >= self._watch_at:
            self._watch(now_ms)

    def _must_hold(self) -> bool:
        """A store comes to a stall by what is written: after a turn that wrote nothing it is not
        asked, for that costs as much as a small turn."""
        if self._node.unsynced_bytes > limits.UNSYNCED_BYTES_MAX:
            return True
        if self._may_stall:
            self._may_stall = self._store.is_stalled()
        return self._may_stall

    def _take_in(self, now_ms: int) -> int:
        """Takes in what waits; returns the time as it is after that, with no pause between."""
        for _ in range(2):
            self._take_turns(now_ms)
            before, now_ms = now_ms, self._now_ms()
            if now_ms - before < PAUSE_MS:
                break
        return now_ms

    def _take_turns(self, now_ms: int) -> None:
        turns = 1
        if now_ms - self._looked_at >= PAUSE_MS:
            turns = CATCH_UP_TURNS_MAX
            self._node.excuse_silence(now_ms)
        self._looked_at = now_ms
        if self._membership is not None:
            self._membership.take_in(now_ms, turns)
        if self._channels is not None:
            self._channels.take_in(now_ms)
        receive = self._node.receive
        for _ in range(turns):
            self._clients.receive(now_ms, receive)
            if self._clients.is_drained:
                return

    def _act(self, now_ms: int) -> None:
        """Lets the node decide, again and again while a sync or a failed send gives it more."""
        node, committer, membership = self._node, self._committer, self._membership
        while True:
            turn = node.finish_turn(now_ms)
            if turn.published and self._channels is not None:
                self._channels.send(turn.published)
            failed = self._clients.send(turn.sends) if turn.sends else None
            if membership is not None:
                membership.give_out(turn.links, turn.swaps)
            if turn.sync is not None:
                self._may_stall = True
                committer.commit(turn.sync, alone=self._is_alone())
            if failed:
                self._end_sessions(now_ms, failed)
            if committer.durable > self._told:
                self._tell_durable(now_ms)
            elif not failed:
                self._wake_at = turn.wake_at
                return

    def _is_alone(self) -> bool:
        """True when the loop has nothing to do while it waits for the disk."""
        return (
            self._clients.is_drained
            and self._node.unsynced_bytes < ALONE_BYTES_MAX
            and (self._membership is None or self._membership.is_drained)
        )

    def _tell_durable(self, now_ms: int) -> None:
        self._told = self._committer.durable
        self._node.synced(now_ms, self._told)

    def _tell_gone(self, now_ms: int) -> None:
        for peer in self._gone:
            self._node.disconnected(now_ms, peer)
        self._gone.clear()

    def _end_sessions(self, now_ms: int, failed: dict[bytes, str]) -> None:
        for peer, reason in failed.items():
            self._clients.counters["peers_unreachable"] += 1
            log_event(_log, logging.INFO, "peer unreachable", peer=peer, reason=reason)
            self._node.unreachable(now_ms, peer, reason)

    def _watch(self, now_ms: int) -> None:
        self._watch_at = now_ms + WATCH_MS
        self._may_stall = True
        self._connections.follow()
        if self._channels is not None:
            self._channels.follow()
        alarm = self._watermarks.look()
        if (alarm is None) != (self._alarm is None):
            event = "puts are refused" if alarm else "puts are taken again"
            log_event(_log, logging.WARNING, event, reason=alarm or self._alarm)
        self._alarm = alarm
        self._node.set_alarm(alarm)
        self._schedules.look(now_ms)
        if self._clients.is_drained and (self._channels is None or self._channels.is_drained):
            self._cut_unread()
        if now_ms >= self._report_at:
            self._report_at = now_ms + REPORT_MS
            self._report.tell()

    def _cut_unread(self) -> None:
        """Memory that grew and that no message explains is a multipart without an end."""
        scarce, resident = self._watermarks.memory_is_short, self._watermarks.resident
        self._scanned_bytes = min(self._scanned_bytes, resident)
        if not scarce and resident - self._scanned_bytes < GROWTH_BYTES:
            return
        self._scanned_bytes = resident
        unread_max = limits.UNREAD_BYTES_MAX // (8 if scarce else 1)
        every = [self._connections, *([] if self._channels is None else self._channels.connections)]
        if cut := sum(connections.cut_unread(unread_max) for connections in every):
            log_event(_log, logging.WARNING, "connections cut", count=cut, unread_max=unread_max)
