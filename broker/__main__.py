"""``python -m broker`` is ``msgqueue serve``."""

from __future__ import annotations

import sys

from broker.cli.main import main

main(["serve", *sys.argv[1:]], prog_name="msgqueue")
