"""The commands of channels, as rows for the table of ``commands.py``."""

from __future__ import annotations

from typing import Any

from broker import limits
from broker.errors import BadField
from broker.model import commands as model
from broker.model.patterns import require_pattern
from broker.model.selector import Selector
from broker.protocol import fields as check
from broker.protocol.key_column import check_key
from broker.protocol.schema import Schema

_POSITIVE = check.integer(0, check.INTEGER_MAX)
_LABEL = check.text(limits.CONTENT_TYPE_BYTES_MAX)
_short_topic = check.binary(1, limits.ECHO_BYTES_MAX)


def check_echo(value: Any) -> bytes:
    """A topic that no channel has."""
    topic: bytes = _short_topic(value)
    if not topic.startswith(limits.ECHO_PREFIX):
        raise BadField(f"must begin with {limits.ECHO_PREFIX!r}")
    return topic


CHANNEL_SCHEMAS: dict[str, Schema] = {
    "publish": Schema(
        model.Publish,
        {
            "channel": check.name,
            "count": check.integer(1, limits.BATCH_COUNT_MAX),
            "producer": check.producer,
            "seq": _POSITIVE,
            "content_type": _LABEL,
            "type": _LABEL,
            "key": check_key,
        },
        {},
    ),
    "declare_channel": Schema(
        model.DeclareChannel, {"channel": check.name, "settings": check.mapping}, {}
    ),
    "update_channel": Schema(
        model.UpdateChannel, {"channel": check.name, "settings": check.mapping}, {}
    ),
    "delete_channel": Schema(model.DeleteChannel, {"channel": check.name}, {}),
    "history": Schema(
        model.History,
        {
            "channel": check.name,
            "after": check.integer(-1, check.INTEGER_MAX),
            "since_ms": _POSITIVE,
            "max": check.integer(1, limits.BATCH_COUNT_MAX),
            "bytes_max": check.clamped(1, limits.CREDIT_BYTES_MAX),
            "epoch": _POSITIVE,
            "last": check.boolean,
        },
        {"max": limits.BROWSE_COUNT_DEFAULT, "bytes_max": limits.DELIVERY_BYTES},
    ),
    "channels": Schema(
        model.Channels,
        {
            "pattern": require_pattern,
            "after": check.text(limits.NAME_BYTES_MAX),
            "max": check.integer(1, 1_000),
        },
        {},
    ),
    "subscribe": Schema(model.Subscribe, {"pattern": require_pattern, "sub": _POSITIVE}, {}),
    "unsubscribe": Schema(model.Unsubscribe, {"sub": _POSITIVE}, {}),
    "echo": Schema(model.Echo, {"topic": check_echo}, {}),
    "bind": Schema(
        model.Bind,
        {"queue": check.name, "pattern": require_pattern, "selector": Selector.from_wire},
        {},
    ),
    "unbind": Schema(model.Unbind, {"queue": check.name, "pattern": require_pattern}, {}),
    "dropped": Schema(
        model.Dropped, {"sub": _POSITIVE, "count": check.integer(1, check.INTEGER_MAX)}, {}
    ),
}
