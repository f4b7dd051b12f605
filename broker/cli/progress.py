"""How far a long command has come, on the terminal of whoever waits for it.

Owns one line on standard error.  It is drawn only there, only on a terminal, and only when the
work has taken a moment; what commands write goes to standard output and is never mixed with it.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Drawing
    from rich.progress import TaskID

#: Work that is done before this needs no drawing.
_PATIENCE_S = 0.5
#: So often the count is told to the drawing.
_EVERY_S = 0.1


class Progress:
    """``with Progress("putting") as progress: progress.tell(done)``."""

    def __init__(self, what: str, total: int | None = None, *, wanted: bool = True) -> None:
        self._what = what
        self._total = total
        self._is_wanted = wanted and sys.stderr.isatty()
        self._told_at = time.monotonic() + _PATIENCE_S - _EVERY_S
        self._drawing: Drawing | None = None
        self._task: TaskID | None = None

    def tell(self, done: int, total: int | None = None) -> None:
        """Cheap enough for each message."""
        if not self._is_wanted:
            return
        now = time.monotonic()
        if now - self._told_at < _EVERY_S:
            return
        self._told_at = now
        if self._drawing is None or self._task is None:
            self._drawing, self._task = _draw(self._what, self._total)
        self._drawing.update(self._task, completed=done, total=total or self._total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._drawing is not None:
            self._drawing.stop()


def _draw(what: str, total: int | None) -> tuple[Drawing, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    drawing = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} messages"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    drawing.start()
    return drawing, drawing.add_task(what, total=total)
