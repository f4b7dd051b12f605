"""Settings of all tests.

Property tests have no deadline, for no test asserts a time; ``HYPOTHESIS_PROFILE=soak`` makes the
long run.  A shell that runs something in the background makes it deaf to Ctrl-C, and its children
as well: the tests that press it listen all the same.
"""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("test", deadline=None, database=None)
settings.register_profile("soak", parent=settings.get_profile("test"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

signal.signal(signal.SIGINT, signal.default_int_handler)
