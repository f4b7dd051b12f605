"""Slots of which nobody who is sure to hold everything is left: an operator names the survivor.

Owns the judgement which slots may be revived from a broker's copy, and the words for what that
may lose.  Pure: it looks at a view and gives the swaps that would do it.  Law: a slot that some
living broker can take over by itself is never revived, because that would lose something for
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker.cluster.transitions import revive
from broker.cluster.view import ClusterView, Owned, Swap
from broker.errors import OperationRefused
from broker.server.cluster_report import SlotState, is_alive, ranges, slot_state


@dataclass(frozen=True, slots=True)
class Recovery:
    """``swaps`` revive slots from ``survivor``; of ``left_out`` slots it has no copy."""

    survivor: str
    swaps: tuple[Swap, ...]
    left_out: tuple[int, ...]
    #: Who was in sync when the slots lost their last primary, and is gone.
    gone: tuple[str, ...]


def plan_recovery_of(view: ClusterView, slot: int, survivor: str) -> Recovery:
    """Of one slot; raises OperationRefused with the reason why not."""
    assert view.config is not None
    if not 0 <= slot < view.config.slots:
        raise OperationRefused(f"the cluster has slots 0 to {view.config.slots - 1}")
    owned = view.slots.get(slot)
    state = SlotState.UNASSIGNED if owned is None else slot_state(view, owned.config)
    if owned is None or state is not SlotState.OFFLINE:
        raise OperationRefused(f"slot {slot} is {state.value} and needs no recovery")
    if owned.config.incarnation_of(survivor) is None:
        raise OperationRefused(f"{survivor} holds no copy of slot {slot}")
    if not is_alive(view, owned.config, survivor):
        raise OperationRefused(
            f"{survivor} does not run with the disk that holds its copy of slot {slot}"
        )
    return _plan(survivor, [(slot, owned)], [])


def plan_recovery(view: ClusterView, survivor: str) -> Recovery:
    """Of every slot that is offline and has a copy at ``survivor``."""
    offline = [
        (number, owned)
        for number, owned in sorted(view.slots.items())
        if slot_state(view, owned.config) is SlotState.OFFLINE
    ]
    if not offline:
        raise OperationRefused("no slot is offline: there is nothing to recover")
    possible = [item for item in offline if is_alive(view, item[1].config, survivor)]
    if not possible:
        raise OperationRefused(
            f"{survivor} does not run with a copy of any of the {len(offline)} offline slots"
        )
    return _plan(survivor, possible, [item[0] for item in offline if item not in possible])


def _plan(survivor: str, items: list[tuple[int, Owned]], left_out: list[int]) -> Recovery:
    swaps = [
        Swap(number, owned.revision, revive(owned.config, survivor)) for number, owned in items
    ]
    gone = {broker for _, owned in items for broker in (*owned.config.isr, *owned.config.elr)}
    return Recovery(survivor, tuple(swaps), tuple(left_out), tuple(sorted(gone - {survivor})))


def warning_lines(recovery: Recovery) -> Iterable[str]:
    """What an operator has to know before the word is given."""
    slots = ranges([swap.slot for swap in recovery.swaps])
    yield f"slots to revive from the copy of {recovery.survivor}: {slots}"
    yield f"in sync until the end, and away now: {', '.join(recovery.gone)}"
    yield (
        f"what they confirmed and {recovery.survivor} had not yet received is lost for good:"
        " messages that were put are gone, messages that were acknowledged are delivered again"
    )
    yield "if one of them can be brought back with its disk, do that instead: then nothing is lost"
    if recovery.left_out:
        left_out = ranges(recovery.left_out)
        yield f"not revived, because {recovery.survivor} has no copy of them: slots {left_out}"
