"""Whether a queue has a choice: made when its settings or a taker ask for one, dropped after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.choosing.choice import Choice
from broker.core.session import Taker
from broker.model.selector import Selector
from broker.model.settings import Ordering

if TYPE_CHECKING:
    from broker.core.queue import Queue


def fit_choice(queue: Queue, selector: Selector | None = None) -> None:
    """Makes what the queue's settings, or a taker that comes, ask for."""
    is_keyed = queue.settings.ordering == Ordering.KEY
    if queue.choice is not None and queue.choice.is_keyed == is_keyed:
        return
    if is_keyed or selector is not None or queue.choice is not None:
        queue.choice = Choice(queue)


def has_choice(queue: Queue, taker: Taker) -> bool:
    """False where messages leave simply in their order: then there is no choice any more."""
    assert queue.choice is not None
    if taker.selector is None and not queue.choice.is_keyed:
        others = [*queue.consumers.values(), *queue.getters.values()]
        if all(other.selector is None for other in others):
            queue.choice = None
    return queue.choice is not None
