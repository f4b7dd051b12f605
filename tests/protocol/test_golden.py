"""The golden frames: what goes over the wire, byte by byte, for a client's author to test with.

GOLDEN_WRITE=1 writes them anew; a change of these bytes is a change of the protocol.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgpack
import pytest

from broker.errors import BY_NAME, ProtocolError
from broker.protocol.commands import SCHEMAS, Malformed, decode_command
from tests.protocol.dialog import LARGE_STEPS, STEPS, frames_of, hold_dialog
from tests.protocol.step import Step
from tests.protocol.subscriber_steps import SUBSCRIBER_STEPS

FILE = Path(__file__).parents[1] / "golden" / "frames.json"


def rows() -> list[dict[str, Any]]:
    if os.environ.get("GOLDEN_WRITE"):
        FILE.write_text(json.dumps(hold_dialog(), indent=1) + "\n")
    found: list[dict[str, Any]] = json.loads(FILE.read_text())
    return found


ROWS = rows()


def test_a_node_speaks_the_golden_frames() -> None:
    assert hold_dialog() == ROWS


def test_every_command_and_every_protocol_error_of_a_frame_is_among_them() -> None:
    assert {
        s.header["cmd"]
        for s in [*STEPS, *SUBSCRIBER_STEPS]
        if isinstance(s.header, dict) and "cmd" in s.header
    } > {*SCHEMAS}
    errors = {row["error"] for row in ROWS if row["direction"] == "to_broker"}
    named = {name for name, error in BY_NAME.items() if issubclass(error, ProtocolError)}
    assert named - errors == {"routing_id_not_allowed"}


def test_every_reply_is_among_them() -> None:
    replies = {
        msgpack.unpackb(bytes.fromhex(row["frames"][0]))["re"]
        for row in ROWS
        if row["direction"] == "to_client"
    }
    assert replies == {
        "welcome",
        "pong",
        "ok",
        "failed",
        "messages",
        "cancelled",
        "browsed",
        "history",
        "heads",
        "request",
        "reply",
        "call_cancelled",
    }


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r["direction"] == "to_broker"], ids=lambda r: r["name"]
)
def test_a_golden_command_decodes_as_the_file_says(row: dict[str, Any]) -> None:
    frames = [bytes.fromhex(frame) for frame in row["frames"]]
    if row["error"] is None:
        made = {schema.make for schema in SCHEMAS.values()}
        assert type(decode_command(frames)) in made
    else:
        with pytest.raises(Malformed) as caught:
            decode_command(frames)
        assert caught.value.error.name == row["error"]


@pytest.mark.parametrize("step", LARGE_STEPS, ids=lambda step: step.name)
def test_what_is_too_large_is_told_so(step: Step) -> None:
    with pytest.raises(Malformed) as caught:
        decode_command(frames_of(step, {}))
    assert caught.value.error.name == "too_large"
