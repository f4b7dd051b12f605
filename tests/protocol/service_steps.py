"""The part of the dialog about services; the same peer calls and serves."""

from __future__ import annotations

from tests.protocol.step import Step

CALL = {"cmd": "call", "service": "prices", "timeout_ms": 2_000}
OF_CALL = {"service": "prices", "worker": 1, "call": "$call"}

SERVICE_STEPS = [
    Step("call_nobody", "no_responder: nobody serves the name", {**CALL, "req": 200}, (b"EUR",)),
    Step(
        "serve",
        "offers two places for calls",
        {"cmd": "serve", "req": 201, "service": "prices", "worker": 1, "concurrency": 2},
    ),
    Step(
        "serve_taken_number",
        "the session has a worker of that number",
        {"cmd": "serve", "req": 202, "service": "prices", "worker": 1},
    ),
    Step(
        "call",
        "goes to the worker as a request",
        {
            **CALL,
            "req": 203,
            "idempotent": True,
            "content_type": "text/plain",
            "type": "rate",
            "headers": {"trace": "x1"},
        },
        (b"EUR",),
    ),
    Step(
        "answer",
        "is the reply of the call, and confirmed to the worker",
        {"cmd": "answer", "req": 204, **OF_CALL, "content_type": "text/plain"},
        (b"1.08",),
    ),
    Step(
        "answer_again",
        "call_not_found: the worker has it no more",
        {"cmd": "answer", "req": 205, **OF_CALL},
        (b"1.08",),
    ),
    Step("call_that_fails", "another call", {**CALL, "req": 206}, (b"XXX",)),
    Step(
        "fail",
        "handler_failed, with the worker's own name for it",
        {"cmd": "fail", **OF_CALL, "error": "KeyError", "text": "no such currency"},
    ),
    Step("call_stream", "takes its reply in parts", {**CALL, "req": 207, "stream": True}, (b"",)),
    Step(
        "answer_part",
        "a part that another follows",
        {"cmd": "answer", **OF_CALL, "end": False},
        (b"1",),
    ),
    Step("answer_end", "the last part", {"cmd": "answer", **OF_CALL, "end": True}, (b"2",)),
    Step("call_all", "asks each worker", {**CALL, "req": 208, "all": -1}, (b"EUR",)),
    Step(
        "answer_all",
        "one share, and the last word, which tells how many answered",
        {"cmd": "answer", **OF_CALL},
        (b"1.08",),
    ),
    Step("call_to_cancel", "another call", {**CALL, "req": 209}, (b"EUR",)),
    Step(
        "cancel_call",
        "the call ends, and its worker is told to stop",
        {"cmd": "cancel_call", "req": 210, "service": "prices", "call_req": 209},
    ),
    Step(
        "answer_late",
        "dropped, and its place is free",
        {"cmd": "answer", "req": 211, **OF_CALL},
        (b"1.08",),
    ),
    Step(
        "call_in_vain",
        "timeout: its deadline comes first",
        {**CALL, "req": 212, "timeout_ms": 500},
        (b"EUR",),
        wait_ms=500,
    ),
    Step(
        "services",
        "who serves what, and how its calls ended",
        {"cmd": "services", "req": 213, "pattern": "prices", "after": "", "max": 10},
    ),
    Step("unserve", "takes no more", {"cmd": "unserve", "req": 214, "worker": 1}),
    Step(
        "unserve_nobody",
        "worker_not_found: the session has none of that number",
        {"cmd": "unserve", "req": 215, "worker": 9},
    ),
    Step("bad_call_no_body", "a call has a body frame", {**CALL, "req": 216}),
    Step(
        "bad_call_headers",
        "headers map text to plain values",
        {**CALL, "req": 217, "headers": {"a": []}},
        (b"",),
    ),
    Step("bad_call_all", "nobody is asked", {**CALL, "req": 218, "all": 0}, (b"",)),
]
