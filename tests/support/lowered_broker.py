"""``python -m tests.support.lowered_broker``: a broker whose bounds tests can reach.

``MSGQUEUE_TEST_LIMITS`` has them: names of ``broker.limits`` and numbers, ``IDS_MAX=4 CHUNK=8``.
They are set before anything else of the broker is imported.
"""

from __future__ import annotations

import os
import sys

from broker import limits

for bound in os.environ.pop("MSGQUEUE_TEST_LIMITS").split():
    name, _, value = bound.partition("=")
    assert hasattr(limits, name), name
    setattr(limits, name, int(value))

from broker.cli.main import main  # noqa: E402

main(["serve", *sys.argv[1:]], prog_name="msgqueue")
