"""The part of the dialog about transactions and named producers."""

from __future__ import annotations

import msgpack

from broker.limits import BATCH_BYTES_MAX
from tests.protocol.step import Step

TWO = msgpack.packb([b"a", b"b"])
TRANSACT = {"cmd": "transact", "producer": b"worker-1"}
TASK = {"queue": "tasks", "tag": "$tag", "ranges": [[0, 1]]}
RESULT = {"queue": "results", "count": 2, "priority": 7, "type": "result"}
LATER = {"queue": "reminders", "count": 1, "delay_ms": 3_600_000}
NAMED_PUT = {"cmd": "put", "queue": "orders", "count": 2, "producer": b"billing"}

TRANSACTION_STEPS = [
    Step(
        "put_task",
        "something to work on",
        {"cmd": "put", "req": 70, "queue": "tasks", "count": 2},
        (TWO,),
    ),
    Step("get_task", "taken to work on", {"cmd": "get", "req": 71, "queue": "tasks", "max": 1}),
    Step(
        "transact",
        "removes what was worked on and puts what came of it, together",
        {**TRANSACT, "req": 72, "settles": [TASK], "puts": [RESULT, LATER], "seq": 0},
        (msgpack.packb([[b"", TWO], [msgpack.packb({"ids": ["i"]}), msgpack.packb([b"c"])]]),),
    ),
    Step(
        "transact_again",
        "the same transaction once more happens once",
        {**TRANSACT, "req": 73, "settles": [TASK], "puts": [RESULT, LATER], "seq": 0},
        (msgpack.packb([[b"", TWO], [msgpack.packb({"ids": ["i"]}), msgpack.packb([b"c"])]]),),
    ),
    Step(
        "transact_lost",
        "one message that is not held refuses it all",
        {**TRANSACT, "req": 74, "settles": [TASK], "puts": [RESULT], "seq": 1},
        (msgpack.packb([[b"", TWO]]),),
    ),
    Step(
        "transact_elsewhere",
        "a tag of another slot",
        {
            **TRANSACT,
            "req": 75,
            "settles": [{**TASK, "tag": b"\x00\x09" + b"t" * 24}],
            "puts": [],
            "seq": 1,
        },
        (b"\x90",),
    ),
    Step(
        "transact_nothing",
        "a transaction settles something",
        {**TRANSACT, "req": 76, "settles": [], "puts": [RESULT], "seq": 1},
        (msgpack.packb([[b"", TWO]]),),
    ),
    Step(
        "transact_numbered_put",
        "a put of a transaction has no sequence of its own",
        {**TRANSACT, "req": 77, "settles": [TASK], "puts": [{**RESULT, "seq": 1}], "seq": 1},
        (msgpack.packb([[b"", TWO]]),),
    ),
    Step(
        "transact_other_count",
        "puts and pairs differ",
        {**TRANSACT, "req": 78, "settles": [TASK], "puts": [RESULT], "seq": 1},
        (b"\x90",),
    ),
    Step(
        "transact_bad_pair",
        "a pair is columns and batch",
        {**TRANSACT, "req": 79, "settles": [TASK], "puts": [RESULT], "seq": 1},
        (msgpack.packb([[TWO]]),),
    ),
    Step(
        "producer",
        "a named producer's instance begins; the queue knows no sequence of it",
        {"cmd": "producer", "req": 80, "queue": "orders", "producer": b"billing", "instance": 7},
    ),
    Step(
        "put_named",
        "under its first sequence",
        {**NAMED_PUT, "req": 81, "seq": 0, "instance": 7},
        (TWO,),
    ),
    Step(
        "producer_next",
        "a newer instance goes on behind the highest",
        {"cmd": "producer", "req": 82, "queue": "orders", "producer": b"billing", "instance": 8},
    ),
    Step(
        "put_fenced",
        "nothing is taken of the older one any more",
        {**NAMED_PUT, "req": 83, "seq": 1, "instance": 7},
        (TWO,),
    ),
    Step(
        "producer_older",
        "the older one cannot take over, and is told which is the newest",
        {"cmd": "producer", "req": 84, "queue": "orders", "producer": b"billing", "instance": 7},
    ),
    Step(
        "put_instance_alone",
        "instance without a sequence",
        {"cmd": "put", "req": 85, "queue": "orders", "count": 2, "instance": 7},
        (TWO,),
    ),
]
#: Checked like the others, and too long to be written out.
LARGE_TRANSACTION_STEPS = [
    Step(
        "large_transaction",
        "over its bound",
        {**TRANSACT, "settles": [{**TASK, "tag": b"t"}], "puts": [], "seq": 0},
        (b"\xc6" + b"\0" * BATCH_BYTES_MAX,),
    ),
    Step(
        "many_puts",
        "over their bound",
        {**TRANSACT, "settles": [{**TASK, "tag": b"t"}], "puts": [LATER] * 65, "seq": 0},
        (b"\x90",),
    ),
]
