"""Channels and subscriptions, as the sync client shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from broker.client.channels import plans, wording
from broker.client.channels.handing import Handing, OnGap
from broker.client.channels.published import PublishConfirm
from broker.client.channels.sync_channel import Channel
from broker.client.channels.sync_subscription import Callback, Subscription
from broker.client.content import Headers
from broker.client.put_batch import MessageId
from broker.client.selector import Selector
from broker.client.sync_calls import SyncCalls
from broker.names import require_name


class ChannelMethods:
    """Part of ``Client``.  Times are in seconds."""

    _calls: SyncCalls

    def channel(
        self,
        name: str,
        *,
        history: int | bool | None = None,
        history_age: float | None = None,
        history_bytes: int | None = None,
        durable: bool | None = None,
    ) -> Channel:
        """The channel called ``name``; with any setting it is declared first.

        ``history`` is how many messages it keeps (True: 100), ``history_age`` for how long;
        ``durable`` keeps them on disk.  Raises SettingsMismatch when it exists with others.
        """
        require_name(name)
        settings = wording.channel_settings(history, history_age, history_bytes, durable)
        if settings:
            self._calls.carry_out(plans.declare(name, settings))
        return Channel(self._calls, name)

    def channels(self, pattern: str = ">") -> dict[str, dict[str, Any]]:
        """What is known of the channels that match, by name."""
        return self._calls.carry_out(plans.list_channels(pattern))

    def publish(
        self,
        channel: str,
        body: Any,
        headers: Headers | None = None,
        *,
        type: str | None = None,  # noqa: A002
        content_type: str | None = None,
        key: MessageId | None = None,
    ) -> PublishConfirm:
        """Publishes one message: see ``Channel.publish``."""
        found = Channel(self._calls, require_name(channel))
        return found.publish(body, headers, type=type, content_type=content_type, key=key)

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
    ) -> Subscription:
        """The messages of all channels that match one of ``patterns``, each once.

        In a pattern ``*`` stands for one token, ``>`` at the end for the rest.  ``start`` is
        ``"now"``, ``"all"`` or ``"last"`` of what each channel keeps, a sequence (int), or a time
        (float or datetime).  It returns when nothing can be missed that is published from then on.

        What is missed all the same and cannot be had from the history is a gap: told to
        ``on_gap``, else logged; with ``raise_gaps`` the iteration raises EventsMissed.  The
        iteration ends after ``max`` events, or ``timeout`` seconds without one.  ``callback`` gets
        the events in a thread of its own.  At most ``buffer_bytes`` wait to be looked at: what
        comes above is fetched from the history later, where there is one.
        """
        handing = Handing(wording.read_selector(selector), on_gap, raise_gaps)
        wanted, begin = wording.read_patterns(patterns), wording.read_start(start)
        calls = self._calls
        with calls.changing:
            calls.require_open()
            intake = calls.session.subscriptions.add(wanted, begin, buffer_bytes, calls.now_ms())
            calls.turn()
        subscription = Subscription(calls, intake, handing, timeout, max)
        try:
            subscription.join(calls.request_timeout)
        except BaseException:
            subscription.close()
            raise
        if callback is not None:
            subscription.call(callback)
        return subscription
