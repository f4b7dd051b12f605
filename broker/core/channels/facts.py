"""What is told of channels: to who lists them, and to subscribers who compare."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from broker.core.channels.channel import Channel
from broker.core.channels.history import oldest_by_number
from broker.core.machine import SlotMachine
from broker.limits import SECOND
from broker.model.patterns import is_plain, matches, topic_prefix

#: A rate is of the time since somebody asked last, but for what is asked more often than this.
_RATE_SPAN = 10 * SECOND


def facts_of(machine: SlotMachine, channel: Channel) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "slot": machine.slot,
        "epoch": machine.log.epoch,
        "next": channel.next,
        "oldest": oldest_by_number(machine, channel),
        "subscriptions": machine.count_subscribers(channel.name),
        "published": channel.next - channel.first,
        "rate": _rate(machine, channel),
        "bytes": 0,
    }
    if channel.start is not None:
        facts["start"] = channel.start
    if channel.at:
        facts["at"] = channel.at
    if channel.history is not None:
        facts["bytes"] = machine.queues[channel.history.number].ledger.bytes
        facts["settings"] = channel.history.settings.as_map()
    return facts


def _rate(machine: SlotMachine, channel: Channel) -> float:
    """Messages a second."""
    elapsed = machine.now - channel.sampled_at
    rate = (channel.next - channel.sampled) * SECOND / max(elapsed, SECOND)
    if elapsed >= _RATE_SPAN:
        channel.sampled_at, channel.sampled = machine.now, channel.next
    return rate


def names_matching(machine: SlotMachine, pattern: str, after: str) -> Iterator[str]:
    """The names behind ``after`` that match, in order, each when it is asked for."""
    book = machine.channels
    if is_plain(pattern):
        if pattern in book.names and pattern > after:
            yield pattern
        return
    prefix = topic_prefix(pattern).decode()
    names = book.in_order()
    for index in range(bisect_right(names, max(after, prefix)), len(names)):
        name = names[index]
        if not name.startswith(prefix):
            return
        if matches(pattern, name):
            yield name
