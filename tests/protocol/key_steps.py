"""The part of the dialog about ordering keys and selectors."""

from __future__ import annotations

import msgpack

from tests.protocol.step import Step

_TWO = msgpack.packb([[b"a", {"country": "de"}], [b"b", {"country": "fr"}]])
_WANTED = [["country", "in", ["fr", "it"]], ["$priority", ">=", 4]]

KEY_STEPS = [
    Step(
        "declare_keyed",
        "a queue in which of each key one message is in flight",
        {"cmd": "declare", "req": 201, "queue": "keyed", "settings": {"ordering": "key"}},
    ),
    Step(
        "put_keys",
        "a key for each message",
        {"cmd": "put", "req": 202, "queue": "keyed", "count": 2},
        (msgpack.packb({"keys": ["k1", None]}), _TWO),
    ),
    Step(
        "put_key",
        "one key for all messages",
        {"cmd": "put", "req": 203, "queue": "keyed", "count": 2, "key": "k1"},
        (_TWO,),
    ),
    Step(
        "put_key_twice",
        "bad_field: a key for all and a key for each exclude each other",
        {"cmd": "put", "req": 204, "queue": "keyed", "count": 2, "key": "k1"},
        (msgpack.packb({"keys": ["k1", None]}), _TWO),
    ),
    Step(
        "get_selected",
        "what matches the selector",
        {"cmd": "get", "req": 205, "queue": "keyed", "max": 10, "selector": _WANTED},
    ),
    Step(
        "get_keyed",
        "the first of the key; the others of it wait",
        {"cmd": "get", "req": 206, "queue": "keyed", "max": 10},
    ),
    Step(
        "bad_selector",
        "a condition with an operator that is none",
        {"cmd": "get", "req": 207, "queue": "keyed", "max": 1, "selector": [["a", "~", 1]]},
    ),
]
