"""The part of the dialog about a queue that is spread over partitions."""

from __future__ import annotations

import msgpack

from tests.protocol.step import Step

ONE = msgpack.packb([b"a"])

PARTITION_STEPS = [
    Step(
        "declare_partitions",
        "a queue that is spread over two",
        {"cmd": "declare", "req": 130, "queue": "clicks", "settings": {"partitions": 2}},
    ),
    Step(
        "put_to_the_whole",
        "it goes on to the partition of its key",
        {"cmd": "put", "req": 131, "queue": "clicks", "count": 1, "key": "ann"},
        (ONE,),
    ),
    Step(
        "put_that_knows_none",
        "partitioned: the sender would rather name them",
        {"cmd": "put", "req": 132, "queue": "clicks", "count": 1, "partitions": 1},
        (ONE,),
    ),
    Step(
        "get_from_the_whole",
        "partitioned: nobody takes from it",
        {"cmd": "get", "req": 133, "queue": "clicks", "max": 1},
    ),
    Step(
        "get_from_the_partition",
        "the message is where its key says",
        {"cmd": "get", "req": 134, "queue": "clicks#1", "max": 1},
    ),
]
