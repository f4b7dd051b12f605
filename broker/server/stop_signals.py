"""SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

from broker.server.wake_pipe import WakePipe


class StopSignals:
    """``asked`` turns true with the first signal; the pipe wakes the loop to see it."""

    def __init__(self, pipe: WakePipe) -> None:
        self.asked = False
        # Without it a signal that comes between the look at ``asked`` and the wait is slept over.
        signal.set_wakeup_fd(pipe.write_fileno, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True
