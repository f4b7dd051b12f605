"""Settings of all property tests: no deadline, for no test asserts a time.

``HYPOTHESIS_PROFILE=soak`` makes the long run.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("test", deadline=None, database=None)
settings.register_profile("soak", parent=settings.get_profile("test"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))
