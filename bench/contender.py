"""The face that each broker in the benchmark shows to the rows.

Owns the vocabulary shared by rows and peers. Never starts or measures anything itself. Law: a
contender is a frozen value that can be pickled, because its clients run in processes of their own.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bench.processes import Service
from bench.traffic import Load, Sink, Supply

Produce = Callable[[Supply], None]
"""Puts all that the supply gives and returns when the broker has confirmed all of it."""

Consume = Callable[[Sink], None]
"""Consumes and acknowledges until the sink is content and the last settle has been sent out."""

PutOne = Callable[[bytes], None]
"""Puts one message and returns when the broker has confirmed it."""

QUEUE = "bench"
UNCONFIRMED_MESSAGES = 4_000
"""How many unconfirmed messages a peer's client may have outstanding, at two batches at least."""


class Target(Protocol):
    """Something that takes a message and confirms it, with one stated durability."""

    @property
    def name(self) -> str:
        """The name in the tables."""

    @property
    def durability(self) -> str:
        """What a confirm really says, in words."""

    @property
    def synced(self) -> bool:
        """Whether a confirm comes after fsync."""

    @property
    def kind(self) -> str:
        """`ours`, `peer` or `floor`: only peers take part in `best peer`."""

    def missing(self) -> str:
        """Return the package that must be installed first, or an empty text."""

    def version(self) -> str:
        """Return the versions of broker and client."""

    def start(self, directory: Path) -> Service:
        """Start the broker on a free port of loopback with its data in `directory`."""

    def prepare(self, port: int) -> None:
        """Make the queue, empty, so that clients may start in any order."""

    def open_waiting_producer(self, port: int) -> AbstractContextManager[PutOne]:
        """Connect a producer that waits for each confirm."""


class Contender(Target, Protocol):
    """A broker that also gives the messages out again."""

    def open_producer(self, port: int, load: Load) -> AbstractContextManager[Produce]:
        """Connect a producer."""

    def open_consumer(self, port: int, load: Load) -> AbstractContextManager[Consume]:
        """Connect a consumer."""


def depth(load: Load) -> int:
    """Return how many batches a peer's client may have outstanding."""
    return max(2, UNCONFIRMED_MESSAGES // load.batch)


def missing_of(program: Iterable[tuple[bool, str]]) -> str:
    """Return the names of those packages whose presence is False, in one text."""
    return ", ".join(package for present, package in program if not present)
