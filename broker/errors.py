"""The error tree and the registry of stable codes.

A code is a number and a name; both are public and never change their meaning.
The text beside them is for people and may change at any time.  Codes below 200
are the client's mistakes, 2xx tell that the broker could not do it now, 3xx that a
right was lost, 4xx concern the process and its disk and never travel on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

BY_CODE: dict[int, type[MsgQueueError]] = {}
BY_NAME: dict[str, type[MsgQueueError]] = {}


class MsgQueueError(Exception):
    """Root of every error this project raises on purpose."""

    code: ClassVar[int] = 100
    name: ClassVar[str] = "error"
    #: True when the same request may succeed later, unchanged.
    retryable: ClassVar[bool] = False
    #: Fields that the reply has besides.
    details: Mapping[str, Any] = {}

    def __init_subclass__(cls) -> None:
        if "code" in cls.__dict__:
            assert cls.code not in BY_CODE, f"code {cls.code} is taken"
            BY_CODE[cls.code] = cls
            BY_NAME[cls.name] = cls

    @property
    def text(self) -> str:
        return str(self.args[0]) if self.args else self.name


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


class ProcessError(MsgQueueError):
    """The process cannot start or cannot go on; each has its own exit status."""

    exit_status: ClassVar[int] = 1


class ConfigError(ProcessError):
    code, name, exit_status = 401, "config_error", 64


class AddressInUse(ProcessError):
    code, name, exit_status = 402, "address_in_use", 65


class DirectoryInUse(ProcessError):
    """Another process holds the data directory."""

    code, name, exit_status = 403, "directory_in_use", 66


class DirectoryNotWritable(ProcessError):
    code, name, exit_status = 404, "directory_not_writable", 67


class FormatTooNew(ProcessError):
    """The data directory was written by a newer program."""

    code, name, exit_status = 405, "format_too_new", 68


class DataDamaged(ProcessError):
    """Stored data fails its checks; nothing was changed or erased."""

    code, name, exit_status = 406, "data_damaged", 69


class DiskFailed(ProcessError):
    """A write or fsync of the log failed: nothing in memory can be trusted any more."""

    code, name, exit_status = 407, "disk_failed", 70


class DiskFull(ProcessError):
    code, name, exit_status = 408, "disk_full", 71


class BrokerIdInUse(ProcessError):
    """Another incarnation of this broker id, another disk, is alive in the cluster."""

    code, name, exit_status = 409, "broker_id_in_use", 72


class UnknownCluster(ProcessError):
    """The coordinator holds no cluster of that name."""

    code, name, exit_status = 410, "unknown_cluster", 73


class OtherCluster(ProcessError):
    """A cluster of the same name and another id: not the one that the data belongs to."""

    code, name, exit_status = 411, "other_cluster", 74


class CoordinatorRefused(ProcessError):
    """The coordinator is a release that can lose what it confirmed."""

    code, name, exit_status = 412, "coordinator_refused", 75


class UnreadableKey(ProcessError):
    """A key of the coordinator holds what no broker of this release writes."""

    code, name, exit_status = 413, "unreadable_key", 76


class CoordinatorFailed(ProcessError):
    """A thread that speaks with the coordinator ended by a fault of its own."""

    code, name, exit_status = 414, "coordinator_failed", 77


class CoordinatorUnreachable(ProcessError):
    """No endpoint of the coordinator answered a command; brokers wait for it instead."""

    code, name, exit_status = 415, "coordinator_unreachable", 78


class OperationRefused(ProcessError):
    """An operator's command that would do harm as the cluster stands; nothing was changed."""

    code, name, exit_status = 416, "operation_refused", 79


class NotReached(ProcessError):
    """The state that an operator's command waited for did not come in time."""

    code, name, exit_status = 417, "not_reached", 80


class BadInput(ProcessError):
    """A line or a file that was given to a command does not hold what the command reads."""

    code, name, exit_status = 418, "bad_input", 81


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


def error_from_wire(code: int, text: str) -> MsgQueueError:
    """The error for a ``failed`` reply; an unknown code becomes the root with that text."""
    return BY_CODE.get(code, MsgQueueError)(text)
