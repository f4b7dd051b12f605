"""What must hold inside a queue when nothing is on its way to the disk."""

from __future__ import annotations

from collections.abc import Sequence

from broker.core.queue import Queue
from broker.limits import DELAYED_LANES
from broker.model.stored_batch import StoredBatch
from broker.storage import keys
from broker.storage.records import decode_body
from broker.storage.store import Family
from tests.support.node_rig import NodeRig


def stored_batches(rig: NodeRig, queue: Queue) -> dict[int, StoredBatch]:
    """position -> the stored batch that holds it, of all that is on disk."""
    number = queue.ledger.number
    # A hidden queue is in the slot of what it serves, not in that of its own name.
    replicas = rig.node._replicas
    instance = next(r for r in replicas if r.machine.queues.get(number) is queue).store.instance
    low, high = keys.queue_bodies(instance, queue.ledger.number)
    found: dict[int, StoredBatch] = {}
    for key, value in rig.rows(Family.BODY):
        if low <= key < high:
            batch = decode_body(key[8], keys.first_of_body(key), value)
            for position in range(batch.first, batch.end):
                assert position not in found, "a position lies in one batch"
                found[position] = batch
    return found


def require_sound(rig: NodeRig, queue: Queue) -> None:
    ledger = queue.ledger
    assert queue.leaving == 0
    assert queue.purging == 0
    assert queue.proposed_messages == 0
    assert queue.proposed_bytes == 0
    assert queue.proposed_next == ledger.next_position
    assert queue.settling_messages == queue.settling_bytes == 0
    batches = stored_batches(rig, queue)
    live = _spread(ledger.settled.live_ranges(0, ledger.next_position))
    sizes: dict[int, int] = {}
    counts: dict[int, int] = {}
    for position in live:
        assert position in batches, f"the body of {position} is gone"
        batch = batches[position]
        sizes[batch.lane] = sizes.get(batch.lane, 0) + batch.bytes_between(position, 1)
        counts[batch.lane] = counts.get(batch.lane, 0) + 1
    for number, lane in ledger.lanes.items():
        assert lane.messages == counts.get(number, 0)
        assert lane.bytes == sizes.get(number, 0)
    assert ledger.messages == len(live)
    assert ledger.bytes == sum(sizes.values())
    leased = _spread([(first, count) for first, count, _ in queue.leases.ranges])
    if queue.leases.weighs:
        assert queue.leases.bytes == sum(batches[p].bytes_between(p, 1) for p in leased)
    _require_placed_once(queue, live, batches)


def _require_placed_once(queue: Queue, live: list[int], batches: dict[int, StoredBatch]) -> None:
    """In flight, departing, back, resting, ahead or not due: exactly one of them."""
    places = _spread([(first, count) for first, count, _ in queue.leases.ranges])
    places += _spread([(first, count) for first, count, _ in queue.departing])
    for book in [*queue.back.values(), queue.resting]:
        places += _spread([(first, count) for first, count, _ in book])
    for stream in queue.streams.values():
        places += _spread([(first, count) for _, first, count in stream.window])
        places += [
            position
            for position in live
            if batches[position].lane == stream.lane
            and position >= stream.loaded_to
            and queue.fresh_ranges(position, 1)
        ]
    undue = [p for p in live if batches[p].lane >= DELAYED_LANES and p not in places]
    assert len(undue) == queue.undue
    assert sorted(places + undue) == live


def _spread(ranges: list[tuple[int, int]]) -> list[int]:
    return [position for first, count in ranges for position in range(first, first + count)]


def require_same_copies(rigs: Sequence[NodeRig], name: str) -> None:
    """Every copy of a queue has the same ledger, the same live messages and the same bytes."""
    told = [_content(rig, name) for rig in rigs]
    for copy in told[1:]:
        assert copy == told[0]


def _content(rig: NodeRig, name: str) -> tuple[object, ...]:
    queue = rig.queue(name)
    ledger = queue.ledger
    live = _spread(ledger.settled.live_ranges(0, ledger.next_position))
    batches = stored_batches(rig, queue)
    bodies = [(position, batches[position].first, batches[position].batch) for position in live]
    lanes = {number: (lane.messages, lane.bytes) for number, lane in ledger.lanes.items()}
    return ledger.uuid, ledger.settings, ledger.next_position, lanes, bodies
