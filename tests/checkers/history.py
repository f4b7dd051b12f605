"""Histories in files: what clients did and saw, as JSON lines that any process can append.

Instants are of a clock that all processes of one machine share and nobody sets.  An event is
written after what it tells has happened, except ``put``, which is written before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from broker.testing.history import Event, Kind


class Recorder:
    """Appends one process's events to its own file, each line whole before the call returns.

    What was written survives SIGKILL of the writer, since the kernel has it.
    """

    def __init__(self, path: Path, actor: str) -> None:
        self._actor = actor
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def record(
        self,
        kind: Kind,
        ids: Sequence[str] = (),
        positions: Sequence[int] = (),
        attempts: Sequence[int] = (),
        epoch: int = 0,
        until: int = 0,
    ) -> None:
        columns = tuple(ids), tuple(positions), tuple(attempts)
        event = Event(time.monotonic_ns(), kind, self._actor, *columns, epoch, until)
        self._file.write(event.to_line() + "\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_history(paths: Iterable[Path]) -> list[Event]:
    """The events of all files in the order of their instants."""
    events = [event for path in paths for event in _read_file(path)]
    return sorted(events, key=lambda event: event.at_ns)


def read_queues(paths: Iterable[Path]) -> dict[str, list[Event]]:
    """The events of each queue, from files that are named ``ACTOR@QUEUE.jsonl``."""
    files: dict[str, list[Path]] = {}
    for path in paths:
        files.setdefault(path.stem.partition("@")[2], []).append(path)
    return {queue: read_history(found) for queue, found in files.items()}


def _read_file(path: Path) -> Iterator[Event]:
    """Leaves out a last line that has no end: its writer was killed while it wrote."""
    for line in path.read_text("utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield Event.from_line(line)
