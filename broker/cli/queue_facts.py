"""What a person is told of one queue, and the plain form that scripts get."""

from __future__ import annotations

from typing import Any

from broker.cli.messages import timestamp
from broker.cli.output import table
from broker.cli.queue_settings import ELSEWHERE, duration, flag_of, shown
from broker.limits import SECOND
from broker.model.settings import QueueSettings

_INSTANTS = frozenset({"next_at", "last_at"})
_SHAPED = frozenset({"queue", "settings", "counters", "by_priority", "ready_by_priority"})


def plain_stats(stats: dict[str, Any]) -> dict[str, Any]:
    """The stats as JSON has them: bytes, such as the uuid, are hex."""
    plain: dict[str, Any] = _plain(stats)
    return plain


def fact_lines(stats: dict[str, Any]) -> list[str]:
    """Numbers first, then what differs from the default, then what was counted."""
    defaults = QueueSettings().as_map()
    settings = {
        flag_of(name)[2:]: shown(name, value)
        for name, value in stats["settings"].items()
        if value != defaults.get(name) and name not in ELSEWHERE
    }
    if schedules := stats["settings"].get("schedules"):
        settings["schedules"] = ", ".join(sorted(schedules))
    if bindings := stats["settings"].get("bindings"):
        settings["bindings"] = ", ".join(sorted(bindings))
    counters = {name: count for name, count in stats["counters"].items() if count}
    return [
        stats["queue"],
        "",
        *_pairs({name: _told(name, stats[name]) for name in stats if name not in _SHAPED}),
        "",
        "settings other than the defaults:" if settings else "settings: the defaults",
        *_pairs(settings),
        "",
        "counted since the owner of the queue began:" if counters else "counted: nothing yet",
        *_pairs(counters),
    ]


def _pairs(values: dict[str, Any]) -> list[str]:
    rows = [(f"  {name}", value) for name, value in values.items()]
    return table(("", ""), rows)[1:]


def _told(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(key, each)}" for key, each in value.items()) or None
    if isinstance(value, list):
        return len(value) or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if name in _INSTANTS:
        return timestamp(value / 1000) if value else None
    if isinstance(value, int) and name.endswith("_ms"):
        return duration(value // SECOND * SECOND)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.hex() if isinstance(value, bytes) else value
