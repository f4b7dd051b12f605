"""What a new reign delivers again while the delivery of an older one still concerns this client.

Owns which prefetched messages wait for what becomes of their older delivery.  It settles nothing.
Laws:

- A copy is not handed out while its consumer holds the older one, or a settle of that is on its
  way.  When the settle has counted the copy is dropped; when it was refused it is handed out.
- What is given back without a charge comes again just as it was, so that concerns only copies
  that waited already.
- A delivery that has no older one beside it costs nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from broker.client.delivery import Part, Range, split

if TYPE_CHECKING:
    from broker.client.consumer import Consumer
    from broker.client.counters import Counters
    from broker.client.ledger import Ledger
    from broker.client.settles import Settle, Settles


class Copies:
    def __init__(self, settles: Settles, counters: Counters) -> None:
        self._settles = settles
        self._counters = counters
        #: Those that were delivered something which has an older delivery beside it.
        self._watched: dict[Consumer, None] = {}

    def __bool__(self) -> bool:
        return bool(self._watched)

    def __iter__(self) -> Iterator[Consumer]:
        return iter(list(self._watched))

    def watch(self, consumer: Consumer) -> None:
        consumer.has_copies = True
        self._watched[consumer] = None

    def sift(self, consumer: Consumer) -> None:
        """Parts anew what may be handed out from what waits."""
        waited, fresh = consumer.withheld, consumer.prefetched
        consumer.withheld, consumer.prefetched = deque(), deque()
        for parts, has_waited in ((waited, True), (fresh, False)):
            blocking: dict[Ledger, list[Range]] = {}
            for part in parts:
                ledger = part[0].ledger
                if ledger not in blocking:
                    blocking[ledger] = self._blocking(consumer, ledger, has_waited)
                copies, free = split(part, blocking[ledger])
                consumer.withheld += copies
                consumer.prefetched += free
        if not any(run.ledger.older for run, _, _ in (*consumer.withheld, *consumer.prefetched)):
            consumer.has_copies = False
            del self._watched[consumer]

    def settled(self, settle: Settle) -> None:
        """The broker has answered: the copies of what it has settled are dropped."""
        for consumer in self:
            consumer.withheld = self._drop(consumer, consumer.withheld, settle)
            if settle.kind.charge:
                consumer.prefetched = self._drop(consumer, consumer.prefetched, settle)
            self.sift(consumer)

    def _blocking(self, consumer: Consumer, ledger: Ledger, has_waited: bool) -> list[Range]:
        """What a copy that ``ledger`` delivered must wait for."""
        settles = self._settles
        ledger.older = [older for older in ledger.older if settles.concerns(older)]
        ranges: list[Range] = []
        for older in ledger.older:
            if older.consumer == consumer.number:
                ranges += older.held()
            for kind, waiting in settles.on_their_way(older):
                if kind.charge or has_waited:
                    ranges += waiting
        return ranges

    def _drop(self, consumer: Consumer, parts: deque[Part], settle: Settle) -> deque[Part]:
        kept: deque[Part] = deque()
        for part in parts:
            run = part[0]
            if settle.ledger not in run.ledger.older:
                kept.append(part)
                continue
            copies, others = split(part, settle.ranges)
            refused = [(first, count, run.attempts) for first, count, *_ in settle.lost]
            for copy in copies:
                still_held, dropped = split(copy, refused)
                others += still_held
                for _, start, stop in dropped:
                    run.lose(run.first + start, stop - start)
                    consumer.window.given_back(stop - start, run.bytes_between(start, stop))
                    self._counters.messages_stale += stop - start
            kept += sorted(others, key=lambda part: part[1])
        return kept
