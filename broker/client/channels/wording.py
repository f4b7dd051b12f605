"""From the application's words about channels to the wire's: where to begin, what is kept.

Owns the checks that can be made without a broker.  It never sends anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from broker.client.channels.intake import ALL, LAST, NOW, SEQUENCE, TIME, Start
from broker.client.options import instant_ms, milliseconds
from broker.client.selector import Selector, wire_selector
from broker.errors import BadField
from broker.limits import HISTORY_DEFAULT, MIB
from broker.model import selector as model
from broker.model.patterns import require_pattern

#: Bytes of events that wait to be looked at, of one subscription.
BUFFER_BYTES = 64 * MIB

#: "now", "all", "last", a sequence, or an instant in seconds since the Unix epoch.
StartWord = str | int | float | datetime


def read_start(start: StartWord) -> Start:
    if isinstance(start, str):
        if start not in (NOW, ALL, LAST):
            raise BadField(f"start is 'now', 'all', 'last', a sequence or a time, not {start!r}")
        return Start(start)
    if isinstance(start, bool):
        raise BadField("start is no boolean")
    if isinstance(start, int):
        if start < 0:
            raise BadField(f"a sequence is not negative: {start}")
        return Start(SEQUENCE, start)
    return Start(TIME, instant_ms(start))


def read_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Each once; raises BadPattern."""
    found = tuple(dict.fromkeys(require_pattern(pattern) for pattern in patterns))
    if not found:
        raise BadField("a subscription needs a pattern, such as orders.>")
    return found


def read_selector(selector: Selector | None) -> model.Selector | None:
    conditions = wire_selector(selector)
    return None if conditions is None else model.Selector.from_wire(conditions)


def channel_settings(
    history: int | bool | None,
    history_age: float | None,
    history_bytes: int | None,
    durable: bool | None,
) -> dict[str, Any]:
    """A channel's settings for the wire; ``history=True`` is the default number."""
    settings: dict[str, Any] = {}
    if history is not None:
        settings["history_messages"] = HISTORY_DEFAULT if history is True else int(history)
    if history_age is not None:
        settings["history_ms"] = milliseconds(history_age)
    if history_bytes is not None:
        settings["history_bytes"] = history_bytes
    if durable is not None:
        settings["durable"] = durable
    return settings
