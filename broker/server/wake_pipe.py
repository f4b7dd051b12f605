"""A pipe that ends the loop's wait: written by signals and by the committer's thread.

Owns nothing but its two descriptors.  A full pipe is as good as one byte: the loop wakes.
"""

from __future__ import annotations

import contextlib
import os


class WakePipe:
    def __init__(self) -> None:
        self.fileno, self.write_fileno = os.pipe()
        os.set_blocking(self.fileno, False)
        os.set_blocking(self.write_fileno, False)

    def wake(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.write_fileno, b"\0")

    def clear(self) -> None:
        """To be called before looking at what the wakers changed."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self.fileno, 4_096)) == 4_096:
                pass

    def close(self) -> None:
        os.close(self.fileno)
        os.close(self.write_fileno)
