"""The channels of a run, and what each keeps."""

from __future__ import annotations

from typing import Any

#: channel -> settings
CHANNELS: dict[str, dict[str, Any]] = {
    # All of it is kept, and read by who joins late.
    "feed": {"durable": True, "history_messages": 100_000},
    "ring": {"durable": True, "history_messages": 10},
    "flash": {"history_messages": 50},
}
