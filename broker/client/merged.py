"""A consumer of a partitioned queue: one consumer of each partition, shown as one.

Owns whose turn it is.  The members are consumers like any other and settle, get credit and move
with their owners on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.client.consumer import Consumer
    from broker.client.delivery import Part


def take_in_turn(consumer: Consumer, take: Callable[[Consumer], list[Part]]) -> list[Part]:
    """What the next member has that has anything; after it the others come first."""
    members = consumer.members
    for _ in members:
        member = members[consumer.turn]
        consumer.turn = (consumer.turn + 1) % len(members)
        parts = take(member)
        if parts:
            return parts
    return []


def of_members(consumer: Consumer, parts: Iterable[Part]) -> list[tuple[Consumer, list[Part]]]:
    """Each member with its own of the parts."""
    own: dict[int | None, list[Part]] = {member.number: [] for member in consumer.members}
    for part in parts:
        own[part[0].ledger.consumer].append(part)
    return [(member, own[member.number]) for member in consumer.members]
