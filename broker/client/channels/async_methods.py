"""Channels and subscriptions, as the async client shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from broker.client.async_calls import AsyncCalls
from broker.client.channels import plans, wording
from broker.client.channels.async_channel import AsyncChannel
from broker.client.channels.async_subscription import AsyncSubscription, Callback
from broker.client.channels.handing import Handing, OnGap
from broker.client.channels.published import AsyncPublishConfirm
from broker.client.content import Headers
from broker.client.put_batch import MessageId
from broker.client.selector import Selector
from broker.names import require_name


class AsyncChannelMethods:
    """Part of ``AsyncClient``.  Times are in seconds."""

    if TYPE_CHECKING:

        @property
        def _calls(self) -> AsyncCalls: ...

    async def channel(
        self,
        name: str,
        *,
        history: int | bool | None = None,
        history_age: float | None = None,
        history_bytes: int | None = None,
        durable: bool | None = None,
    ) -> AsyncChannel:
        """The channel called ``name``; with any setting it is declared first.

        ``history`` is how many messages it keeps (True: 100), ``history_age`` for how long;
        ``durable`` keeps them on disk.  Raises SettingsMismatch when it exists with others.
        """
        require_name(name)
        settings = wording.channel_settings(history, history_age, history_bytes, durable)
        if settings:
            await self._calls.carry_out(plans.declare(name, settings))
        return AsyncChannel(self._calls, name)

    async def channels(self, pattern: str = ">") -> dict[str, dict[str, Any]]:
        """What is known of the channels that match, by name."""
        return await self._calls.carry_out(plans.list_channels(pattern))

    async def publish(
        self,
        channel: str,
        body: Any,
        headers: Headers | None = None,
        *,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        key: MessageId | None = None,
    ) -> AsyncPublishConfirm:
        """Publishes one message: see ``AsyncChannel.publish``."""
        found = AsyncChannel(self._calls, require_name(channel))
        return await found.publish(body, headers, type=type, content_type=content_type, key=key)

    def subscribe(
        self,
        *patterns: str,
        start: str | int | float | datetime = "now",
        selector: Selector | None = None,
        on_gap: OnGap | None = None,
        raise_gaps: bool = False,
        callback: Callback | None = None,
        timeout: float | None = None,
        max: int | None = None,  # noqa: A002
        buffer_bytes: int = wording.BUFFER_BYTES,
    ) -> AsyncSubscription:
        """The messages of all channels that match one of ``patterns``, each once.

        In a pattern ``*`` stands for one token, ``>`` at the end for the rest.  ``start`` is
        ``"now"``, ``"all"`` or ``"last"`` of what each channel keeps, a sequence (int), or a time
        (float or datetime).  Awaited, it returns when nothing can be missed that is published from
        then on; it may also be iterated at once.

        What is missed all the same and cannot be had from the history is a gap: told to
        ``on_gap``, else logged; with ``raise_gaps`` the iteration raises EventsMissed.  The
        iteration ends after ``max`` events, or ``timeout`` seconds without one.  ``callback`` gets
        the events in a task of its own.  At most ``buffer_bytes`` wait to be looked at: what
        comes above is fetched from the history later, where there is one.
        """
        handing = Handing(wording.read_selector(selector), on_gap, raise_gaps)
        wanted, begin = wording.read_patterns(patterns), wording.read_start(start)
        calls = self._calls
        calls.require_open()
        intake = calls.session.subscriptions.add(wanted, begin, buffer_bytes, calls.now_ms())
        calls.turn()
        subscription = AsyncSubscription(calls, intake, handing, timeout, max)
        if callback is not None:
            subscription.call(callback)
        return subscription
