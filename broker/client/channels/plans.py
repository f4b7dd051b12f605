"""What is done with channels beside publishing and subscribing, as plans for both clients.

Owns the commands and what their answers mean.  It never reads what comes live.
"""

from __future__ import annotations

from typing import Any

from broker.client.channels.event import Event
from broker.client.channels.runs import Gap, HistoryPage, open_part
from broker.client.codec import Reply
from broker.client.plans import Ask, Plan
from broker.errors import ChannelNotFound, UnknownCommand, UnreadableMessage
from broker.limits import BATCH_COUNT_MAX

PAGE_CHANNELS = 1_000
PAGE_MESSAGES = 1_000


def declare(channel: str, settings: Ask) -> Plan[bool]:
    """True when it was not there before."""
    answer = yield {"cmd": "declare_channel", "channel": channel, "settings": settings}
    return bool(answer["created"])


def update(channel: str, settings: Ask) -> Plan[dict[str, Any]]:
    answer = yield {"cmd": "update_channel", "channel": channel, "settings": settings}
    now: dict[str, Any] = answer["settings"]
    return now


def delete(channel: str) -> Plan[int]:
    answer = yield {"cmd": "delete_channel", "channel": channel}
    count: int = answer["count"]
    return count


def list_channels(pattern: str) -> Plan[dict[str, dict[str, Any]]]:
    """Facts by name, in order, however many pages that takes."""
    found: dict[str, dict[str, Any]] = {}
    after: Ask = {}
    while True:
        page = yield {"cmd": "channels", "pattern": pattern, "max": PAGE_CHANNELS, **after}
        found.update((name, facts) for name, facts in page["channels"])
        if not page["more"] or not page["channels"]:
            return found
        after = {"after": page["channels"][-1][0]}


def stats(channel: str) -> Plan[dict[str, Any]]:
    found = yield from list_channels(channel)
    if channel not in found:
        raise ChannelNotFound(f"nobody declared the channel {channel}, and nothing is in it")
    return found[channel]


def last(channel: str) -> Plan[Event | None]:
    """The newest message that is kept."""
    answer = yield {"cmd": "history", "channel": channel, "last": True}
    events = read_events(channel, answer)
    return events[-1] if events else None


def settings_of_all() -> Plan[dict[str, dict[str, Any]]]:
    """Of each channel that was declared; none of a broker that has no channels."""
    try:
        found = yield from list_channels(">")
    except UnknownCommand:
        return {}
    return {name: facts["settings"] for name, facts in found.items() if facts.get("settings")}


class HistoryReading:
    """``command`` gives the next question, until it is None; ``take`` reads the answer to it."""

    def __init__(
        self, channel: str, after: int | None, since_ms: int | None, count_max: int | None
    ) -> None:
        self._channel = channel
        self._after = -1 if after is None else after
        self._since_ms = since_ms
        self._left = count_max
        self._has_more = True

    def command(self) -> Ask | None:
        if not self._has_more or self._left == 0:
            return None
        page = PAGE_MESSAGES if self._left is None else min(self._left, BATCH_COUNT_MAX)
        fields: Ask = {
            "cmd": "history",
            "channel": self._channel,
            "after": self._after,
            "max": page,
        }
        if self._since_ms is not None:
            fields["since_ms"] = self._since_ms
        return fields

    def take(self, reply: Reply) -> list[Event]:
        page = HistoryPage(self._channel, reply)
        self._has_more = page.more
        self._after = page.after
        events = _events(page)
        if self._left is not None:
            events = events[: self._left]
            self._left -= len(events)
        return events


def read_events(channel: str, reply: Reply) -> list[Event]:
    return _events(HistoryPage(channel, reply))


def _events(page: HistoryPage) -> list[Event]:
    """Raises UnreadableMessage for what does not decode."""
    events: list[Event] = []
    for run in page.runs:
        for part in open_part((run, 0, run.count), None):
            if isinstance(part, Gap):
                raise UnreadableMessage(f"{part.channel}:{part.first} does not decode")
            events += [Event(run, index) for index in range(run.count)]
    return events
