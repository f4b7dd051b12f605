"""Which messages are meant: positions, ids, or messages, sorted by the queue that holds them.

Owns the form of the id that a message has without one of its own, ``queue:position``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from broker.client.ledger import merge
from broker.client.options import require_id
from broker.client.plans import Ask
from broker.client.put_batch import MessageId
from broker.client.readable import ReadableMessage
from broker.errors import BadField

#: Ranges or ids of one command: a header has 16 KiB, an id up to 255 bytes.
RANGES_PER_COMMAND = 500
IDS_PER_COMMAND = 50

#: A position, an id, a message, or several of these.
Which = int | MessageId | ReadableMessage | Iterable[int | MessageId | ReadableMessage]


class Named(NamedTuple):
    """Positions by the queue or partition that they are of; ids may be in any."""

    positions: dict[str, list[int]]
    ids: list[MessageId]


def sort_out(queue: str, places: list[str], which: Which) -> Named:
    """``places`` are the queue itself and, where it has any, its partitions."""
    each_named = [which] if isinstance(which, int | str | bytes | ReadableMessage) else which
    named = Named({}, [])
    for each in each_named:
        if isinstance(each, int):
            if len(places) > 1:
                raise BadField(f"{queue} has partitions: a position is of one of them")
            named.positions.setdefault(queue, []).append(each)
            continue
        place = (each.queue, each.position) if isinstance(each, ReadableMessage) else _place(each)
        if place is not None and place[0] in places:
            named.positions.setdefault(place[0], []).append(place[1])
        elif isinstance(each, ReadableMessage):
            raise BadField(f"a message of {each.queue}, not of {queue}")
        else:
            require_id(each)
            named.ids.append(each)
    return named


def _place(message_id: MessageId) -> tuple[str, int] | None:
    """The queue and position that an id of the form ``queue:position`` tells."""
    if not isinstance(message_id, str):
        return None
    name, colon, digits = message_id.rpartition(":")
    return (name, int(digits)) if colon and digits.isascii() and digits.isdigit() else None


def commands_for(positions: list[int], ids: list[MessageId]) -> Iterator[Ask]:
    """The naming fields of as many commands as they need."""
    ranges = iter(merge([(position, 1, 0) for position in set(positions)]))
    while part := list(islice(ranges, RANGES_PER_COMMAND)):
        yield {"ranges": [[first, count] for first, count, _ in part]}
    for start in range(0, len(ids), IDS_PER_COMMAND):
        yield {"ids": ids[start : start + IDS_PER_COMMAND]}
