"""One command of a dialog."""

from __future__ import annotations

from typing import Any, NamedTuple


class Step(NamedTuple):
    name: str
    meaning: str
    header: dict[str, Any] | bytes
    frames: tuple[bytes, ...] = ()
    #: Milliseconds to let pass after the command.
    wait_ms: int = 0
