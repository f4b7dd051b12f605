"""From the ownership map that is to the ring that should be: the one next change of a slot.

The primary of a slot asks for it and swaps it in; nobody else moves a slot.  Nothing is kept from
one step to the next, so any primary goes on where another stopped.

    replace a copy that lost its disk -> add missing targets as learners -> take into the ISR what
    caught up -> remove what is no target -> hand over to the first target

Law: a copy is removed only when what is left in sync, alive and staying covers every target, or
has ``replication`` members; and it always has ``min_isr``.  A target that is dead is waited for:
meanwhile the living copies stay, whether they are targets or not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.transitions import (
    add_replica,
    eligible,
    expand,
    forget_elr,
    hand_over,
    remove_replica,
    replace_replica,
)


def next_step(
    config: SlotConfig,
    target: Sequence[str],
    alive: Mapping[str, str],
    caught_up: Container[str],
    leaving: Container[str],
    min_isr: int,
    replication: int,
    unfit: Container[str] = (),
) -> SlotConfig | None:
    """The config that the primary proposes next; None when there is nothing to do for now.

    ``alive`` gives the incarnation of each broker that has its tenure, ``caught_up`` names the
    followers that keep up with the log, ISR members among them, ``leaving`` those about to
    end, and ``unfit`` those that may hold a copy and not reign.  Members that fail leave the ISR
    by the primary's own ``shrink``.
    """
    assert config.primary, "only a primary moves its slot"
    staying = {broker for broker in alive if broker not in leaving}
    ready = {broker for broker in staying if broker in caught_up}
    fit = {broker for broker in ready if broker not in unfit}
    if config.elr and len(config.isr) >= min_isr:
        return forget_elr(config, min_isr)
    if (replaced := _find_replaced(config, alive)) is not None:
        return replace_replica(config, replaced)
    if config.primary in leaving and (heir := _find_heir(config, target, fit, leaving)):
        return hand_over(config, heir)
    if (missing := _find_missing(config, target, staying)) is not None:
        return add_replica(config, ReplicaId(missing, alive[missing]))
    if learner := _find_learner(config, target, ready, min_isr, replication):
        return expand(config, learner, min_isr)
    if spare := _find_spare(config, target, staying, min_isr, replication):
        return remove_replica(config, spare, min_isr)
    if heir := _find_heir(config, target, fit, leaving):
        return hand_over(config, heir)
    return None


def takeover_rank(
    config: SlotConfig, broker: str, alive: Mapping[str, str], target: Sequence[str] = ()
) -> int | None:
    """How many should try before ``broker`` does, now that the primary is gone; None: not eligible.

    Targets come first, in the ring's order, which spreads the slots of a dead broker over the
    others; then the rest in the order of the replicas.  A broker with another disk than that of
    its copy is as good as dead.
    """
    dead = {
        replica.broker
        for replica in config.replicas
        if alive.get(replica.broker) != replica.incarnation
    }
    candidates = _first_of(target, eligible(config, dead))
    return candidates.index(broker) if broker in candidates else None


def _find_replaced(config: SlotConfig, alive: Mapping[str, str]) -> ReplicaId | None:
    for broker, incarnation in config.replicas:
        now = alive.get(broker, incarnation)
        if now != incarnation and broker != config.primary:
            return ReplicaId(broker, now)
    return None


def _find_missing(config: SlotConfig, target: Sequence[str], staying: Container[str]) -> str | None:
    for broker in target:
        if broker in staying and config.incarnation_of(broker) is None:
            return broker
    return None


def _find_learner(
    config: SlotConfig,
    target: Sequence[str],
    ready: Container[str],
    min_isr: int,
    replication: int,
) -> str | None:
    """A target; or, in the place of a target that is not in sync, whoever else has a copy."""
    unsynced = [replica.broker for replica in config.replicas if replica.broker not in config.isr]
    complete = all(broker in config.isr for broker in target)
    short = len(config.isr) < (min_isr if complete else replication)
    for broker in _first_of(target, unsynced):
        if broker in ready and (broker in target or short):
            return broker
    return None


def _find_spare(
    config: SlotConfig,
    target: Sequence[str],
    staying: Container[str],
    min_isr: int,
    replication: int,
) -> str | None:
    """Copies out of sync go first: they are of the least use."""
    dependable = [broker for broker in config.isr if broker in staying or broker == config.primary]
    held = [replica.broker for replica in config.replicas]
    outside = [broker for broker in held if broker not in config.isr]
    for broker in (*outside, *config.isr):
        left = [member for member in dependable if member != broker]
        if (
            broker not in target
            and broker != config.primary
            and len(left) >= min_isr
            and (all(wanted in left for wanted in target) or len(left) >= replication)
        ):
            return broker
    return None


def _find_heir(
    config: SlotConfig, target: Sequence[str], fit: Container[str], leaving: Container[str]
) -> str | None:
    """Who should reign instead.  A primary that is a target and stays yields to the first alone."""
    wanted = _first_of(target, config.isr)
    if config.primary in leaving:
        candidates = wanted
    elif config.primary in target:
        candidates = list(target[:1])
    else:
        candidates = [broker for broker in wanted if broker in target]
    for broker in candidates:
        if broker != config.primary and broker in config.isr and broker in fit:
            return broker
    return None


def _first_of(target: Sequence[str], brokers: Iterable[str]) -> list[str]:
    """``brokers`` with the targets in front, in their order; the others keep theirs."""
    place = {broker: at for at, broker in enumerate(target)}
    return sorted(brokers, key=lambda broker: place.get(broker, len(target)))
