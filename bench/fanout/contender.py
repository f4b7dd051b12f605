"""The face that each broker shows to the fan-out rows.

Owns the vocabulary alone. Law: a contender is a frozen value that can be pickled, because its
clients run in processes of their own; whoever subscribes is subscribed when its context begins.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bench.processes import Service

CHANNEL = "bench.events"
IDLE_SECONDS = 0.2
"""A subscriber that has nothing calls `take` with nothing, at least so often."""

Publish = Callable[[list[bytes]], None]
"""Hands messages to the client, which may gather them; an empty list sends all that it holds."""

Take = Callable[[list[bytes]], bool]
"""Takes what came; False once nothing more is wanted."""

Subscribe = Callable[[Take], None]
"""Gives all that comes to `take` until that says False."""


class FanoutContender(Protocol):
    """A broker with channels, and its usual Python client."""

    @property
    def name(self) -> str:
        """The name in the tables."""

    @property
    def kind(self) -> str:
        """`ours` or `peer`."""

    @property
    def client(self) -> str:
        """How the client is used, in words."""

    def missing(self) -> str:
        """Return the package that must be installed first, or an empty text."""

    def version(self) -> str:
        """Return the versions of broker and client."""

    def start(self, directory: Path) -> Service:
        """Start the broker on a free port of loopback."""

    def open_publisher(self, port: int) -> AbstractContextManager[Publish]:
        """Connect a publisher."""

    def open_subscriber(self, port: int) -> AbstractContextManager[Subscribe]:
        """Connect a subscriber, and subscribe."""
