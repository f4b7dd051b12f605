"""What brokers say to one another; each may be lost, doubled, delayed and overtaken.

All that goes to one broker in one turn is one multipart:

    header   msgpack [version, cluster id, from broker, its incarnation, boot, stream, sequence,
                      the sender's time]
    body     msgpack [[kind, field ...], ...], one array a message
    raw ...  the frames of the messages that have some, in their order

A message of the log carries its slot and epoch, and the incarnation of the copy it means or comes
from.  ``boot`` is drawn at each start and ``sequence`` counts the multiparts to this receiver, so
that it sees where some are missing.  That matters to what is forwarded for clients and to nothing
else: the ``stream`` ends there, and another begins.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, get_origin, get_type_hints

import msgpack

from broker.errors import NotAnEnvelope, UnknownVersion

LINK_VERSION = 1


class LinkHeader(NamedTuple):
    cluster: str
    broker: str
    incarnation: str
    boot: int
    stream: int
    sequence: int
    now: int


class Prepare(NamedTuple):
    """Entries behind (prev_lsn, prev_epoch); with none of them it is a heartbeat."""

    slot: int
    epoch: int
    incarnation: str
    prev_lsn: int
    prev_epoch: int
    commit_lsn: int
    rows: list[bytes]
    #: The stored batch of each row that has one, in their order.
    raw: list[bytes]


class Prepared(NamedTuple):
    """The sender's log agrees with the primary's up to ``received_lsn``, on its disk up to
    ``durable_lsn``."""

    slot: int
    epoch: int
    incarnation: str
    received_lsn: int
    durable_lsn: int


class Refusal(IntEnum):
    #: The sender has promised ``known``, a later epoch.
    STALE_EPOCH = 1
    #: The log ends at ``known``, before prev_lsn.
    GAP = 2
    #: The entry at prev_lsn is of another epoch; what is at ``known`` may agree.
    MISMATCH = 3
    #: The copy that is meant is not the one that is here.
    WRONG_STORE = 4
    #: The log does not continue as its checksums say: this copy counts no more.
    SUSPECT = 5


class Refused(NamedTuple):
    slot: int
    epoch: int
    incarnation: str
    reason: int
    known: int


class SnapshotPart(NamedTuple):
    """Rows of a slot as of ``lsn``, whose entry is of ``lsn_epoch``; the rest follows by the log.
    Part number ``part``; each row is (family, key behind the instance, value)."""

    slot: int
    epoch: int
    incarnation: str
    lsn: int
    lsn_epoch: int
    part: int
    is_last: bool
    rows: list[tuple[int, bytes, bytes]]


class SnapshotTaken(NamedTuple):
    slot: int
    epoch: int
    incarnation: str
    lsn: int
    part: int


class Forward(NamedTuple):
    """A client's command for a slot of the receiver; ``resumes`` is the client's former session."""

    session: bytes
    resumes: bytes
    raw: list[bytes]


class Question(NamedTuple):
    """A command about all slots: the receiver answers for its own.  ``session`` names it."""

    session: bytes
    raw: list[bytes]


class Answer(NamedTuple):
    """A reply to a client of the receiver, or to a question of its own."""

    session: bytes
    raw: list[bytes]


class SessionEnded(NamedTuple):
    """A client of the sender is gone; ``charge`` tells whether for a fault of its own."""

    session: bytes
    charge: bool


class Interest(NamedTuple):
    """What the sender's clients listen to, as it changed from version ``base`` to ``version``; the
    sender is at ``newest`` meanwhile.  ``base`` 0 is where an edition begins, with nothing.

    A change is [pattern, registered subscriptions] or [topic prefix, one more than the subscribers
    that no registered subscription accounts for]; 0 when nobody listens there any more."""

    edition: int
    base: int
    version: int
    newest: int
    changes: list[tuple[str | bytes, int]]


class InterestKnown(NamedTuple):
    """The interest of the receiver, in its life ``boot``, is known up to ``version``."""

    boot: int
    edition: int
    version: int


class Fanout(NamedTuple):
    """A multipart for the subscribers of the receiver, as it is to leave there."""

    raw: list[bytes]


class Heads(NamedTuple):
    """How far channels of the sender are: (name, epoch, next sequence, first one or None); and the
    reigns that began there: (slot, epoch).  ``number`` is repeated by the answer."""

    number: int
    heads: list[tuple[str, int, int, int | None]]
    reigns: list[tuple[int, int]]


class HeadsHeard(NamedTuple):
    boot: int
    number: int


#: What subscribers are told, in the order of the stream; the rest of the channels' in any order.
ChannelMessage = Interest | InterestKnown | Heads | HeadsHeard

Message = (
    Prepare
    | Prepared
    | Refused
    | SnapshotPart
    | SnapshotTaken
    | Forward
    | Answer
    | SessionEnded
    | Question
    | Fanout
    | ChannelMessage
)
_KINDS: dict[type[Any], int] = {
    Prepare: 1,
    Prepared: 2,
    Refused: 3,
    SnapshotPart: 4,
    SnapshotTaken: 5,
    Forward: 6,
    Answer: 7,
    SessionEnded: 8,
    Question: 9,
    Interest: 10,
    InterestKnown: 11,
    Fanout: 12,
    Heads: 13,
    HeadsHeard: 14,
}
_TYPES: dict[int, Callable[..., Message]] = {kind: made for made, kind in _KINDS.items()}
_WITH_RAW = {_KINDS[kind] for kind in (Prepare, Forward, Answer, Question, Fanout)}
_FIELD_TYPES: dict[type[Any], list[type[Any]]] = {
    made: [get_origin(hint) or hint for hint in get_type_hints(made).values()] for made in _KINDS
}


def encode_link(header: LinkHeader, messages: list[Message]) -> list[bytes]:
    body: list[Any] = []
    raw: list[bytes] = []
    for message in messages:
        kind = _KINDS[type(message)]
        if isinstance(message, Prepare | Forward | Answer | Question | Fanout):
            raw += message.raw
            body.append([kind, *message[:-1], len(message.raw)])
        else:
            body.append([kind, *message])
    return [msgpack.packb([LINK_VERSION, *header]), msgpack.packb(body), *raw]


def decode_link(frames: list[bytes]) -> tuple[LinkHeader, list[Message]]:
    """Raises NotAnEnvelope or UnknownVersion, and nothing else, whatever the frames hold."""
    header = _decode_header(frames)
    try:
        messages = _decode_messages(frames)
    except Exception as error:
        # msgpack and the constructors raise many kinds on bad input; all say the same to us.
        raise NotAnEnvelope(f"the multipart is broken: {type(error).__name__}") from None
    return header, messages


def _decode_header(frames: list[bytes]) -> LinkHeader:
    try:
        version, *fields = msgpack.unpackb(frames[0], max_ext_len=0)
        # Another version's header may have other fields.
        header = LinkHeader(*fields) if version == LINK_VERSION else None
    except Exception as error:
        raise NotAnEnvelope(f"the header is broken: {type(error).__name__}") from None
    if header is None:
        raise UnknownVersion(f"brokers here speak link version {LINK_VERSION}, not {version!r}")
    kinds = (str, str, str, int, int, int, int)
    if not all(value.__class__ is kind for value, kind in zip(header, kinds, strict=True)):
        raise NotAnEnvelope("a field of the header is of another type")
    return header


def _decode_messages(frames: list[bytes]) -> list[Message]:
    messages: list[Message] = []
    at = 2
    for kind, *fields in msgpack.unpackb(frames[1], max_ext_len=0):
        if kind in _WITH_RAW:
            count = fields[-1]
            fields[-1] = frames[at : at + count]
            if len(fields[-1]) != count:
                raise ValueError("frames are missing")
            at += count
        message = _TYPES[kind](*fields)
        _require_types(message)
        messages.append(message)
    return messages


def _require_types(message: Message) -> None:
    """Whoever takes a message compares its fields with its own and trips over no other type."""
    wanted = _FIELD_TYPES[type(message)]
    if not all(value.__class__ is kind for value, kind in zip(message, wanted, strict=True)):
        raise TypeError("a field is of another type")
    if isinstance(message, Prepare) and any(row.__class__ is not bytes for row in message.rows):
        raise TypeError("a row is no bytes")
    if isinstance(message, Fanout) and len(message.raw) < 3:
        raise ValueError("frames are missing")
    if isinstance(message, Interest | Heads):
        _require_rows(message)
    if isinstance(message, SnapshotPart):
        for family, key, value in message.rows:
            if (family.__class__, key.__class__, value.__class__) != (int, bytes, bytes):
                raise TypeError("a row is of other types")


def _require_rows(message: Interest | Heads) -> None:
    if isinstance(message, Interest):
        for key, count in message.changes:
            if key.__class__ not in (str, bytes) or count.__class__ is not int or count < 0:
                raise TypeError("a change is of other types")
        return
    for name, epoch, following, start in message.heads:
        known = (name.__class__, epoch.__class__, following.__class__) == (str, int, int)
        if not known or start.__class__ not in (int, type(None)):
            raise TypeError("a head is of other types")
    for slot, epoch in message.reigns:
        if (slot.__class__, epoch.__class__) != (int, int):
            raise TypeError("a reign is of other types")
