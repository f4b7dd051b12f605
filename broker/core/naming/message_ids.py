"""Messages by ids of their own: which of a put are there already, and where an id's messages are.

A queue that knows ids keeps a row on disk for each (``storage/id_rows.py``), written with the log
row of its put; in memory there is only what this turn has proposed.  A message is a duplicate while
the row of an earlier one with its id stands for

    window       a put within ``dedup_window_ms``, whatever has become of it
    unsettled    a message that is not settled; one that departs is not

Law: a duplicate is judged by what is committed or proposed before it, and is answered only when
that is committed.
"""

from __future__ import annotations

from dataclasses import replace

import msgpack

from broker import limits
from broker.core.books.bodies import IdPlace
from broker.core.machine import SlotMachine
from broker.core.queue import Queue
from broker.errors import DedupFull, IdsNotIndexed
from broker.model.commands import Put
from broker.model.entries import BatchPut
from broker.model.message_ids import NO_ID, hash_of_id, hashes_of_columns
from broker.model.settings import Dedup
from broker.names import TRANSFER_PRODUCER
from broker.protocol.batches import array_header, element_offsets


def without_duplicates(machine: SlotMachine, queue: Queue, command: Put) -> tuple[Put, list[int]]:
    """The put less the messages that are there already, and their indices in it.

    Raises DedupFull when the queue remembers as many ids as it may.
    """
    hashes = hashes_of_columns(command.columns)
    if not hashes:
        return command, []
    duplicates = [] if _is_moved(command) else _duplicates(machine, queue, hashes)
    kept = command.count - len(duplicates)
    # What is proposed counts whole, ids or not: it is little, and soon counted exactly.
    remembered = queue.ledger.ids + queue.proposed_messages
    if kept and remembered + kept > limits.IDS_MAX:
        raise DedupFull(f"{queue.name} remembers at most {limits.IDS_MAX} ids")
    queue.counters.duplicates += len(duplicates)
    return (_cut(command, duplicates) if duplicates else command), duplicates


def _is_moved(command: Put) -> bool:
    """What another queue hands over is no duplicate, whatever was put before it: a move loses
    nothing.  What a transaction puts was in no queue before."""
    is_transfer = command.producer is not None and command.producer.startswith(TRANSFER_PRODUCER)
    return is_transfer and not command.is_new


def _duplicates(machine: SlotMachine, queue: Queue, hashes: list[bytes]) -> list[int]:
    """Also those that stand twice in the batch itself: the first one counts."""
    if queue.settings.dedup == Dedup.OFF:
        return []
    seen = _known(machine, queue, hashes)
    duplicates: list[int] = []
    for index, each in enumerate(hashes):
        if each in seen:
            duplicates.append(index)
        elif each != NO_ID:
            seen.add(each)
    return duplicates


def _known(machine: SlotMachine, queue: Queue, hashes: list[bytes]) -> set[bytes]:
    """Those of the hashes whose ids keep a second message out."""
    ledger, settings = queue.ledger, queue.settings
    known = set(queue.open_ids)
    if not ledger.ids and not queue.proposed_messages:
        return known
    wanted = [each for each in hashes if each != NO_ID]
    found = machine.bodies.find_ids(ledger.number, wanted)
    if settings.dedup == Dedup.WINDOW:
        oldest = machine.now - settings.dedup_window_ms
        known |= {each for each, places in found.items() if places[-1].put_at > oldest}
    else:
        live = ledger.settled.contains
        for each, places in found.items():
            if not all(live(place.position) for place in places):
                known.add(each)
    return known


def _cut(command: Put, duplicates: list[int]) -> Put:
    gone = set(duplicates)
    kept = [index for index in range(command.count) if index not in gone]
    offsets = element_offsets(command.batch, command.count)
    elements = [command.batch[offsets[index] : offsets[index + 1]] for index in kept]
    columns = {
        name: [values[index] for index in kept]
        for name, values in msgpack.unpackb(command.columns).items()
    }
    return replace(
        command,
        count=len(kept),
        columns=msgpack.packb(columns),
        batch=b"".join([array_header(len(kept)), *elements]),
        due_times=command.due_times and [command.due_times[index] for index in kept],
    )


def remember_ids(queue: Queue, entry: BatchPut) -> None:
    """Gives the entry of a put with columns the hashes by which its messages are found."""
    hashes = hashes_of_columns(entry.body.columns)
    entry.ids = b"".join(hashes)
    queue.open_ids.update(each for each in hashes if each != NO_ID)


def find_by_ids(
    machine: SlotMachine, queue: Queue, ids: list[str | bytes]
) -> list[tuple[bytes, list[IdPlace]]]:
    """For each id its messages that are committed and not settled, oldest first."""
    ledger = queue.ledger
    if not queue.settings.knows_ids:
        raise IdsNotIndexed(f"{queue.name} has neither dedup nor index_ids")
    hashes = [hash_of_id(each) for each in ids]
    found = machine.bodies.find_ids(ledger.number, hashes)
    return [
        (
            each,
            [
                place
                for place in found.get(each, [])
                if place.position < ledger.next_position
                and not ledger.settled.contains(place.position)
            ],
        )
        for each in dict.fromkeys(hashes)
    ]
