"""Where the slots should go: this broker's part in takeovers, shrinks and the way to the ring.

Owns the view of the cluster, this broker's tenure and its unanswered swaps.  It reads the replicas
and never changes them: it says what a config of the map means for one (``Verdict``), and asks the
coordinator for the next.

Rules (docs/replication.md): R5, R8, R9, R10.  Law: one swap a slot at a time; one whose outcome is
unknown is asked again until it is known.
"""

from __future__ import annotations

from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.primary import Primary
from broker.cluster.reconfiguration import next_step, takeover_rank
from broker.cluster.ring import Ring
from broker.cluster.transitions import claim, hand_over, shrink, take_over
from broker.cluster.view import Change, ClusterView, Owned, Swap, SwapAnswer, SwapOutcome
from broker.errors import OtherCluster
from broker.limits import (
    CLOCK_COMPARED_WITHIN,
    CLOCK_OFFSET_MAX,
    RECONFIGURE_EVERY,
    SWAP_RETRY,
    TAKEOVER_STEP,
)
from broker.node.replica import Replica


class _Asked:
    """A swap on its way; ``again_at`` is set while its outcome is unknown."""

    __slots__ = ("again_at", "swap")

    def __init__(self, swap: Swap) -> None:
        self.swap = swap
        self.again_at: int | None = None


class Steering:
    def __init__(self, me: ReplicaId, cluster_id: str) -> None:
        self.me = me
        #: The id of the cluster that this broker's data belongs to; "" before its first view.
        self.cluster_id = cluster_id
        self.view = ClusterView()
        #: Until when this broker may act as a primary (R10).
        self.tenure_until = 0
        #: Rises when a tenure lapsed: reigns that began before are to be confirmed.
        self.tenure_number = 0
        self.is_leaving = False
        #: True while this broker's clock is far from the others': what it would write into a log
        #: of time would be wrong for good, so it follows and does not reign.
        self.is_clock_off = False
        #: Brokers whose clocks are far off: no slot is handed over to them.
        self._far_clocks: set[str] = set()
        #: Before it no slot is taken, so that the clock can be compared.
        self._takes_from: int | None = None
        #: Slots whose config or whose primary's life may have changed.
        self.touched: dict[int, None] = {}
        self._alive: dict[str, str] = {}
        self._ring: Ring | None = None
        self._asked: dict[int, _Asked] = {}
        self._out: list[Swap] = []
        #: Epochs in which a former life of this process may have reigned.
        self._inherited: dict[int, int] = {}
        #: slot -> since when its primary is known to be gone
        self._gone_since: dict[int, int] = {}
        self._look_at = 0

    # What the coordinator says

    def list_view(self, view: ClusterView) -> None:
        """All keys; what is not among them is gone.  Raises OtherCluster."""
        assert view.config is not None
        if self.cluster_id and view.config.id != self.cluster_id:
            raise OtherCluster(
                f"this broker's data belongs to cluster {self.cluster_id}, not to {view.config.id}"
            )
        self.cluster_id = view.config.id
        known, is_first = self.view.slots, self.view.config is None
        self.view = view
        for slot, owned in known.items():
            view.learn(slot, owned)
        self._follow_brokers()
        self._ring = None
        self.touched = dict.fromkeys(sorted(view.slots))
        if is_first:
            for slot in view.slots:
                if (mine := self.is_mine(slot)) is not None:
                    self._inherited[slot] = mine.config.epoch

    def change(self, change: Change) -> None:
        view = self.view
        if change.kind == "slots":
            if isinstance(change.value, SlotConfig):
                self.learn(int(change.name), Owned(change.value, change.revision))
            return
        if change.kind == "config":
            if change.value is not None:
                view.config = change.value  # type: ignore[assignment]
        else:
            keys = view.members if change.kind == "members" else view.brokers
            if change.value is None:
                keys.pop(change.name, None)
            else:
                keys[change.name] = change.value  # type: ignore[assignment]
            self._follow_brokers()
        self._ring = None
        self.touched = dict.fromkeys(sorted(view.slots))

    def learn(self, slot: int, owned: Owned) -> None:
        if self.view.learn(slot, owned):
            self.touched[slot] = None
            asked = self._asked.get(slot)
            # A swap that was overtaken can never be carried out any more; was it its own?
            if asked is not None and owned.revision > asked.swap.revision:
                del self._asked[slot]

    def swap_answered(self, now: int, swap: Swap, answer: SwapAnswer) -> None:
        asked = self._asked.get(swap.slot)
        self.touched[swap.slot] = None
        if answer.outcome is SwapOutcome.UNKNOWN:
            if asked is not None and asked.swap == swap:
                asked.again_at = now + SWAP_RETRY
            return
        if answer.owned is not None:
            self.learn(swap.slot, answer.owned)
        if asked is not None and asked.swap == swap:
            self._asked.pop(swap.slot, None)

    def _follow_brokers(self) -> None:
        self._alive = {name: record.incarnation for name, record in self.view.brokers.items()}

    # What this broker knows

    @property
    def alive(self) -> dict[str, str]:
        """broker -> incarnation of its disk"""
        return self._alive

    @property
    def min_isr(self) -> int:
        return self.view.config.min_isr if self.view.config is not None else 1

    def extend_tenure(self, now: int, until: int) -> None:
        if now >= self.tenure_until:
            # Meanwhile others may have taken what was ours, and we may not have heard of it.
            self.tenure_number += 1
            self.touched.update(dict.fromkeys(sorted(self.view.slots)))
        self.tenure_until = max(self.tenure_until, until)

    def has_tenure(self, now: int) -> bool:
        return now < self.tenure_until

    def primary_of(self, slot: int) -> str:
        """The living primary; "" when there is none."""
        owned = self.view.slots.get(slot)
        if owned is None or self._is_primary_gone(owned.config):
            return ""
        return owned.config.primary

    def is_mine(self, slot: int) -> Owned | None:
        """The config of a slot that names this broker, with this disk, its primary."""
        owned = self.view.slots.get(slot)
        if owned is None or owned.config.primary != self.me.broker:
            return None
        if owned.config.incarnation_of(self.me.broker) != self.me.incarnation:
            return None
        return owned

    def may_reign(self, slot: int, promised_epoch: int) -> Owned | None:
        """The config that begins a reign of this broker: no reign goes on in another life of the
        process, whatever it had sent and not yet on its disk."""
        mine = self.is_mine(slot)
        spent = max(promised_epoch, self._inherited.get(slot, 0))
        return mine if mine is not None and mine.config.epoch > spent else None

    def _is_primary_gone(self, config: SlotConfig) -> bool:
        primary = config.primary
        return not primary or self._alive.get(primary) != config.incarnation_of(primary)

    def targets(self, slot: int) -> tuple[str, ...]:
        if self._ring is None:
            assert self.view.config is not None
            config = self.view.config
            self._ring = Ring(self.view.members, config.slots, config.replication)
        return self._ring.targets(slot)

    @property
    def has_left(self) -> bool:
        """True when no slot that another could serve is this broker's any more."""
        others = {broker for broker in self._alive if broker != self.me.broker}
        return self.is_leaving and not any(
            self.is_mine(slot) and not others.isdisjoint(owned.config.isr)
            for slot, owned in self.view.slots.items()
        )

    # What this broker asks for

    def take_swaps(self) -> list[Swap]:
        swaps, self._out = self._out, []
        return swaps

    def pending(self, slot: int) -> Swap | None:
        asked = self._asked.get(slot)
        return asked.swap if asked is not None else None

    def _ask(self, slot: int, revision: int, config: SlotConfig) -> Swap:
        swap = Swap(slot, revision, config)
        self._asked[slot] = _Asked(swap)
        self._out.append(swap)
        return swap

    def repeat_unknown(self, now: int) -> None:
        for asked in self._asked.values():
            if asked.again_at is not None and asked.again_at <= now:
                asked.again_at = None
                self._out.append(asked.swap)

    def look_round(self, now: int) -> None:
        """Now and then every slot is looked at, whether anything was told of it or not."""
        if now >= self._look_at:
            self._look_at = now + RECONFIGURE_EVERY
            self.touched.update(dict.fromkeys(sorted(self.view.slots)))

    def note_clocks(self, offset: int | None, clocks: dict[str, int], now: int) -> None:
        """``offset`` is that of the others' clocks together, None while nobody was heard; and
        ``clocks`` are those of each."""
        if self._takes_from is None:
            self._takes_from = now + CLOCK_COMPARED_WITHIN
        if offset is not None:
            if self._alive.keys() - {self.me.broker} <= clocks.keys():
                self._takes_from = min(self._takes_from, now)
            self.is_clock_off = abs(offset) > CLOCK_OFFSET_MAX
        # An heir that would think itself off would give the slot back: so only half is allowed.
        right = offset if offset is not None and self.is_clock_off else 0
        self._far_clocks = {
            broker for broker, at in clocks.items() if abs(at - right) > CLOCK_OFFSET_MAX // 2
        }

    def _may_take(self, now: int) -> bool:
        is_alone = self._alive.keys() <= {self.me.broker}
        is_compared = self._takes_from is not None and now >= self._takes_from
        is_kept_out = self.is_leaving or self.is_clock_off
        return (is_alone or is_compared) and not is_kept_out and self.has_tenure(now)

    def next_look_at(self) -> int:
        again = [asked.again_at for asked in self._asked.values() if asked.again_at is not None]
        return min([self._look_at, *again])

    def try_take(self, slot: int, now: int) -> None:
        """For a slot in which this broker does not reign: claims it, or takes it over (R5)."""
        owned = self.view.slots[slot]
        config = owned.config
        if slot in self._asked:
            return
        me = self.me
        if not self._may_take(now):
            if self.is_clock_off and self.is_mine(slot) and (heir := self._find_heir(config)):
                # The slot of a former life of this process: nobody else would come for it.
                self._ask(slot, owned.revision, hand_over(config, heir))
            return
        if self.is_mine(slot) is not None:
            # A former life of this process reigned: what it sent in that epoch is unknown.
            taken = take_over(config, me.broker, me.broker, self.min_isr)
            self._ask(slot, owned.revision, taken)
            return
        if not self._is_primary_gone(config):
            self._gone_since.pop(slot, None)
            return
        rank = self._rank(slot, config)
        since = self._gone_since.setdefault(slot, now)
        if rank is None or now < since + rank * TAKEOVER_STEP:
            return
        if not config.replicas:
            self._ask(slot, owned.revision, claim(config, me))
        else:
            taken = take_over(config, me.broker, config.primary, self.min_isr)
            self._ask(slot, owned.revision, taken)

    def _find_heir(self, config: SlotConfig) -> str | None:
        for broker in config.isr:
            is_alive = self._alive.get(broker) == config.incarnation_of(broker)
            if is_alive and broker != self.me.broker and broker not in self._far_clocks:
                return broker
        return None

    def _rank(self, slot: int, config: SlotConfig) -> int | None:
        targets = self.targets(slot)
        if config.replicas:
            if config.incarnation_of(self.me.broker) != self.me.incarnation:
                return None
            return takeover_rank(config, self.me.broker, self._alive, targets)
        living = [broker for broker in targets if broker in self._alive]
        return living.index(self.me.broker) if self.me.broker in living else None

    def drive(self, replica: Replica, primary: Primary, now: int) -> None:
        """One step of a slot in which this broker reigns: out with the silent, else onwards."""
        slot, log = replica.slot, replica.log
        primary.pending = self.pending(slot)
        primary.min_isr = self.min_isr
        if primary.pending is not None:
            return
        owned, config = primary.owned, primary.config
        primary.note_idle(log.last_lsn, now)
        silent = primary.silent_members(self._alive, log.last_lsn, now)
        proposed: SlotConfig | None
        if primary.tenure_number != self.tenure_number:
            proposed = take_over(config, self.me.broker, self.me.broker, self.min_isr)
        elif silent:
            proposed = shrink(config, silent[0], self.min_isr)
        else:
            proposed = self._next_config(replica, primary, now)
        hands_over = proposed is not None and proposed.primary != self.me.broker
        primary.is_handing_over = hands_over
        isr = proposed.isr if proposed is not None else config.isr
        entering = [broker for broker in isr if broker not in config.isr]
        if primary.joining not in entering:
            # It failed at the last moment: commits wait for it no more.
            primary.joining = ""
        if proposed is None or (hands_over and not log.is_quiet):
            return
        if any(not primary.may_enter(broker, log.commit_lsn, now) for broker in entering):
            return
        primary.pending = self._ask(slot, owned.revision, proposed)

    def _next_config(self, replica: Replica, primary: Primary, now: int) -> SlotConfig | None:
        assert self.view.config is not None
        leaving = {name for name, record in self.view.brokers.items() if record.leaving}
        if self.is_leaving or self.is_clock_off:
            leaving.add(self.me.broker)
        log = replica.log
        if not primary.is_serving and log.durable_lsn < primary.start_lsn:
            return None
        return next_step(
            primary.config,
            self.targets(replica.slot),
            self._alive,
            primary.keeping_up(log.commit_lsn, now),
            leaving,
            self.min_isr,
            self.view.config.replication,
            self._far_clocks,
        )
