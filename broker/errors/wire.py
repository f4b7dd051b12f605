"""What a broker answers instead of ``ok``: the client's mistakes, what is not possible now, and
rights that were lost."""

from __future__ import annotations

from typing import Any

from broker.errors.tree import MsgQueueError


class ProtocolError(MsgQueueError):
    """The frames are not a command of this protocol."""


class NotAnEnvelope(ProtocolError):
    code, name = 101, "not_an_envelope"


class UnknownVersion(ProtocolError):
    code, name = 102, "unknown_version"


class UnknownCommand(ProtocolError):
    code, name = 103, "unknown_command"


class BadField(ProtocolError):
    """A field is missing, of the wrong type, out of range or not known."""

    code, name = 104, "bad_field"


class TooLarge(ProtocolError):
    """A frame, a header, a message or a batch is over its bound."""

    code, name = 105, "too_large"


class CountMismatch(ProtocolError):
    """The header's count differs from the batch array's."""

    code, name = 106, "count_mismatch"


class NameNotAllowed(ProtocolError):
    code, name = 107, "name_not_allowed"


class RoutingIdNotAllowed(ProtocolError):
    """The client chose its own ZeroMQ routing id; ids belong to the broker."""

    code, name = 108, "routing_id_not_allowed"


class RequestRefused(MsgQueueError):
    """The command was understood and is refused as it stands."""


class NoSession(RequestRefused):
    code, name = 120, "no_session"


class QueueNotFound(RequestRefused):
    code, name = 121, "queue_not_found"


class SettingsMismatch(RequestRefused):
    code, name = 122, "settings_mismatch"


class UnknownSetting(RequestRefused):
    code, name = 123, "unknown_setting"


class ConsumerNotFound(RequestRefused):
    code, name = 124, "consumer_not_found"


class ConsumerExists(RequestRefused):
    code, name = 125, "consumer_exists"


class SequenceTooOld(RequestRefused):
    """Below the window of remembered sequences: cannot tell whether it was taken."""

    code, name = 126, "sequence_too_old"


class ProducerExpired(RequestRefused):
    """A sequence above 0 from a producer that the queue does not know (any more)."""

    code, name = 127, "producer_expired"


class QueueNotEmpty(RequestRefused):
    code, name = 128, "queue_not_empty"


class QueueDeleted(RequestRefused):
    code, name = 129, "queue_deleted"


class MessageNotFound(RequestRefused):
    """No waiting message has that position or id."""

    code, name = 130, "message_not_found"


class TransactionSpansSlots(RequestRefused):
    """All settles of one transaction are of queues in one slot."""

    code, name = 131, "transaction_spans_slots"


class IdsNotIndexed(RequestRefused):
    """The queue keeps no index of ids: it has neither dedup by id nor ``index_ids``."""

    code, name = 132, "ids_not_indexed"


class ExclusiveQueue(RequestRefused):
    """The queue has one consumer at a time; nobody else takes from it."""

    code, name = 133, "exclusive_queue"


class Partitioned(RequestRefused):
    """The queue is spread over others: ``details`` tell over how many, and their settings."""

    code, name = 134, "partitioned"

    def __init__(self, text: str, **details: Any) -> None:
        super().__init__(text)
        self.details = details


class BadPattern(RequestRefused):
    """Tokens of a name, of which each may be ``*``, and the last one ``>``."""

    code, name = 140, "bad_pattern"


class ChannelNotFound(RequestRefused):
    """Nobody declared the channel, and nothing was published there of late."""

    code, name = 141, "channel_not_found"


class SubscriptionNotFound(RequestRefused):
    code, name = 142, "subscription_not_found"


class SubscriptionExists(RequestRefused):
    code, name = 143, "subscription_exists"


class UnknownEpoch(RequestRefused):
    """The sender knows a reign of the slot that this broker has not heard of."""

    code, name = 144, "unknown_epoch"


class SequenceAhead(RequestRefused):
    """The channel has not come so far: what the sender knows is of another of its lives."""

    code, name = 145, "sequence_ahead"


class BindingNotFound(RequestRefused):
    code, name = 146, "binding_not_found"


class NotNow(MsgQueueError):
    """The broker cannot do it at this moment; the same request may succeed later."""

    retryable = True


class QueueFull(NotNow):
    code, name = 201, "queue_full"


class ResourceAlarm(NotNow):
    """Disk or memory is beyond its watermark: puts wait, settles and deliveries go on."""

    code, name = 202, "resource_alarm"


class LimitReached(NotNow):
    """Too many sessions, queues, consumers or waiting requests."""

    code, name = 203, "limit_reached"


class ShuttingDown(NotNow):
    code, name = 204, "shutting_down"


class NotPrimary(NotNow):
    code, name = 205, "not_primary"


class NotEnoughReplicas(NotNow):
    code, name = 206, "not_enough_replicas"


class UnreadableMessage(NotNow):
    """A stored record fails its checksum; it is kept aside and never skipped silently."""

    code, name = 207, "unreadable_message"


class OutcomeUnknown(NotNow):
    """The slot's primary changed before the answer: it may or may not have happened."""

    code, name = 208, "outcome_unknown"


class DedupFull(NotNow):
    """The queue remembers as many ids as it may."""

    code, name = 209, "dedup_full"


class RightLost(MsgQueueError):
    """A right that the sender had is gone."""


class LeaseLost(RightLost):
    """The delivery is not (or no longer) held by the sender."""

    code, name = 301, "lease_lost"


class SessionClosed(RightLost):
    code, name = 302, "session_closed"


class ProducerFenced(RightLost):
    """A newer instance of the named producer has taken over."""

    code, name = 303, "producer_fenced"
