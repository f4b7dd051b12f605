"""The primary's side of a slot's replication: who has what, what is committed, who is in sync.

Owns one reign's volatile state.  Rules (their names are those of docs/replication.md):

- R3  commit = the largest lsn that every member of the *effective* ISR has durable, and only while
      the confirmed ISR has ``min_isr`` members.  Effective is the confirmed ISR together with
      that of a swap which is asked for and not yet answered.
- R8  a learner enters the ISR once it has all that is committed and the start of this reign.
- R9  a follower that is gone leaves at once, a silent one after SILENCE_MAX; the old set binds
      until the swap is confirmed.
"""

from __future__ import annotations

from collections import deque

from broker.cluster.ownership import SlotConfig
from broker.cluster.transitions import may_commit
from broker.cluster.view import Owned, Swap
from broker.limits import (
    READMISSION_STEADY,
    RECONFIGURE_EVERY,
    REPLICA_INFLIGHT_BYTES_MAX,
    REPLICA_REPEAT_MIN,
    REPLICA_RETRY,
    REPLICA_SILENCE_MAX,
)


class Progress:
    """How far one follower is, as it said in this reign."""

    __slots__ = (
        "_sent",
        "broker",
        "durable_lsn",
        "heard_at",
        "incarnation",
        "inflight_bytes",
        "is_probing",
        "next_lsn",
        "progressed_at",
        "received_at",
        "received_lsn",
        "repeated_at",
        "sent_at",
        "steady_since",
        "was_slow",
    )

    def __init__(self, broker: str, incarnation: str, next_lsn: int, now: int) -> None:
        self.broker = broker
        self.incarnation = incarnation
        #: The first entry that it was not sent.
        self.next_lsn = next_lsn
        self.received_lsn = 0
        self.durable_lsn = 0
        #: True until an answer tells where its log agrees with ours.
        self.is_probing = True
        self.sent_at = 0
        #: When its received_lsn rose last, or was all that it had been sent.
        self.received_at = now
        self.repeated_at = 0
        self.heard_at = now
        #: When its durable_lsn rose last, or had nothing to rise to.
        self.progressed_at = now
        self.steady_since = now
        self.was_slow = False
        self.inflight_bytes = 0
        self._sent: deque[tuple[int, int]] = deque()

    def note_sent(self, last_lsn: int, size: int, now: int) -> None:
        if self.received_lsn + 1 >= self.next_lsn:
            self.received_at = now
        self.next_lsn = last_lsn + 1
        self.sent_at = now
        self.inflight_bytes += size
        self._sent.append((last_lsn, size))

    def note_received(self, lsn: int, now: int) -> None:
        if lsn > self.received_lsn:
            self.received_lsn = lsn
            self.received_at = now
        while self._sent and self._sent[0][0] <= lsn:
            self.inflight_bytes -= self._sent.popleft()[1]

    def send_again_from(self, lsn: int) -> None:
        self.next_lsn = lsn
        self.inflight_bytes = 0
        self._sent.clear()

    def begin_after(self, lsn: int) -> None:
        """It was given a copy of all up to ``lsn``; the log goes on from there."""
        self.is_probing = True
        self.send_again_from(lsn + 1)
        self.sent_at = 0

    @property
    def has_room(self) -> bool:
        return self.inflight_bytes < REPLICA_INFLIGHT_BYTES_MAX


class Primary:
    """``start_lsn`` is the reign's first entry, ``epoch_start``."""

    def __init__(self, me: str, owned: Owned, min_isr: int, start_lsn: int, now: int) -> None:
        self.me = me
        self.owned = owned
        self.epoch = owned.config.epoch
        self.min_isr = min_isr
        self.start_lsn = start_lsn
        self.followers: dict[str, Progress] = {}
        #: A learner that keeps up but for what is under way: nothing is committed without it from
        #: now on, so that it has all of it in a moment and may enter the ISR (R8).
        self.joining = ""
        self._joins_since = 0
        #: The commit when it was looked at last, and the time before.
        self._commits = (0, 0)
        self._commits_at = now
        #: A swap that is asked for and has no definite answer yet.
        self.pending: Swap | None = None
        #: True from the commit of ``epoch_start`` on, while clients are served.
        self.is_serving = False
        #: The tenure in which the reign began, or was confirmed.
        self.tenure_number = 0
        #: While a successor is prepared nothing new is taken.
        self.is_handing_over = False
        self._follow_config(now)

    @property
    def config(self) -> SlotConfig:
        return self.owned.config

    @property
    def effective_isr(self) -> list[str]:
        isr = list(self.config.isr)
        if self.pending is not None:
            isr += [broker for broker in self.pending.config.isr if broker not in isr]
        if self.joining and self.joining not in isr:
            isr.append(self.joining)
        return isr

    @property
    def has_quorum(self) -> bool:
        """R4: without it nothing is taken and nothing committed."""
        return may_commit(self.config, self.min_isr)

    def adopt(self, owned: Owned, now: int) -> None:
        """A newer config of the same reign stands."""
        assert owned.config.epoch == self.epoch
        self.owned = owned
        if self.pending is not None and owned.revision > self.pending.revision:
            self.pending = None
        self._follow_config(now)

    def _follow_config(self, now: int) -> None:
        wanted = {replica.broker: replica for replica in self.config.replicas}
        wanted.pop(self.me, None)
        for broker in list(self.followers):
            replica = wanted.get(broker)
            if replica is None or replica.incarnation != self.followers[broker].incarnation:
                del self.followers[broker]
        for broker, replica in wanted.items():
            if broker not in self.followers:
                progress = Progress(broker, replica.incarnation, self.start_lsn, now)
                self.followers[broker] = progress

    def commit_lsn(self, own_durable_lsn: int) -> int:
        """What is committed by what is known (R3); 0 when that says nothing."""
        if not self.has_quorum:
            return 0
        lsn = own_durable_lsn
        for broker in self.effective_isr:
            if broker != self.me:
                progress = self.followers.get(broker)
                lsn = min(lsn, progress.durable_lsn if progress is not None else 0)
        # What earlier reigns left is committed together with the first entry of this one.
        return lsn if lsn >= self.start_lsn else 0

    def heard_prepared(
        self, broker: str, received_lsn: int, durable_lsn: int, last_lsn: int, now: int
    ) -> None:
        progress = self.followers.get(broker)
        if progress is None:
            return
        self._heard(progress, now)
        progress.note_received(received_lsn, now)
        if durable_lsn > progress.durable_lsn:
            progress.durable_lsn = durable_lsn
            progress.progressed_at = now
        elif progress.durable_lsn == last_lsn:
            progress.progressed_at = now
        if progress.is_probing:
            progress.is_probing = False
            progress.send_again_from(progress.received_lsn + 1)

    def heard_mismatch(self, broker: str, known: int, now: int) -> None:
        """Its log ends at ``known`` or agrees with ours at most up to there."""
        progress = self.followers.get(broker)
        if progress is None:
            return
        self._heard(progress, now)
        if not progress.is_probing and known >= progress.received_lsn:
            # A prepare overtook another, or one was lost.
            if now - progress.repeated_at >= REPLICA_REPEAT_MIN:
                progress.repeated_at = now
                progress.send_again_from(progress.received_lsn + 1)
            return
        if known < progress.durable_lsn:
            # Said before it had what it has now: what is on its disk it never loses.
            return
        # A restart took what it had not on its disk.
        progress.received_lsn = min(progress.received_lsn, known)
        progress.is_probing = True
        progress.send_again_from(min(known + 1, progress.next_lsn))
        progress.sent_at = 0

    def _heard(self, progress: Progress, now: int) -> None:
        if now - progress.heard_at > REPLICA_SILENCE_MAX:
            progress.steady_since = now
        progress.heard_at = now

    def excuse_silence(self, now: int) -> None:
        """This process was paused: nobody's silence until now counts."""
        for progress in self.followers.values():
            progress.heard_at = progress.progressed_at = now

    def repeat_lost(self, progress: Progress, now: int) -> None:
        """What was sent and is not known to have arrived is sent again after a while, whatever
        else was sent meanwhile."""
        if progress.is_probing or progress.received_lsn + 1 >= progress.next_lsn:
            return
        if now - max(progress.received_at, progress.repeated_at) >= REPLICA_RETRY:
            progress.repeated_at = now
            progress.send_again_from(progress.received_lsn + 1)

    def may_send(self, progress: Progress, now: int) -> bool:
        if progress.is_probing:
            return now - progress.sent_at >= REPLICA_RETRY
        return progress.has_room

    def note_idle(self, last_lsn: int, now: int) -> None:
        for progress in self.followers.values():
            if progress.durable_lsn == last_lsn:
                progress.progressed_at = now

    def silent_members(self, alive: dict[str, str], last_lsn: int, now: int) -> list[str]:
        """ISR members that must leave: gone (not in ``alive``: broker -> incarnation) or silent."""
        silent: list[str] = []
        for broker in self.config.isr:
            progress = self.followers.get(broker)
            if progress is None:
                continue
            is_gone = alive.get(broker) != progress.incarnation
            is_mute = now - progress.heard_at > REPLICA_SILENCE_MAX
            is_stuck = (
                progress.durable_lsn < last_lsn
                and now - progress.progressed_at > REPLICA_SILENCE_MAX
            )
            if is_gone or is_mute or is_stuck:
                if not is_gone:
                    progress.was_slow = True
                    progress.steady_since = now
                silent.append(broker)
        return silent

    def keeping_up(self, commit_lsn: int, now: int) -> list[str]:
        """Followers that have what was committed a moment ago, ISR members among them."""
        if now - self._commits_at >= RECONFIGURE_EVERY:
            self._commits = (self._commits[1], commit_lsn)
            self._commits_at = now
        least = max(self._commits[0], self.start_lsn)
        return [
            progress.broker
            for progress in self.followers.values()
            if progress.durable_lsn >= least
            and now - progress.heard_at <= REPLICA_SILENCE_MAX
            and (not progress.was_slow or now - progress.steady_since >= READMISSION_STEADY)
        ]

    def may_enter(self, broker: str, commit_lsn: int, now: int) -> bool:
        """R8: True when it has all that is committed; until then nothing is committed without
        it, for a while."""
        if self.followers[broker].durable_lsn >= max(commit_lsn, self.start_lsn):
            # It counts from the moment that its entry is proposed.
            self.joining = ""
            return True
        if self.joining != broker:
            self.joining, self._joins_since = broker, now
        elif now - self._joins_since > REPLICA_RETRY:
            self.joining = ""
        return False

    def least_durable(self, now: int) -> int | None:
        """The least of all followers that answer, learners included, and of the ISR: above it the
        log is still needed.  Who is away for long is given a copy instead."""
        needed = (
            progress.durable_lsn
            for progress in self.followers.values()
            if progress.broker in self.config.isr or now - progress.heard_at <= REPLICA_SILENCE_MAX
        )
        return min(needed, default=None)
