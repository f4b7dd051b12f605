"""One dialog with a node that has every command, every reply and every protocol error in it.

``tests/golden/frames.json`` holds its frames; the clock and the random bits are fixed, so that a
node that follows the protocol gives the same bytes each time.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker.limits import COLUMNS_BYTES_MAX, HEADER_BYTES_MAX
from broker.protocol.commands import Malformed, decode_command
from tests.protocol.binding_steps import BINDING_STEPS
from tests.protocol.channel_steps import CHANNEL_STEPS
from tests.protocol.id_steps import ID_STEPS
from tests.protocol.key_steps import KEY_STEPS
from tests.protocol.partition_steps import PARTITION_STEPS
from tests.protocol.service_steps import SERVICE_STEPS
from tests.protocol.step import Step
from tests.protocol.subscriber_steps import hold_subscriber_dialog
from tests.protocol.transaction_steps import LARGE_TRANSACTION_STEPS, TRANSACTION_STEPS
from tests.support.node_rig import PEER, NodeRig

TWO = msgpack.packb([b"a", b"b"])
WITH_HEADERS = msgpack.packb([[b"body", {"trace": "x1", "n": 7}]])
PRODUCER = b"producer-1"


#: ``$tag`` stands for the newest delivery's tag, ``$session`` for the newest session's id.
STEPS = [
    Step("ping_without_session", "nothing is answered before hello", {"cmd": "ping", "req": 1}),
    Step("hello", "opens a session", {"cmd": "hello", "req": 2, "client": "demo"}),
    Step(
        "hello_again",
        "the same peer begins anew and names its former session",
        {"cmd": "hello", "req": 3, "client": "demo", "timeout_ms": 300000, "resume": "$session"},
    ),
    Step("ping", "a sign of life", {"cmd": "ping", "req": 4}),
    Step(
        "declare",
        "makes a queue with settings",
        {"cmd": "declare", "req": 5, "queue": "jobs", "settings": {"lease_ms": 60000}},
    ),
    Step(
        "declare_otherwise",
        "the queue exists with other settings",
        {"cmd": "declare", "req": 6, "queue": "jobs", "settings": {"lease_ms": 5000}},
    ),
    Step(
        "declare_unknown_setting",
        "no setting has that name",
        {"cmd": "declare", "req": 7, "queue": "jobs", "settings": {"colour": 1}},
    ),
    Step(
        "update",
        "changes some settings of a queue that lives; the answer has all",
        {"cmd": "update", "req": 70, "queue": "jobs", "settings": {"max_per_second": 500}},
    ),
    Step(
        "update_fixed",
        "bad_field: where a queue's messages are kept does not change",
        {"cmd": "update", "req": 71, "queue": "jobs", "settings": {"partitions": 4}},
    ),
    Step(
        "update_exclusive",
        "from now on one consumer at a time",
        {"cmd": "update", "req": 72, "queue": "jobs", "settings": {"exclusive": True}},
    ),
    Step(
        "get_exclusive",
        "exclusive_queue: others do not take",
        {"cmd": "get", "req": 73, "queue": "jobs", "max": 1},
    ),
    Step(
        "put",
        "two messages, protected against doubles",
        {"cmd": "put", "req": 8, "queue": "orders", "count": 2, "producer": PRODUCER, "seq": 0},
        (TWO,),
    ),
    Step(
        "put_again",
        "the same put once more appears once",
        {"cmd": "put", "req": 9, "queue": "orders", "count": 2, "producer": PRODUCER, "seq": 0},
        (TWO,),
    ),
    Step(
        "put_stranger",
        "a sequence above 0 from a producer that the queue does not know",
        {"cmd": "put", "req": 10, "queue": "orders", "count": 2, "producer": b"x", "seq": 3},
        (TWO,),
    ),
    Step(
        "put_all_fields",
        "a message with headers, priority, time to live, content type, type and columns",
        {
            "cmd": "put",
            "req": 11,
            "queue": "orders",
            "count": 1,
            "priority": 9,
            "ttl_ms": 60000,
            "content_type": "application/json",
            "type": "order",
        },
        (msgpack.packb({"ids": ["id-1"]}), WITH_HEADERS),
    ),
    Step(
        "put_delayed",
        "a message that is ready an hour after its put",
        {"cmd": "put", "req": 61, "queue": "reminders", "count": 1, "delay_ms": 3_600_000},
        (msgpack.packb([b"later"]),),
    ),
    Step(
        "put_at_and_delayed",
        "bad_field: delay_ms and at_ms exclude each other",
        {"cmd": "put", "req": 62, "queue": "reminders", "count": 1, "delay_ms": 1, "at_ms": 1},
        (msgpack.packb([b"later"]),),
    ),
    Step(
        "get_columns",
        "a delivery with columns has three frames",
        {"cmd": "get", "req": 12, "queue": "orders", "max": 10},
    ),
    Step(
        "get",
        "up to ten messages, at most once each",
        {"cmd": "get", "req": 13, "queue": "orders", "max": 10, "lease_ms": 30000},
    ),
    Step(
        "get_nothing",
        "waits a second and is answered with an empty batch",
        {"cmd": "get", "req": 14, "queue": "orders", "max": 10, "timeout_ms": 1000},
        wait_ms=1000,
    ),
    Step(
        "extend",
        "lengthens the lease of one message; one is nobody's",
        {
            "cmd": "extend",
            "req": 15,
            "queue": "orders",
            "tag": "$tag",
            "ranges": [[0, 1], [9, 1]],
            "lease_ms": 45000,
        },
    ),
    Step(
        "ack",
        "removes a message",
        {"cmd": "ack", "req": 16, "queue": "orders", "tag": "$tag", "ranges": [[0, 1]]},
    ),
    Step(
        "ack_again",
        "it is no longer held",
        {"cmd": "ack", "req": 17, "queue": "orders", "tag": "$tag", "ranges": [[0, 1, 0]]},
    ),
    Step(
        "ack_again_unasked",
        "without req only the failure is told",
        {"cmd": "ack", "queue": "orders", "tag": "$tag", "ranges": [[0, 1]]},
    ),
    Step(
        "nack",
        "gives a message back, ready at once, with one more attempt",
        {
            "cmd": "nack",
            "req": 18,
            "queue": "orders",
            "tag": "$tag",
            "ranges": [[1, 1]],
            "delay_ms": 0,
            "charge": True,
        },
    ),
    Step(
        "consume",
        "takes under credit; the run tells the attempts",
        {
            "cmd": "consume",
            "req": 19,
            "queue": "orders",
            "consumer": 1,
            "credit": 2,
            "credit_bytes": 100000,
            "concurrency": 2,
            "priority": 7,
        },
    ),
    Step(
        "consume_taken_number",
        "the session has a consumer of that number",
        {"cmd": "consume", "req": 20, "queue": "orders", "consumer": 1},
    ),
    Step(
        "reject",
        "refuses a message for good and gives new credit",
        {
            "cmd": "reject",
            "req": 21,
            "queue": "orders",
            "tag": "$tag",
            "ranges": [[1, 1, 1]],
            "consumer": 1,
            "credit": 1,
            "credit_bytes": 1000,
        },
    ),
    Step("credit", "adds to a consumer's credit", {"cmd": "credit", "req": 22, "consumer": 1}),
    Step(
        "credit_nobody",
        "the session has no such consumer",
        {"cmd": "credit", "req": 23, "consumer": 8, "messages": 1, "bytes": 1},
    ),
    Step("cancel", "ends a consumer", {"cmd": "cancel", "req": 24, "consumer": 1}),
    Step(
        "consume_auto_ack",
        "at most once, nothing to settle",
        {"cmd": "consume", "req": 25, "queue": "events", "consumer": 2, "auto_ack": True},
    ),
    Step(
        "put_unasked",
        "without req there is no confirm; the consumer gets it",
        {"cmd": "put", "queue": "events", "count": 2},
        (TWO,),
    ),
    Step("stats", "of one queue", {"cmd": "stats", "req": 26, "queue": "events"}),
    Step("stats_of_none", "no such queue", {"cmd": "stats", "req": 27, "queue": "nothing"}),
    Step("stats_of_all", "of the broker", {"cmd": "stats", "req": 28}),
    Step("queues", "names in pages", {"cmd": "queues", "req": 29, "after": "events", "max": 1}),
    Step("map", "who owns which slot; a lone broker owns them all", {"cmd": "map", "req": 51}),
    Step(
        "redrive",
        "what died in a queue goes back there; here nothing did",
        {"cmd": "redrive", "req": 90, "queue": "orders", "max": 100, "per_second": 50},
    ),
    Step(
        "redrive_itself",
        "bad_field: the messages are there",
        {"cmd": "redrive", "req": 91, "queue": "orders", "to": "orders"},
    ),
    Step(
        "redrive_stop",
        "ends it",
        {"cmd": "redrive", "req": 92, "queue": "orders", "stop": True},
    ),
    Step("purge", "removes what waits", {"cmd": "purge", "req": 30, "queue": "orders"}),
    Step("delete_full", "a message is in flight", {"cmd": "delete", "req": 31, "queue": "orders"}),
    Step(
        "delete",
        "the consumer hears that its queue is gone",
        {"cmd": "delete", "req": 32, "queue": "events", "if_empty": False},
    ),
    *TRANSACTION_STEPS,
    *ID_STEPS,
    *PARTITION_STEPS,
    *CHANNEL_STEPS,
    *BINDING_STEPS,
    *SERVICE_STEPS,
    Step("bad_header", "not msgpack", b"\xc1"),
    Step("bad_array", "a header is a map", msgpack.packb([1, 2])),
    Step("bad_empty", "no v, no cmd", {"req": 33}),
    Step("bad_version", "a later version", {"v": 2, "cmd": "ping", "req": 34}),
    Step("bad_command", "an unknown command", {"cmd": "fly", "req": 35}),
    Step("bad_field", "a field that ping does not have", {"cmd": "ping", "req": 36, "x": 1}),
    Step("bad_type", "text for an integer", {"cmd": "cancel", "req": 37, "consumer": "1"}),
    Step("bad_bool", "true is no integer", {"cmd": "cancel", "req": 38, "consumer": True}),
    Step("bad_missing", "consumer is missing", {"cmd": "cancel", "req": 39}),
    Step(
        "bad_range", "an empty range", {"cmd": "ack", "queue": "q", "tag": b"t", "ranges": [[1, 0]]}
    ),
    Step(
        "bad_tag",
        "not a delivery's tag",
        {"cmd": "ack", "req": 40, "queue": "q", "tag": b"t", "ranges": [[1, 1]]},
    ),
    Step("bad_name", "a name has no blanks", {"cmd": "purge", "req": 41, "queue": "a b"}),
    Step("bad_frames", "ping has one frame", {"cmd": "ping", "req": 42}, (b"",)),
    Step("bad_no_batch", "put needs a batch", {"cmd": "put", "req": 43, "queue": "q", "count": 1}),
    Step(
        "bad_batch",
        "the batch is no array",
        {"cmd": "put", "req": 44, "queue": "q", "count": 1},
        (b"\xc0",),
    ),
    Step(
        "bad_cut_batch",
        "the batch ends early",
        {"cmd": "put", "req": 45, "queue": "q", "count": 2},
        (TWO[:-1],),
    ),
    Step(
        "bad_count",
        "count and array differ",
        {"cmd": "put", "req": 46, "queue": "q", "count": 3},
        (TWO,),
    ),
    Step(
        "bad_seq",
        "seq without producer",
        {"cmd": "put", "req": 47, "queue": "q", "count": 2, "seq": 0},
        (TWO,),
    ),
    Step(
        "bad_columns",
        "a column of another length",
        {"cmd": "put", "req": 48, "queue": "q", "count": 2},
        (msgpack.packb({"ids": ["a"]}), TWO),
    ),
    Step(
        "too_many_frames",
        "four frames",
        {"cmd": "put", "req": 49, "queue": "q", "count": 2},
        (b"\x80", TWO, TWO),
    ),
    *KEY_STEPS,
    Step("bye", "ends the session", {"cmd": "bye", "req": 50}),
]
#: Checked like the others, and too long to be written out.
LARGE_STEPS = [
    Step("large_header", "over its bound", b"\x80" + b"\0" * HEADER_BYTES_MAX),
    *LARGE_TRANSACTION_STEPS,
    Step(
        "large_columns",
        "over their bound",
        {"cmd": "put", "req": 2, "queue": "q", "count": 2},
        (b"\x80" + b"\0" * COLUMNS_BYTES_MAX, TWO),
    ),
]


def frames_of(step: Step, known: dict[str, bytes]) -> list[bytes]:
    if isinstance(step.header, bytes):
        return [step.header, *step.frames]
    header = _filled(step.header, known)
    return [msgpack.packb({"v": 1, **header}), *step.frames]


def _filled(value: Any, known: dict[str, bytes]) -> Any:
    if isinstance(value, dict):
        return {field: _filled(inner, known) for field, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, known) for inner in value]
    return known.get(value, value) if isinstance(value, str) else value


def hold_dialog() -> list[dict[str, Any]]:
    """The frames of the dialog as they go to and fro, as rows of the golden file."""
    rig = NodeRig()
    known: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for step in STEPS:
        frames = frames_of(step, known)
        row: dict[str, Any] = {
            "name": step.name,
            "direction": "to_broker",
            "meaning": step.meaning,
            "frames": [frame.hex() for frame in frames],
        }
        row["error"] = _protocol_error(frames)
        rows.append(row)
        rig.receive(PEER, frames)
        for number, sent in enumerate([*rig.run(), *rig.pass_time(step.wait_ms)]):
            rows.append(
                {
                    "name": f"{step.name}.{number}",
                    "direction": "to_client",
                    "meaning": f"{sent.re}: {step.meaning}",
                    "frames": [frame.hex() for frame in sent.raw],
                    "error": sent.header.get("error"),
                }
            )
            if "tag" in sent.header and sent.messages():
                known["$tag"] = sent["tag"]
            if "call" in sent.header and sent.re == "request":
                known["$call"] = sent["call"]
            if "session" in sent.header:
                known["$session"] = sent["session"]
    return rows + hold_subscriber_dialog()


def _protocol_error(frames: list[bytes]) -> str | None:
    """What the decoder alone says."""
    try:
        decode_command(frames)
    except Malformed as bad:
        return bad.error.name
    return None
