"""The settings of a queue: valid from birth, compared as a whole when a name is declared again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from broker import limits
from broker.errors import BadField, MsgQueueError, UnknownSetting
from broker.model.bindings import require_bindings
from broker.model.channel_settings import read_stored_channel
from broker.model.recurring import read_schedules
from broker.names import require_name


class Overflow(StrEnum):
    """What a put does that finds its queue full."""

    REJECT = "reject"
    DROP_OLDEST = "drop_oldest"
    DEAD_LETTER_OLDEST = "dead_letter_oldest"


class Dedup(StrEnum):
    """How long a message's own id keeps a second message with that id out."""

    OFF = "off"
    #: For ``dedup_window_ms`` from its put.
    WINDOW = "window"
    #: Until it is settled.
    UNSETTLED = "unsettled"


class Ordering(StrEnum):
    QUEUE = "queue"
    #: At most one message of a key is in flight.
    KEY = "key"


@dataclass(slots=True, frozen=True, kw_only=True)
class QueueSettings:
    """Numbers that default to None are unbounded then.

    A negative acknowledgement without a delay of its own waits ``backoff_ms *
    backoff_factor**attempts``, at most ``backoff_max_ms``, less a random share of up to
    ``backoff_jitter`` percent.
    """

    durable: bool = True
    lease_ms: int = limits.LEASE_DEFAULT
    ttl_ms: int | None = None
    delay_ms: int = 0
    max_messages: int | None = None
    max_bytes: int | None = None
    overflow: str = Overflow.REJECT
    #: None stands for MAX_ATTEMPTS_DEFAULT where there is a ``dead_letter`` queue, for no
    #: bound where there is none: what nobody asked to drop is not dropped (ADR 15).
    max_attempts: int | None = None
    #: The queue that takes what was rejected, failed too often, expired or overflowed.
    dead_letter: str | None = None
    backoff_ms: int = 1_000
    backoff_factor: int = 2
    backoff_max_ms: int = 60_000
    backoff_jitter: int = 20
    dedup: str = Dedup.OFF
    dedup_window_ms: int = limits.DEDUP_WINDOW_DEFAULT
    #: Messages can be found by their own ids.
    index_ids: bool = False
    ordering: str = Ordering.QUEUE
    max_in_flight: int | None = None
    #: Deliveries a second.
    max_per_second: int | None = None
    #: One consumer takes; the next one when it has gone.
    exclusive: bool = False
    paused: bool = False
    partitions: int = 1
    #: name -> {cron, zone, body, ...}, as ``broker/model/recurring.py`` reads it
    schedules: dict[str, Any] = field(default_factory=dict)
    #: pattern of channels -> terms, as ``broker/model/bindings.py`` reads them
    bindings: dict[str, Any] = field(default_factory=dict)
    #: Of the hidden queue that holds a channel's history: what ``stored_channel`` gives.  No client
    #: sets it, and no other queue has it.
    channel: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                check(name, value)
        if self.overflow == Overflow.DEAD_LETTER_OLDEST and self.dead_letter is None:
            raise BadField("overflow: dead_letter_oldest needs a dead_letter queue")

    @classmethod
    def from_map(cls, values: dict[str, Any]) -> QueueSettings:
        """Raises UnknownSetting for a name it does not know, BadField for a bad value."""
        return cls(**_known(values))

    def updated(self, values: dict[str, Any]) -> QueueSettings:
        """These settings with some of them changed; raises as ``from_map`` does."""
        return replace(self, **_known(values))

    def as_map(self) -> dict[str, Any]:
        values = {name: _plain(value) for name, value in asdict(self).items()}
        if self.channel is None:
            del values["channel"]
        return values

    def is_same_definition(self, other: QueueSettings) -> bool:
        """True when they differ at most in what operators switch on a queue that runs."""
        return replace(self, **_SWITCHES) == replace(other, **_SWITCHES)

    @property
    def needs_disk(self) -> str:
        """A setting that only a durable queue can have; empty where there is none."""
        for name, nothing in _NEED_DISK.items():
            if getattr(self, name) != nothing:
                return name
        return ""

    @property
    def is_transient(self) -> bool:
        """In memory alone.  A queue of an older program that cannot be is on disk."""
        return not self.durable and not self.needs_disk

    @property
    def first_position(self) -> int:
        """Where the positions of the queue begin."""
        return read_stored_channel(self.channel)[1] if self.channel is not None else 0

    @property
    def attempts_max(self) -> int | None:
        if self.max_attempts is None and self.dead_letter is not None:
            return limits.MAX_ATTEMPTS_DEFAULT
        return self.max_attempts

    @property
    def knows_ids(self) -> bool:
        return self.index_ids or self.dedup != Dedup.OFF

    def backoff(self, attempts: int) -> int:
        """Milliseconds to wait after the ``attempts``-th failed attempt (from 1), at most."""
        # The exponent is capped so that a long-suffering message makes no huge integer.
        growth: int = self.backoff_factor ** min(attempts, 40)
        return min(self.backoff_ms * growth, self.backoff_max_ms)


Check = Callable[[str, Any], None]


def _integer(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> None:
        # bool is an int to Python; in settings the two are different types.
        if value.__class__ is not int or not low <= value <= high:
            raise BadField(f"{name} must be an integer from {low} to {high}")

    return check


def _boolean(name: str, value: Any) -> None:
    if value.__class__ is not bool:
        raise BadField(f"{name} must be true or false")


def _one_of(kind: type[StrEnum]) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in list(kind):
            raise BadField(f"{name} must be one of {', '.join(kind)}")

    return check


def _name(name: str, value: Any) -> None:
    try:
        require_name(value)
    except MsgQueueError as error:
        raise BadField(f"{name}: {error.text}") from None


def _schedules(name: str, value: Any) -> None:
    read_schedules(value)


def _channel(name: str, value: Any) -> None:
    read_stored_channel(value)


def _bindings(name: str, value: Any) -> None:
    require_bindings(value)


_CHECKS: dict[str, Check] = {
    "durable": _boolean,
    "lease_ms": _integer(limits.LEASE_MIN, limits.LEASE_MAX),
    "ttl_ms": _integer(1, limits.TTL_MAX),
    "delay_ms": _integer(0, limits.DELAY_MAX),
    "max_messages": _integer(1, 2**62),
    "max_bytes": _integer(1, 2**62),
    "overflow": _one_of(Overflow),
    "max_attempts": _integer(1, 1_000_000),
    "dead_letter": _name,
    "backoff_ms": _integer(0, limits.DAY),
    "backoff_factor": _integer(1, 100),
    "backoff_max_ms": _integer(0, limits.DAY),
    "backoff_jitter": _integer(0, 100),
    "dedup": _one_of(Dedup),
    "dedup_window_ms": _integer(1, limits.DEDUP_WINDOW_MAX),
    "index_ids": _boolean,
    "ordering": _one_of(Ordering),
    "max_in_flight": _integer(1, 2**62),
    "max_per_second": _integer(1, 10**9),
    "exclusive": _boolean,
    "paused": _boolean,
    "partitions": _integer(1, limits.PARTITIONS_MAX),
    "schedules": _schedules,
    "bindings": _bindings,
    "channel": _channel,
}
_OPTIONAL = {f.name for f in fields(QueueSettings) if f.default is None}
#: What rests on rows of the disk, and what it is where it is not used.
_NEED_DISK: dict[str, Any] = {
    "dead_letter": None,
    "dedup": Dedup.OFF,
    "index_ids": False,
    "partitions": 1,
}
#: What an operator changes on a running queue; declaring the queue again minds none of it.
_SWITCHES: dict[str, Any] = {"paused": False, "schedules": {}, "bindings": {}}


def _known(values: dict[str, Any]) -> dict[str, Any]:
    for name in values:
        if name not in _CHECKS:
            raise UnknownSetting(f"no setting is called {name[:80]!r}")
    return values


def _plain(value: Any) -> Any:
    """A text that is a member of an enumeration is packed as the text."""
    return str(value) if isinstance(value, StrEnum) else value
