"""The latest message of each channel, for those who come late and want what holds now.

    mq.channel("price.eur", history=1).publish("1.09")   # the publisher keeps one message

    with LastValues(mq, "price.*") as prices:
        for event in prices:                             # what stands now, then each change
            print(event.channel, event.body)
            prices["price.eur"].body                     # the latest that was iterated over

Law: per channel the newest wins, and a change is seen once.  Changes that could not be had are no
loss here: the next one says all.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from broker.client.channels.event import Event
from broker.client.sync_client import Client


class LastValues:
    """What stands in the channels that match ``patterns``; one thread's.

    Iterating gives each change, the values that stood first, until ``timeout`` idle seconds.
    """

    def __init__(self, mq: Client, *patterns: str, timeout: float | None = None) -> None:
        self._events: dict[str, Event] = {}
        self._subscription = mq.subscribe(*patterns, start="last", timeout=timeout)

    def __getitem__(self, channel: str) -> Event:
        """The last event of a channel; KeyError where nothing was seen yet."""
        return self._events[channel]

    def get(self, channel: str) -> Event | None:
        return self._events.get(channel)

    @property
    def channels(self) -> list[str]:
        return sorted(self._events)

    def __iter__(self) -> Iterator[Event]:
        for event in self._subscription:
            self._events[event.channel] = event
            yield event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._subscription.close()
