"""Whatever arrives: the decoder raises Malformed and nothing else, the node raises nothing."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import MsgQueueError
from broker.protocol.commands import SCHEMAS, Malformed, decode_command
from tests.protocol.dialog import STEPS, frames_of
from tests.support.node_rig import PEER, NodeRig

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=30)
    | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = sorted({field for schema in SCHEMAS.values() for field in schema.checks} | {"req", "v"})
HEADERS = st.builds(
    lambda cmd, fields: {"v": 1, "cmd": cmd, **fields},
    st.sampled_from(sorted(SCHEMAS)),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
)


@st.composite
def mutated(draw: st.DrawFn) -> list[bytes]:
    """Good frames with some bytes changed, cut or added."""
    frames = frames_of(
        draw(st.sampled_from(STEPS)), {"$tag": b"t" * 26, "$session": b"s" * 16, "$call": b"c" * 16}
    )
    which = draw(st.integers(0, len(frames) - 1))
    frame = bytearray(frames[which])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(frame)))
        frame[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    frames[which] = bytes(frame)
    return frames


FRAMES = st.one_of(
    st.lists(st.binary(max_size=60), max_size=4),
    mutated(),
    st.tuples(HEADERS.map(msgpack.packb)).map(list),
    st.tuples(HEADERS.map(msgpack.packb), VALUES.map(msgpack.packb)).map(list),
)


def refusal(frames: list[bytes]) -> MsgQueueError | None:
    """The error that the decoder names; any other exception fails the test."""
    try:
        decode_command(frames)
    except Malformed as bad:
        return bad.error
    return None


@given(FRAMES)
def test_the_decoder_raises_nothing_but_malformed(frames: list[bytes]) -> None:
    error = refusal(frames)
    assert error is None or 101 <= error.code < 200


@given(st.lists(FRAMES, min_size=1, max_size=20))
def test_a_node_answers_anything_and_goes_on(multiparts: list[list[bytes]]) -> None:
    rig = NodeRig()
    rig.hello()
    for frames in multiparts:
        rig.receive(PEER, frames)
    rig.run()
    rig.crash(kept=100)
    rig.hello()
    assert rig.ask(PEER, "ping").re == "pong"
    assert rig.put("works.still", b"a").re == "ok"


@pytest.mark.parametrize("depth", [10, 400, 900, 1_500, 8_000])
def test_deep_nesting_is_refused_by_name(depth: int) -> None:
    deep = b"\x91" * depth + b"\x90"
    for field in (b"\xa3cmd", b"\xa1v", b"\xa5queue"):
        assert refusal([b"\x83\xa1v\x01\xa3cmd\xa5purge" + field + deep])
    header = msgpack.packb({"v": 1, "cmd": "put", "queue": "q", "count": 1})
    columns = b"\x81\xa3any\x91" + deep
    for frames in ([header, columns, b"\x91\xc0"], [header, b"\x91" + deep]):
        assert (refusal(frames) is None) == (depth < 1_000)
