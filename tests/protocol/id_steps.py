"""The part of the dialog about messages with ids of their own, and a look at what waits."""

from __future__ import annotations

import msgpack

from tests.protocol.step import Step

TWO = msgpack.packb([b"a", b"b"])
INVOICES = {"queue": "invoices"}
HOUR = 3_600_000

ID_STEPS = [
    Step(
        "declare_dedup",
        "a queue that takes an id once in an hour",
        {
            "cmd": "declare",
            "req": 80,
            **INVOICES,
            "settings": {"dedup": "window", "dedup_window_ms": HOUR},
        },
    ),
    Step(
        "put_ids",
        "two messages with ids of their own",
        {"cmd": "put", "req": 81, **INVOICES, "count": 2},
        (msgpack.packb({"ids": ["i-1", b"i-2"]}), TWO),
    ),
    Step(
        "put_known_id",
        "the first is there already and is not taken; first and count are of the others",
        {"cmd": "put", "req": 82, **INVOICES, "count": 2, "delay_ms": HOUR},
        (msgpack.packb({"ids": ["i-1", "i-3"]}), TWO),
    ),
    Step(
        "put_known_ids",
        "all are there already: taken, and nothing is added",
        {"cmd": "put", "req": 83, **INVOICES, "count": 2},
        (msgpack.packb({"ids": ["i-1", "i-2"]}), TWO),
    ),
    Step(
        "put_bad_id",
        "an id is text or bin",
        {"cmd": "put", "req": 84, **INVOICES, "count": 1},
        (msgpack.packb({"ids": [7]}), msgpack.packb([b"a"])),
    ),
    Step(
        "browse",
        "what the queue holds, each run with its state",
        {"cmd": "browse", "req": 85, **INVOICES},
    ),
    Step(
        "browse_page",
        "one message behind position 0 that has no type; next goes on",
        {
            "cmd": "browse",
            "req": 86,
            **INVOICES,
            "after": 0,
            "max": 1,
            "bytes_max": 1000,
            "selector": [["$type", "exists", False]],
        },
    ),
    Step(
        "browse_ids",
        "messages by their ids",
        {"cmd": "browse", "req": 87, **INVOICES, "ids": ["i-3", "i-9"]},
    ),
    Step(
        "browse_no_ids",
        "ids_not_indexed: the queue keeps none",
        {"cmd": "browse", "req": 88, "queue": "orders", "ids": ["i-1"]},
    ),
    Step(
        "reschedule",
        "the delayed message is ready a minute from now instead",
        {"cmd": "reschedule", "req": 89, **INVOICES, "ids": ["i-3"], "delay_ms": 60_000},
    ),
    Step(
        "reschedule_at",
        "by position; an instant in the past is now",
        {"cmd": "reschedule", "req": 90, **INVOICES, "ranges": [[2, 2]], "at_ms": 1},
    ),
    Step(
        "remove",
        "takes waiting messages out by id; one is not there",
        {"cmd": "remove", "req": 91, **INVOICES, "ids": ["i-2", "i-9"]},
    ),
    Step(
        "remove_ranges",
        "by position",
        {"cmd": "remove", "req": 92, **INVOICES, "ranges": [[0, 1], [1, 1]]},
    ),
    Step("remove_nothing", "ranges or ids", {"cmd": "remove", "req": 93, **INVOICES}),
]
