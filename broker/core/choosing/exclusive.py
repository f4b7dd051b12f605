"""One consumer at a time: of an exclusive queue the one that came first takes, the others stand by.

When it is cancelled or its session ends, the next one becomes active at once.  What the former
still holds stays its own until it settles or loses it: the next is given what is ready.
"""

from __future__ import annotations

from broker.core.choosing.serving import stand_in_line
from broker.core.queue import Queue


def appoint(queue: Queue) -> None:
    """Says anew who is active; to be called when consumers or the setting changed."""
    stands_by = False
    for consumer in queue.consumers.values():
        consumer.stands_by = stands_by
        stands_by = queue.settings.exclusive
        stand_in_line(queue, consumer)
