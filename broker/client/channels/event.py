"""A published message as subscribers are handed it.

Owns nothing: it points into its run, and its body is decoded when it is first looked at.
"""

from __future__ import annotations

import json
from typing import Any

from broker.client.channels.runs import EventRun
from broker.client.readable import Readable


class Event(Readable):
    """One message of a channel; there is nothing to settle."""

    __slots__ = ()

    _run: EventRun

    @property
    def channel(self) -> str:
        return self._run.channel

    @property
    def sequence(self) -> int:
        """Its number in the channel; ``subscribe(start=sequence + 1)`` goes on behind it."""
        return self._run.first + self._index

    @property
    def epoch(self) -> int:
        """The reign in which it was published."""
        return self._run.epoch

    @property
    def text(self) -> str:
        """The body's bytes as UTF-8, whatever its content type."""
        return self.raw.decode()

    def json(self) -> Any:
        """The body's bytes as JSON, whatever its content type."""
        return json.loads(self.raw)

    @property
    def key(self) -> str | bytes | None:
        key: str | bytes | None = self._run.column("keys", self._index)
        return self._run.key if key is None else key

    @property
    def published_at(self) -> float:
        """When it was published, in seconds since the Unix epoch."""
        return self._run.published_ms / 1000

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.channel}:{self.sequence}>"
