"""What an operator is told of a cluster: values for scripts, tables for people.

Owns the words for the state of a broker and of a slot.  Pure: it judges a view that somebody else
has read, and the view may be older than the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from broker.cluster.ownership import Member, SlotConfig
from broker.cluster.view import ClusterView


class SlotState(Enum):
    """From bad to good; a slot has the first that fits."""

    #: Nobody has claimed it yet.
    UNASSIGNED = "unassigned"
    #: No living broker is sure to hold all that was confirmed.
    OFFLINE = "offline"
    #: Its primary is gone and a successor is alive.
    WITHOUT_PRIMARY = "without a primary"
    #: Served, but puts and settles are refused.
    BELOW_MIN_ISR = "below min_isr"
    #: Served, with fewer copies than the cluster could have.
    UNDER_REPLICATED = "under-replicated"
    SERVED = "served"


#: The states in which clients get all that they ask for.
SERVED = frozenset({SlotState.UNDER_REPLICATED, SlotState.SERVED})


def is_alive(view: ClusterView, slot: SlotConfig, broker: str) -> bool:
    """True when ``broker`` runs with the disk that holds its copy of the slot."""
    record = view.brokers.get(broker)
    return record is not None and record.incarnation == slot.incarnation_of(broker)


def slot_state(view: ClusterView, slot: SlotConfig) -> SlotState:
    assert view.config is not None
    ring = [member for member in view.members.values() if is_on_ring(member)]
    if slot.epoch == 0:
        return SlotState.UNASSIGNED
    if not is_alive(view, slot, slot.primary):
        if any(is_alive(view, slot, broker) for broker in (*slot.isr, *slot.elr)):
            return SlotState.WITHOUT_PRIMARY
        return SlotState.OFFLINE
    if len(slot.isr) < view.config.min_isr:
        return SlotState.BELOW_MIN_ISR
    living = sum(is_alive(view, slot, broker) for broker in slot.isr)
    if living < min(view.config.replication, len(ring)):
        return SlotState.UNDER_REPLICATED
    return SlotState.SERVED


def is_on_ring(member: Member) -> bool:
    return member.weight > 0 and not member.draining


def slots_by_state(view: ClusterView) -> dict[SlotState, list[int]]:
    """Every slot of the cluster; one whose key is missing is unassigned."""
    assert view.config is not None
    found: dict[SlotState, list[int]] = {state: [] for state in SlotState}
    for number in range(view.config.slots):
        found[slot_state(view, _slot(view, number))].append(number)
    return found


def missing_slots(view: ClusterView, *, replicated: bool) -> str:
    """Which slots are not served, or not with all their copies; "" when all are."""
    good = {SlotState.SERVED} if replicated else SERVED
    left = {
        state.value: ranges(numbers)
        for state, numbers in slots_by_state(view).items()
        if numbers and state not in good
    }
    return "; ".join(f"slots {state}: {numbers}" for state, numbers in left.items())


def held_by(view: ClusterView, broker: str) -> list[int]:
    """The slots of which ``broker`` has a copy, whole or not."""
    return [
        number
        for number, owned in sorted(view.slots.items())
        if owned.config.incarnation_of(broker) is not None
    ]


def broker_state(view: ClusterView, broker: str) -> str:
    member, record = view.members.get(broker), view.brokers.get(broker)
    if member is None:
        return "no member" if record else "removed"
    if record is None:
        return "away, draining" if member.draining else "away"
    if record.leaving:
        return "leaving"
    return "draining" if member.draining else "alive"


def describe(cluster: str, view: ClusterView) -> dict[str, Any]:
    """``cluster info -o json``."""
    assert view.config is not None
    states = slots_by_state(view)
    return {
        "cluster": cluster,
        **view.config.to_json(),
        "brokers": [_describe_broker(view, broker) for broker in _known_brokers(view)],
        "slots_by_state": {state.value: numbers for state, numbers in states.items()},
    }


def describe_slots(view: ClusterView) -> list[dict[str, Any]]:
    """``cluster map -o json``."""
    assert view.config is not None
    return [
        {"slot": number, "state": slot_state(view, slot).value, **slot.to_json()}
        for number in range(view.config.slots)
        for slot in [_slot(view, number)]
    ]


def _slot(view: ClusterView, number: int) -> SlotConfig:
    return view.slots[number].config if number in view.slots else SlotConfig()


def _known_brokers(view: ClusterView) -> list[str]:
    """Members, living brokers, and whoever a slot still names."""
    holding = {replica.broker for owned in view.slots.values() for replica in owned.config.replicas}
    return sorted({*view.members, *view.brokers, *holding})


def _describe_broker(view: ClusterView, broker: str) -> dict[str, Any]:
    slots = [owned.config for owned in view.slots.values()]
    member, record = view.members.get(broker), view.brokers.get(broker)
    return {
        "broker": broker,
        "state": broker_state(view, broker),
        "zone": member.zone if member else "",
        "weight": member.weight if member else 0,
        "primary_of": sum(slot.primary == broker for slot in slots),
        "replica_of": sum(slot.incarnation_of(broker) is not None for slot in slots),
        "in_sync_of": sum(broker in slot.isr for slot in slots),
        "clients": list(record.clients) if record else [],
        "links": record.links if record else "",
        "version": record.version if record else "",
    }


def info_lines(info: dict[str, Any]) -> list[str]:
    """``describe`` for people."""
    header = ("BROKER", "STATE", "ZONE", "WEIGHT", "PRIMARY", "IN SYNC", "COPIES", "CLIENTS")
    rows = [
        (
            broker["broker"],
            broker["state"],
            broker["zone"] or "-",
            broker["weight"],
            broker["primary_of"],
            broker["in_sync_of"],
            broker["replica_of"],
            " ".join(broker["clients"]) or "-",
        )
        for broker in info["brokers"]
    ]
    slots = [
        f"slots {state}: {len(numbers)} of {info['slots']}{_listed(state, numbers)}"
        for state, numbers in reversed(info["slots_by_state"].items())
        if numbers or state == SlotState.SERVED.value
    ]
    values = f"replication {info['replication']}, min_isr {info['min_isr']}"
    title = f"cluster {info['cluster']}: {info['slots']} slots, {values}"
    return [title, "", *table(header, rows), "", *slots]


def _listed(state: str, numbers: list[int]) -> str:
    """The numbers themselves, where they tell of something to look at."""
    return "" if state == SlotState.SERVED.value or not numbers else f" ({ranges(numbers)})"


def map_lines(slots: Iterable[dict[str, Any]]) -> list[str]:
    """``describe_slots`` for people."""
    header = ("SLOT", "STATE", "EPOCH", "PRIMARY", "IN SYNC", "ELIGIBLE", "CATCHING UP")
    rows = []
    for slot in slots:
        settled = {*slot["isr"], *slot["elr"]}
        learners = [broker for broker, _ in slot["replicas"] if broker not in settled]
        rows.append(
            (
                slot["slot"],
                slot["state"],
                slot["epoch"],
                slot["primary"] or "-",
                ",".join(slot["isr"]) or "-",
                ",".join(slot["elr"]) or "-",
                ",".join(learners) or "-",
            )
        )
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns as wide as their widest value, two spaces between them."""
    lines = [header, *([str(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return [
        "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def ranges(numbers: Sequence[int]) -> str:
    """``0-3, 7`` for 0, 1, 2, 3 and 7; the numbers rise."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
