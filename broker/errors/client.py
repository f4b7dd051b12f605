"""What the client library raises by itself; none of these travels on the wire."""

from __future__ import annotations

from broker.errors.tree import MsgQueueError


class ClientError(MsgQueueError):
    """Raised by the client library itself; never travels on the wire."""


class ConnectionLost(ClientError):
    """No broker answered within the time allowed; unconfirmed work may or may not have happened."""

    code, name = 501, "connection_lost"


class ClientClosed(ClientError):
    code, name = 502, "client_closed"


class ForkedClient(ClientError):
    """The client was made before a fork; sockets do not survive one."""

    code, name = 503, "forked_client"


class CannotDecode(ClientError):
    """A body does not decode as its content type says; the raw bytes are kept."""

    code, name = 504, "cannot_decode"


class CannotEncode(ClientError):
    code, name = 505, "cannot_encode"


class WaitTimeout(ClientError):
    """The caller's own time limit ended; the request goes on."""

    code, name = 506, "wait_timeout"


class CallTimeout(ClientError):
    """The call's deadline came without an answer; it may or may not have been carried out."""

    code, name = 507, "call_timeout"


class ChannelsOff(ClientError):
    """The broker publishes nothing to subscribers: its ``publish_listen`` is off."""

    code, name = 508, "channels_off"


class EventsMissed(ClientError):
    """Messages of a channel were published and cannot be had any more."""

    code, name = 509, "events_missed"
