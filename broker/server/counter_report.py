"""Counters in the log: what was refused, dropped or cut is seen without asking a client.

Owns what was told last.  A line names only the counters that have risen since; a quiet broker
writes none.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from broker.server.logs import log_event

_log = logging.getLogger("broker.server")


class CounterReport:
    """The names in ``sources`` differ from one another."""

    def __init__(self, *sources: Mapping[str, int]) -> None:
        self._sources = sources
        self._told: dict[str, int] = {}

    def tell(self) -> None:
        now = {name: count for source in self._sources for name, count in source.items()}
        risen = {name: now[name] for name in sorted(now) if now[name] > self._told.get(name, 0)}
        self._told = now
        if risen:
            log_event(_log, logging.INFO, "counters", **risen)
