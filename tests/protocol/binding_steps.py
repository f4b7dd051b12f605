"""The part of the dialog about queues that are bound to channels."""

from __future__ import annotations

import msgpack

from tests.protocol.step import Step

TWO = msgpack.packb([[b"a", {"country": "de"}], [b"b", {"country": "fr"}]])
ARCHIVE = {"queue": "archive", "pattern": "users.>"}

BINDING_STEPS = [
    Step(
        "bind_nobody",
        "queue_not_found: a binding makes no queue",
        {"cmd": "bind", "req": 140, **ARCHIVE},
    ),
    Step(
        "declare_bound",
        "bindings are a setting, too",
        {
            "cmd": "declare",
            "req": 141,
            "queue": "archive",
            "settings": {"bindings": {"users.*.gone": {}}},
        },
    ),
    Step(
        "bind",
        "from the ok on the queue gets what is published on channels that match",
        {
            "cmd": "bind",
            "req": 142,
            **ARCHIVE,
            "selector": [["country", "=", "de"]],
        },
    ),
    Step(
        "bind_bad_pattern",
        "bad_pattern",
        {"cmd": "bind", "req": 143, "queue": "archive", "pattern": "users.>.x"},
    ),
    Step(
        "publish_bound",
        "one of the two messages meets the selector",
        {
            "cmd": "publish",
            "req": 144,
            "channel": "users.new",
            "count": 2,
            "producer": b"u",
            "seq": 0,
        },
        (TWO,),
    ),
    Step(
        "publish_bound_again",
        "the same once more appears once",
        {
            "cmd": "publish",
            "req": 145,
            "channel": "users.new",
            "count": 2,
            "producer": b"u",
            "seq": 0,
        },
        (TWO,),
    ),
    Step(
        "get_bound",
        "it says on which channel it was published",
        {"cmd": "get", "req": 146, "queue": "archive", "max": 10},
    ),
    Step(
        "unbind",
        "from the ok on it gets nothing more",
        {"cmd": "unbind", "req": 147, **ARCHIVE},
    ),
    Step(
        "unbind_again",
        "binding_not_found",
        {"cmd": "unbind", "req": 148, **ARCHIVE},
    ),
]
