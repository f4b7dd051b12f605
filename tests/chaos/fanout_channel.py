"""What the publisher and the subscribers of a fan-out run agree on."""

from __future__ import annotations

import struct

CHANNEL = "chaos.events"
#: Larger than any run.
HISTORY = 10_000_000
#: In front of each body.
NUMBER = struct.Struct(">q")
#: What a subscriber writes of each message: its sequence in the channel, its number.
RECORD = struct.Struct(">qq")
