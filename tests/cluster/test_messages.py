"""The frames between brokers: every message comes back as it was, and rubbish is told by name."""

from __future__ import annotations

from typing import Any, get_origin, get_type_hints

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.messages import (
    Answer,
    Fanout,
    Forward,
    Heads,
    HeadsHeard,
    Interest,
    InterestKnown,
    LinkHeader,
    Message,
    Prepare,
    Prepared,
    Question,
    Refusal,
    Refused,
    SessionEnded,
    SnapshotPart,
    SnapshotTaken,
    decode_link,
    encode_link,
)
from broker.errors import NotAnEnvelope, UnknownVersion

HEADER = LinkHeader("c1", "b1", "disk", 7, 0, 3, 1_700)

counts = st.integers(0, 2**64 - 1)
names = st.text(max_size=12)
frames = st.lists(st.binary(max_size=20), max_size=4)
place = (st.integers(0, 65_535), counts, names)
rows = st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=9), st.binary(max_size=9)))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Prepare, *place, counts, counts, counts, frames, frames),
    st.builds(Prepared, *place, counts, counts),
    st.builds(Refused, *place, st.sampled_from([int(reason) for reason in Refusal]), counts),
    st.builds(SnapshotPart, *place, counts, counts, counts, st.booleans(), rows),
    st.builds(SnapshotTaken, *place, counts, st.integers(-1, 2**63)),
    st.builds(Forward, st.binary(max_size=16), st.binary(max_size=16), frames),
    st.builds(Question, st.binary(max_size=16), frames),
    st.builds(Answer, st.binary(max_size=16), frames),
    st.builds(SessionEnded, st.binary(max_size=16), st.booleans()),
    st.builds(
        Interest,
        *(counts, counts, counts, counts),
        st.lists(st.tuples(st.one_of(names, st.binary(max_size=9)), counts), max_size=3),
    ),
    st.builds(InterestKnown, counts, counts, counts),
    st.builds(Fanout, st.lists(st.binary(max_size=20), min_size=3, max_size=4)),
    st.builds(
        Heads,
        counts,
        st.lists(st.tuples(names, counts, counts, st.one_of(st.none(), counts)), max_size=3),
        st.lists(st.tuples(st.integers(0, 65_535), counts), max_size=3),
    ),
    st.builds(HeadsHeard, counts, counts),
)
headers = st.builds(LinkHeader, names, names, names, counts, counts, counts, counts)


def as_tuples(message: Message) -> Message:
    """msgpack gives lists for tuples; nothing else may differ."""
    if isinstance(message, SnapshotPart):
        return message._replace(rows=[(row[0], row[1], row[2]) for row in message.rows])
    if isinstance(message, Interest):
        return message._replace(changes=[(key, count) for key, count in message.changes])
    if isinstance(message, Heads):
        heads = [(name, epoch, after, start) for name, epoch, after, start in message.heads]
        reigns = [(slot, epoch) for slot, epoch in message.reigns]
        return message._replace(heads=heads, reigns=reigns)
    return message


@given(headers, st.lists(messages, max_size=6))
def test_every_message_comes_back_as_it_was_sent(header: LinkHeader, sent: list[Message]) -> None:
    got_header, got = decode_link(encode_link(header, sent))
    assert got_header == header
    assert [type(message) for message in got] == [type(message) for message in sent]
    assert [as_tuples(message) for message in got] == sent


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_rubbish_raises_nothing_but_the_errors_of_a_link(rubbish: list[bytes]) -> None:
    with pytest.raises((NotAnEnvelope, UnknownVersion)):
        decode_link(rubbish)


@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_damaged_frames_raise_nothing_but_the_errors_of_a_link(
    sent: list[Message], data: st.DataObject
) -> None:
    damaged = encode_link(HEADER, sent)
    at = data.draw(st.integers(0, min(1, len(damaged) - 1)))
    byte = data.draw(st.integers(0, len(damaged[at]) - 1))
    frame = bytearray(damaged[at])
    frame[byte] = data.draw(st.integers(0, 255))
    damaged[at] = bytes(frame)
    require_sound(damaged)


@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_missing_frames_raise_nothing_but_the_errors_of_a_link(
    sent: list[Message], data: st.DataObject
) -> None:
    whole = encode_link(HEADER, sent)
    require_sound(whole[: data.draw(st.integers(0, len(whole) - 1))])


def require_sound(frames: list[bytes]) -> None:
    """It decodes to values of the types that a message has, or says that it does not."""
    try:
        _, got = decode_link(frames)
    except (NotAnEnvelope, UnknownVersion):
        return
    for message in got:
        encode_link(HEADER, [message])
        for value, (name, hint) in zip(message, hints_of(message), strict=True):
            assert type(value) is (get_origin(hint) or hint), (name, value)
        if isinstance(message, Prepare):
            assert all(type(row) is bytes for row in message.rows)
        if isinstance(message, SnapshotPart):
            assert all(tuple(map(type, row)) == (int, bytes, bytes) for row in message.rows)


def hints_of(message: Message) -> list[tuple[str, Any]]:
    return list(get_type_hints(type(message)).items())


def test_another_version_is_told_by_its_name() -> None:
    head, body = encode_link(HEADER, [])
    version, *fields = msgpack.unpackb(head)
    for other in (fields, [*fields, "a field that only later versions have"]):
        with pytest.raises(UnknownVersion):
            decode_link([msgpack.packb([version + 1, *other]), body])


def test_a_message_that_no_broker_knows_is_refused() -> None:
    head, _ = encode_link(HEADER, [])
    with pytest.raises(NotAnEnvelope):
        decode_link([head, b"\x91\x92\x63\x00"])
