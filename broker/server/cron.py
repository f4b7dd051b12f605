"""Instants of cron expressions, by the library ``cronsim`` and the time zones of the system.

The rules are Debian cron's.  Where clocks go forward, what lies in the missing hour is due at its
end; where they go back, a fixed time is due once, the first time, and what is due every hour or
oftener is due in both.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from broker.errors import BadField

_SECOND = timedelta(seconds=1)


def next_after(cron: str, zone: str, at_ms: int) -> int | None:
    """The first instant after ``at_ms``; raises BadField for what nobody can read."""
    return _find(cron, zone, at_ms, is_back=False)


def latest_until(cron: str, zone: str, at_ms: int) -> int | None:
    """The last instant that is not after ``at_ms``."""
    return _find(cron, zone, at_ms, is_back=True)


def _find(cron: str, zone: str, at_ms: int, *, is_back: bool) -> int | None:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        text = "schedules need the package cronsim: pip install 'msgqueue[schedules]'"
        raise BadField(text) from None
    try:
        place = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise BadField(f"no time zone is called {zone!r} on this machine") from None
    moment = datetime.fromtimestamp(at_ms // 1_000, UTC)
    if is_back:
        # The library looks strictly before.
        moment += _SECOND
    try:
        found = next(CronSim(cron, moment.astimezone(place), reverse=is_back))
    except CronSimError as error:
        raise BadField(f"{cron!r} is no cron expression: {error}") from None
    except StopIteration:
        return None
    return round(found.timestamp() * 1_000)
