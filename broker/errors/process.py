"""Why a process cannot start or cannot go on; none of these travels on the wire."""

from __future__ import annotations

from typing import ClassVar

from broker.errors.tree import MsgQueueError


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
