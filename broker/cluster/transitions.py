"""Every legal change of a slot's config: a function from the config that stands to the next.

Pure values: nothing here asks who is alive or swaps anything at the coordinator.  A change whose
preconditions do not hold is a fault of the caller and fails its assertion.

Law: the ISR and the ELR hold every committed entry.  A member leaves the ISR for the ELR exactly
when the ISR is then below ``min_isr``: from there on nothing is committed, so it lacks nothing.
The ELR empties in the very change that brings the ISR back to ``min_isr``.

    claim            unassigned -> sole primary
    take_over        the primary is gone: another reigns     epoch + 1
    hand_over        planned: another reigns                 epoch + 1
    revive           an operator names the survivor          epoch + 1, no primary yet
    shrink, expand, forget_elr                               who is in sync
    add_replica, replace_replica, remove_replica             who holds a copy
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from broker.cluster.ownership import ReplicaId, SlotConfig


def claim(config: SlotConfig, replica: ReplicaId) -> SlotConfig:
    """A slot that nobody ever held has nothing to lose: whoever comes first holds it."""
    assert config == SlotConfig(), "only an unassigned slot is claimed"
    return _legal(SlotConfig((replica,), (replica.broker,), (), replica.broker, 1))


def eligible(config: SlotConfig, dead: Container[str] = ()) -> tuple[str, ...]:
    """Who may be elected: the ISR less the dead; where that is empty, the ELR less the dead."""
    in_sync = tuple(broker for broker in config.isr if broker not in dead)
    return in_sync or tuple(broker for broker in config.elr if broker not in dead)


def take_over(config: SlotConfig, candidate: str, dead: str, min_isr: int) -> SlotConfig:
    """``candidate`` reigns in place of the primary ``dead``, which leaves the ISR.

    A primary that restarted takes over from itself and stays in sync.  After ``revive`` there is
    no primary, and ``dead`` is "".  An ELR member is taken only when every ISR member is dead,
    which the caller knows (``eligible``); the ISR is then the candidate alone.
    """
    assert dead == config.primary, "only the primary is taken over from"
    assert candidate in config.isr or candidate in config.elr, "it may lack committed entries"
    in_sync = [broker for broker in config.isr if broker != dead or broker == candidate]
    if candidate not in in_sync:
        in_sync = [candidate]
    taken = _sync(config, in_sync, (*config.isr, *config.elr), min_isr)
    return _legal(replace(taken, primary=candidate, epoch=config.epoch + 1))


def hand_over(config: SlotConfig, to: str) -> SlotConfig:
    assert config.primary, "there is nobody to hand over"
    assert to != config.primary, "it has the slot already"
    assert to in config.isr, "it may lack committed entries"
    return _legal(replace(config, primary=to, epoch=config.epoch + 1))


def revive(config: SlotConfig, survivor: str) -> SlotConfig:
    """An operator's word that ``survivor`` is all that is left; what it lacks is lost.

    The slot has no primary then, and the survivor takes over as the sole ISR member.
    """
    assert config.incarnation_of(survivor) is not None, "it holds no copy"
    alone = replace(config, isr=(survivor,), elr=(), primary="", epoch=config.epoch + 1)
    return _legal(alone)


def shrink(config: SlotConfig, broker: str, min_isr: int) -> SlotConfig:
    assert config.primary, "only a primary knows who falls behind"
    assert broker in config.isr, "it is not in sync"
    assert broker != config.primary, "a primary is in sync with itself"
    in_sync = [member for member in config.isr if member != broker]
    return _legal(_sync(config, in_sync, (broker, *config.elr), min_isr))


def expand(config: SlotConfig, broker: str, min_isr: int) -> SlotConfig:
    assert config.primary, "only a primary knows who caught up"
    assert config.incarnation_of(broker) is not None, "it holds no copy"
    assert broker not in config.isr, "it is in sync already"
    return _legal(_sync(config, (*config.isr, broker), config.elr, min_isr))


def forget_elr(config: SlotConfig, min_isr: int) -> SlotConfig:
    """``min_isr`` was lowered to what the ISR has: what is committed next, the ELR will lack."""
    assert config.elr, "it is empty already"
    assert len(config.isr) >= min_isr, "nothing is committed yet, the ELR lacks nothing"
    return _legal(replace(config, elr=()))


def may_commit(config: SlotConfig, min_isr: int) -> bool:
    """False also while the ELR is not empty: a broker that knows an older, higher ``min_isr`` may
    elect from it."""
    return len(config.isr) >= min_isr and not config.elr


def add_replica(config: SlotConfig, replica: ReplicaId) -> SlotConfig:
    """As a learner: in neither set until it has caught up."""
    assert config.primary, "there is nobody to learn from"
    assert config.incarnation_of(replica.broker) is None, "it has a copy already"
    return _legal(replace(config, replicas=(*config.replicas, replica)))


def replace_replica(config: SlotConfig, replica: ReplicaId) -> SlotConfig:
    """The broker came back with another disk: what it had is gone, and it learns anew."""
    broker = replica.broker
    assert broker != config.primary, "a primary with another disk is none"
    assert config.incarnation_of(broker) not in {None, replica.incarnation}, "it is the same copy"
    return _legal(
        replace(
            config,
            replicas=tuple(replica if old.broker == broker else old for old in config.replicas),
            isr=_less(config.isr, broker),
            elr=_less(config.elr, broker),
        )
    )


def remove_replica(config: SlotConfig, broker: str, min_isr: int) -> SlotConfig:
    """Its copy may be erased then, so it never takes the ISR below ``min_isr``."""
    assert broker != config.primary, "a primary hands over first"
    assert config.incarnation_of(broker) is not None, "it holds no copy"
    assert broker not in config.isr or len(config.isr) > min_isr, "its copy is needed"
    return _legal(
        replace(
            config,
            replicas=tuple(old for old in config.replicas if old.broker != broker),
            isr=_less(config.isr, broker),
            elr=_less(config.elr, broker),
        )
    )


def _sync(
    config: SlotConfig, in_sync: Container[str], complete: Container[str], min_isr: int
) -> SlotConfig:
    """The ISR is ``in_sync``; below ``min_isr`` the ELR is what else of ``complete`` there is."""
    brokers = [replica.broker for replica in config.replicas]
    isr = tuple(broker for broker in brokers if broker in in_sync)
    waiting = tuple(broker for broker in brokers if broker in complete and broker not in isr)
    return replace(config, isr=isr, elr=waiting if len(isr) < min_isr else ())


def _less(brokers: tuple[str, ...], gone: str) -> tuple[str, ...]:
    return tuple(broker for broker in brokers if broker != gone)


def _legal(config: SlotConfig) -> SlotConfig:
    brokers = [replica.broker for replica in config.replicas]
    assert len(set(brokers)) == len(brokers), "one copy a broker"
    assert list(config.isr) == [broker for broker in brokers if broker in config.isr]
    assert list(config.elr) == [broker for broker in brokers if broker in config.elr]
    assert not set(config.isr) & set(config.elr), "a broker is in one of both sets"
    assert config.isr, "a slot that has a copy has one in sync"
    assert config.primary in config.isr or not config.primary, "a primary is in sync"
    return config
