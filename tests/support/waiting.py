"""Waiting for a condition with a deadline: the one way in which a test may pass time."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Reached only by a test that fails.  A disk that others keep busy has been seen to take more than
#: half a minute for the few syncs of a start.
DEADLINE_S = 120.0
_PAUSE_S = 0.01


def wait_until(condition: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """Returns once ``condition()`` is true; an AssertionError names ``what`` never became so."""
    ends_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {deadline_s:g} s: {what}"
        time.sleep(_PAUSE_S)
