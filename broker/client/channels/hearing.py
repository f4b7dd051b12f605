"""What the SUB socket of a client is to be: where it connects, and what it subscribes.

Owns the topics, each with how many ask for it.  It never opens a socket: the shell keeps one to
``address`` for as long as ``number`` stays, and makes the ``changes`` known there, from the left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Hearing:
    def __init__(self) -> None:
        #: Changes whenever the shell must connect anew.
        self.number = 0
        #: "" while there is nothing to hear.
        self.address = ""
        #: (subscribe or give up, topic)
        self.changes: deque[tuple[bool, bytes]] = deque()
        #: True when the shell has anything to do here.
        self.has_changed = False
        self._topics: dict[bytes, int] = {}

    @property
    def is_open(self) -> bool:
        return bool(self.address)

    def open(self, address: str) -> None:
        """A fresh socket, to which all topics are told."""
        self.number += 1
        self.address = address
        self.changes = deque((True, topic) for topic in self._topics)
        self.has_changed = True

    def close(self) -> None:
        self.number += 1
        self.address = ""
        self.changes.clear()
        self.has_changed = True

    def add(self, topics: Iterable[bytes]) -> None:
        for topic in topics:
            count = self._topics[topic] = self._topics.get(topic, 0) + 1
            if count == 1:
                self._tell(True, topic)

    def remove(self, topics: Iterable[bytes]) -> None:
        for topic in topics:
            self._topics[topic] -= 1
            if not self._topics[topic]:
                del self._topics[topic]
                self._tell(False, topic)

    def _tell(self, is_wanted: bool, topic: bytes) -> None:
        if self.address:
            self.changes.append((is_wanted, topic))
            self.has_changed = True
