"""The commands a client sends, valid from birth: ``protocol/commands.py`` makes them from frames.

A range is ``(first, count, attempts)``.  Times and leases are in milliseconds; a field that
the client left out is None where the queue's settings decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker import limits
from broker.model.selector import Selector

#: (first position, number of positions, attempts told by the delivery)
Range = tuple[int, int, int]


@dataclass(slots=True, kw_only=True)
class Command:
    #: Repeated by the reply; None asks for no positive answer.
    req: int | None = None


@dataclass(slots=True, kw_only=True)
class Hello(Command):
    client: str
    timeout_ms: int
    resume: bytes | None = None


@dataclass(slots=True, kw_only=True)
class Ping(Command):
    pass


@dataclass(slots=True, kw_only=True)
class Bye(Command):
    pass


@dataclass(slots=True, kw_only=True)
class Map(Command):
    """Who owns which slot."""


@dataclass(slots=True, kw_only=True)
class Declare(Command):
    queue: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Update(Command):
    """Changes some settings of a queue; the others stay."""

    queue: str
    settings: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Put(Command):
    queue: str
    count: int
    producer: bytes | None = None
    seq: int | None = None
    priority: int
    delay_ms: int | None = None
    at_ms: int | None = None
    #: One instant for each message, instead; None or 0 for now.
    due_times: list[int | None] | None = None
    ttl_ms: int | None = None
    content_type: str | None = None
    type: str | None = None
    #: The ordering key of all its messages.
    key: str | bytes | None = None
    #: Of a named producer: which of its lives this is.
    instance: int | None = None
    #: Of a dead letter, which no client puts: why and where it died.
    death: dict[str, Any] | None = None
    #: Of what leaves another queue: a transaction puts it, or it was published, so that it was in
    #: no queue before.
    is_new: bool | None = None
    #: Of what was published: on which channel, and the queue that is bound to it, which no other
    #: of its name stands for.
    channel: str | None = None
    uuid: bytes | None = None
    #: Over how many partitions the sender takes the queue to be spread; None where it leaves
    #: that to the broker.
    partitions: int | None = None
    #: Of what goes on to a partition, which no client puts: those to declare it with.
    settings: dict[str, Any] | None = None
    columns: bytes = b""
    batch: bytes = b""


@dataclass(slots=True, kw_only=True)
class Get(Command):
    queue: str
    max: int
    timeout_ms: int
    bytes_max: int
    lease_ms: int | None = None
    auto_ack: bool = False
    selector: Selector | None = None


@dataclass(slots=True, kw_only=True)
class Consume(Command):
    queue: str
    consumer: int
    credit: int
    credit_bytes: int
    lease_ms: int | None = None
    auto_ack: bool = False
    selector: Selector | None = None
    concurrency: int = 1
    priority: int = limits.CONSUMER_PRIORITY_DEFAULT


@dataclass(slots=True, kw_only=True)
class Credit(Command):
    consumer: int
    messages: int = 0
    bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Cancel(Command):
    consumer: int


@dataclass(slots=True, kw_only=True)
class Settle(Command):
    """What ``ack``, ``nack`` and ``reject`` have in common."""

    queue: str
    tag: bytes
    ranges: list[Range]
    consumer: int | None = None
    credit: int = 0
    credit_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Ack(Settle):
    pass


@dataclass(slots=True, kw_only=True)
class Nack(Settle):
    delay_ms: int | None = None
    charge: bool = True


@dataclass(slots=True, kw_only=True)
class Reject(Settle):
    pass


@dataclass(slots=True, kw_only=True)
class Extend(Command):
    queue: str
    tag: bytes
    ranges: list[Range]
    lease_ms: int | None = None
    consumer: int | None = None


@dataclass(slots=True, kw_only=True)
class Stats(Command):
    queue: str | None = None


@dataclass(slots=True, kw_only=True)
class Queues(Command):
    after: str = ""
    max: int = 1_000


@dataclass(slots=True, kw_only=True)
class Purge(Command):
    queue: str


@dataclass(slots=True, kw_only=True)
class Delete(Command):
    queue: str
    if_empty: bool = True


@dataclass(slots=True, kw_only=True)
class Transact(Command):
    """Settles and puts that happen together or not at all."""

    settles: list[Ack]
    puts: list[Put]
    producer: bytes
    seq: int

    @property
    def queue(self) -> str:
        """The queue whose slot carries it out."""
        return self.settles[0].queue


@dataclass(slots=True, kw_only=True)
class Producer(Command):
    """A named producer's newest instance takes over from those before it."""

    queue: str
    producer: bytes
    instance: int


@dataclass(slots=True, kw_only=True)
class Named(Command):
    """Messages by position or by id."""

    queue: str
    ranges: list[Range] | None = None
    ids: list[str | bytes] | None = None


@dataclass(slots=True, kw_only=True)
class Browse(Named):
    """A look at messages; ``after`` is a position, -1 for the start."""

    max: int
    bytes_max: int
    after: int = -1
    selector: Selector | None = None


@dataclass(slots=True, kw_only=True)
class Remove(Named):
    pass


@dataclass(slots=True, kw_only=True)
class Reschedule(Named):
    at_ms: int | None = None
    delay_ms: int | None = None


@dataclass(slots=True, kw_only=True)
class Redrive(Command):
    """Waiting messages go to ``to``, or each to where it died."""

    queue: str
    to: str | None = None
    max: int | None = None
    per_second: int | None = None
    selector: Selector | None = None
    stop: bool = False


@dataclass(slots=True, kw_only=True)
class Bind(Command):
    """The queue gets what is published on the channels that match, of which the selector is met."""

    queue: str
    pattern: str
    selector: Selector | None = None


@dataclass(slots=True, kw_only=True)
class Unbind(Command):
    queue: str
    pattern: str


@dataclass(slots=True, kw_only=True)
class CopyBinding(Command):
    """A queue's slot tells a slot of channels how a binding is; no client sends it.

    ``version`` rises with each change of the binding; ``is_gone`` for one that ended.
    """

    slot: int
    queue: str
    uuid: bytes
    pattern: str
    version: int
    selector: Selector | None = None
    is_gone: bool = False


@dataclass(slots=True, kw_only=True)
class OfChannel(Command):
    """What the slot of a channel carries out."""

    channel: str


@dataclass(slots=True, kw_only=True)
class Publish(OfChannel):
    """Messages for all subscribers of a channel."""

    count: int
    producer: bytes | None = None
    seq: int | None = None
    content_type: str | None = None
    type: str | None = None
    key: str | bytes | None = None
    columns: bytes = b""
    batch: bytes = b""


@dataclass(slots=True, kw_only=True)
class DeclareChannel(OfChannel):
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class UpdateChannel(OfChannel):
    """Changes some settings of a channel; the others stay."""

    settings: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class DeleteChannel(OfChannel):
    pass


@dataclass(slots=True, kw_only=True)
class History(OfChannel):
    """A look at what a channel keeps; ``after`` is a sequence, -1 for the oldest, and ``last``
    asks for the newest message alone."""

    max: int
    bytes_max: int
    after: int = -1
    since_ms: int | None = None
    #: The newest reign of the slot that the sender has heard of.
    epoch: int | None = None
    last: bool = False


@dataclass(slots=True, kw_only=True)
class Channels(Command):
    """Facts of the channels that match, by name."""

    pattern: str = ">"
    after: str = ""
    max: int = 1_000


@dataclass(slots=True, kw_only=True)
class Subscribe(Command):
    """``sub`` is the session's own number for it."""

    pattern: str
    sub: int


@dataclass(slots=True, kw_only=True)
class Unsubscribe(Command):
    sub: int


@dataclass(slots=True, kw_only=True)
class Echo(Command):
    """The topic is to come back as a message of its own, behind all that was sent before."""

    topic: bytes


@dataclass(slots=True, kw_only=True)
class Dropped(Command):
    """The subscriber has missed so many messages, and could not get them from the history."""

    sub: int
    count: int
