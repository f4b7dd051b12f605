"""What a change of the brokers costs, counted in copies of slots.

Owns no connection: it compares maps that somebody read.  Law: a copy that was made counts, whether
or not it stayed; one that a broker had kept on its disk counts only if it was given up before.
"""

from collections.abc import Collection, Mapping

from broker.cluster.ownership import SlotConfig

Ownership = Mapping[int, SlotConfig]


def is_settled(slots: Ownership, brokers: Collection[str], replication: int) -> bool:
    """Tell whether each slot has a primary and is in sync on enough of `brokers` and no other."""
    copies = min(replication, len(brokers))
    return bool(slots) and all(
        config.primary in config.isr
        and len(config.replicas) == copies
        and len(config.isr) == copies
        and {replica.broker for replica in config.replicas} <= set(brokers)
        for config in slots.values()
    )


def held_by(slots: Ownership, broker: str) -> int:
    """Return how many slots have a copy on `broker`."""
    return sum(config.incarnation_of(broker) is not None for config in slots.values())


def copies_made(before: Ownership, after: Ownership) -> int:
    """Return how many copies are in the later map that were not in the earlier one."""
    return sum(
        len(set(config.replicas) - set(before[slot].replicas if slot in before else ()))
        for slot, config in after.items()
    )


def primaries_moved(before: Ownership, after: Ownership) -> int:
    """Return how many slots have another primary than before."""
    return sum(
        slot in before and config.primary != before[slot].primary for slot, config in after.items()
    )


def join_copies_min(slots: int, replication: int, brokers: int, joined: int) -> float:
    """Return the fewest copies that give each of `brokers` as many as the next one.

    All brokers weigh the same; what the old ones keep needs no copy, so only the share of those
    that joined is moved.
    """
    return slots * min(replication, brokers) * joined / brokers
