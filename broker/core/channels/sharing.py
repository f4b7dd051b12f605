"""A published batch and the queues that are bound to get it: stored once, one row for each of them.

    SharedPut = the batch + its sources + a share for each queue        one entry, all or nothing
    share     = a row in the line to that queue, carried as any other (node/transfers.py)

The batch is stored in the channel's history where that is on disk, else in ``$outbox``.  It is on
its way until the last of its shares is with its queue: until then a history may trim it, but no
sweep erases it; in ``$outbox`` it is settled with its last share.  Law: while a share has no end
that is committed, its batch is there.
"""

from __future__ import annotations

from broker.core.books.outbox import Outbox
from broker.core.channels.bindings import BindingCopy
from broker.core.channels.publishes import OpenShares
from broker.core.choosing.reading import matching_bits
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.model.entries import Cleared, Settled, SettleReason, Share, SharedPut, Unbound
from broker.model.selector import Selector
from broker.model.stored_batch import Extent, StoredBatch
from broker.names import OUTBOX


def open_shares(
    machine: SlotMachine, queue: Queue, entry: SharedPut, copies: list[BindingCopy]
) -> None:
    """Gives the queues that the bindings name a place in their lines.

    To be called as the entry is proposed: sequences of a line rise with the log.
    """
    opened = OpenShares(queue, entry)
    selectors: dict[tuple[str, bytes], list[Selector] | None] = {}
    for copy in copies:
        others = selectors.setdefault((copy.queue, copy.uuid), [])
        if copy.selector is None:
            selectors[copy.queue, copy.uuid] = None
        elif others is not None:
            others.append(copy.selector)
    for (name, uuid), wanted in selectors.items():
        sequence = machine.outbox.take_sequence(name)
        opened.targets.append((name, uuid, sequence, wanted))
    machine.publishes.opened.append(opened)


def seal_shares(machine: SlotMachine) -> None:
    """The turn ends: what each queue gets of the batches is known."""
    for opened in machine.publishes.opened:
        entry, queue = opened.entry, opened.queue
        body = entry.body
        entry.shares = [
            Share(name, sequence, _extent(body), body.first, body.count, 0, body.size, b"", *rest)
            for name, sequence, *rest in _chosen(opened)
        ]
        for share in entry.shares:
            note_share(machine.outbox, queue, share)
        if queue.name == OUTBOX:
            # Nobody takes it from here: the sweeping of what is behind it need not wait for it.
            queue.stream_of(body.lane).skip_to(body.end)
            if not entry.shares:
                _settle_unwanted(machine, queue, body)
    machine.publishes.opened.clear()


def _extent(body: StoredBatch) -> Extent:
    return Extent(body.lane, body.first, body.count)


def _chosen(opened: OpenShares) -> list[tuple[str, int, bytes, bytes]]:
    """(queue, sequence, uuid, mask) of those that get something."""
    body = opened.entry.body
    found: list[tuple[str, int, bytes, bytes]] = []
    every = (1 << body.count) - 1
    for name, uuid, sequence, selectors in opened.targets:
        bits = every if selectors is None else 0
        for selector in selectors or ():
            bits |= matching_bits(selector, body)
        if bits:
            mask = b"" if bits == every else bits.to_bytes((body.count + 7) // 8, "little")
            found.append((name, sequence, uuid, mask))
    # What the selectors read of the batch is not kept with it.
    body.headers = body.read_columns = None
    return found


def _settle_unwanted(machine: SlotMachine, queue: Queue, body: StoredBatch) -> None:
    """No binding's selector is met by any of its messages."""
    totals = {body.lane: (body.count, body.size)}
    queue.note_settling(totals)
    ranges = [(body.first, body.count)]
    machine.propose(Settled(queue.ledger.number, SettleReason.MOVED, ranges, totals))


def note_share(outbox: Outbox, queue: Queue, share: Share) -> None:
    """The share is on its way; its batch with it, if it is the first of them."""
    shared = outbox.shared.setdefault((queue.ledger.number, share.first), {})
    if not shared:
        queue.departing.add(share.first, share.count, share)
    shared[share.target, share.sequence] = None


def end_share(outbox: Outbox, queue: Queue, share: Share, entry: Cleared) -> bool:
    """Takes the end of a share into ``entry``; False where it was proposed already.

    With the last share a batch that stands nowhere else is settled.
    """
    place = (queue.ledger.number, share.first)
    shared = outbox.shared.get(place, {})
    if (share.target, share.sequence) not in shared:
        return False
    del shared[share.target, share.sequence]
    if not shared:
        del outbox.shared[place]
        queue.departing.take(share.first, share.count)
        if queue.name == OUTBOX:
            entry.ranges.append((share.first, share.count))
            messages, size = entry.totals.get(share.extent.lane, (0, 0))
            totals = (messages + share.count, size + share.size)
            entry.totals[share.extent.lane] = totals
    return True


def drop_bound(machine: SlotMachine, share: Share) -> None:
    """The queue that was to get it is no more: nothing else is kept for it, and what it misses is
    counted."""
    bits = int.from_bytes(share.mask, "little")
    machine.unroutable += bits.bit_count() if share.mask else share.count
    for copy in list(machine.bindings.copies.values()):
        if copy.uuid == share.uuid:
            machine.propose(Unbound(copy.pattern, copy.uuid, copy.version))
