"""The part of the dialog about channels: what is published, and what is kept of it."""

from __future__ import annotations

import msgpack

from tests.protocol.step import Step

TWO = msgpack.packb([b"a", b"b"])
ONE = msgpack.packb([[b"c", {"trace": "x1"}]])
PRICES = {"channel": "prices.eu"}
PUBLISHER = b"publisher"

CHANNEL_STEPS = [
    Step(
        "publish_light",
        "a channel without a history: nothing is kept, and nothing declared",
        {"cmd": "publish", "req": 120, "channel": "news.sport", "count": 2},
        (TWO,),
    ),
    Step(
        "publish_light_unasked",
        "without req there is no confirm",
        {"cmd": "publish", "channel": "news.sport", "count": 2},
        (TWO,),
    ),
    Step(
        "declare_channel",
        "one that keeps its last 100 messages, on disk",
        {"cmd": "declare_channel", "req": 121, **PRICES, "settings": {"durable": True}},
    ),
    Step(
        "declare_channel_otherwise",
        "settings_mismatch: it exists with others",
        {"cmd": "declare_channel", "req": 122, **PRICES, "settings": {"history_messages": 5}},
    ),
    Step(
        "publish",
        "on disk, and then to whoever subscribed",
        {
            "cmd": "publish",
            "req": 123,
            **PRICES,
            "count": 2,
            "producer": PUBLISHER,
            "seq": 0,
            "content_type": "text/plain",
            "type": "quote",
            "key": "EURUSD",
        },
        (msgpack.packb({"ids": ["q-1", "q-2"]}), TWO),
    ),
    Step(
        "publish_again",
        "the same once more appears once",
        {"cmd": "publish", "req": 124, **PRICES, "count": 2, "producer": PUBLISHER, "seq": 0},
        (TWO,),
    ),
    Step(
        "publish_more",
        "the next one",
        {"cmd": "publish", "req": 125, **PRICES, "count": 1, "producer": PUBLISHER, "seq": 1},
        (ONE,),
    ),
    Step(
        "publish_to_a_pattern",
        "a pattern is no channel",
        {"cmd": "publish", "req": 126, "channel": "prices.*", "count": 1},
        (ONE,),
    ),
    Step(
        "publish_delayed",
        "bad_field: what is published leaves now",
        {"cmd": "publish", "req": 127, **PRICES, "count": 1},
        (msgpack.packb({"at_ms": [1]}), ONE),
    ),
    Step(
        "history",
        "what the channel keeps, the columns of all runs together",
        {"cmd": "history", "req": 128, **PRICES, "epoch": 1},
    ),
    Step(
        "history_page",
        "behind sequence 0, one message; more says that there are others",
        {"cmd": "history", "req": 129, **PRICES, "after": 0, "max": 1, "bytes_max": 1000},
    ),
    Step(
        "history_since",
        "published at that instant or later",
        {"cmd": "history", "req": 130, **PRICES, "since_ms": 1},
    ),
    Step(
        "history_last",
        "the newest message alone",
        {"cmd": "history", "req": 131, **PRICES, "last": True},
    ),
    Step(
        "history_ahead",
        "sequence_ahead: the channel has not come so far",
        {"cmd": "history", "req": 132, **PRICES, "after": 3},
    ),
    Step(
        "history_unknown_epoch",
        "unknown_epoch: a reign that this broker has not heard of",
        {"cmd": "history", "req": 133, **PRICES, "epoch": 9},
    ),
    Step(
        "history_of_none",
        "channel_not_found",
        {"cmd": "history", "req": 134, "channel": "nothing"},
    ),
    Step(
        "channels",
        "facts of the channels that match",
        {"cmd": "channels", "req": 135, "pattern": "prices.>", "after": "", "max": 10},
    ),
    Step(
        "channels_bad_pattern",
        "bad_pattern",
        {"cmd": "channels", "req": 136, "pattern": "prices.>.x"},
    ),
    Step(
        "update_channel",
        "changes some settings; the answer has all",
        {"cmd": "update_channel", "req": 137, **PRICES, "settings": {"history_ms": 60_000}},
    ),
    Step(
        "update_channel_fixed",
        "bad_field: a history does not move between disk and memory",
        {"cmd": "update_channel", "req": 138, **PRICES, "settings": {"durable": False}},
    ),
    Step(
        "delete_channel",
        "its history is gone",
        {"cmd": "delete_channel", "req": 139, **PRICES},
    ),
]
