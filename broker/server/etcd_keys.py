"""The keys of a cluster in etcd: their names, and their values as JSON maps.

    /<cluster>/config          ClusterConfig
    /<cluster>/members/<id>    Member
    /<cluster>/brokers/<id>    BrokerRecord, under the broker's lease
    /<cluster>/slots/<n>       SlotConfig

Law: what was written by hand and does not decode is UnreadableKey, whatever it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from broker.cluster.ownership import BrokerRecord, ClusterConfig, Member, SlotConfig
from broker.cluster.view import Change, ClusterView, Owned
from broker.errors import UnreadableKey
from broker.server.etcd_client import EtcdClient, KeyEvent, Stored

Value = ClusterConfig | Member | BrokerRecord | SlotConfig

#: Puts in one transaction; etcd's default bound is 128 operations.
_PUTS_MAX = 100
_UNASSIGNED = SlotConfig()

_BROKER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: What stands behind the kind in a key.
_NAMES = {
    "config": re.compile(""),
    "members": _BROKER_ID,
    "brokers": _BROKER_ID,
    "slots": re.compile(r"0|[1-9][0-9]{0,4}"),
}

_DECODERS: dict[str, Callable[[dict[str, Any]], Value]] = {
    "config": ClusterConfig.from_json,
    "members": Member.from_json,
    "brokers": BrokerRecord.from_json,
    "slots": SlotConfig.from_json,
}


def prefix_of(cluster: str) -> str:
    return f"/{cluster}/"


def key_of(cluster: str, kind: str, name: str = "") -> str:
    return f"/{cluster}/{kind}/{name}" if name else f"/{cluster}/{kind}"


def encode_value(value: Value) -> bytes:
    return json.dumps(value.to_json(), separators=(",", ":")).encode()


def decode_value(kind: str, stored: Stored) -> Value:
    """Raises UnreadableKey."""
    try:
        value = _DEFAULTS.get(kind, {}) | json.loads(stored.value)
        wrong = [field for field, is_right in _SHAPES[kind].items() if not is_right(value[field])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableKey(f"{stored.key} at revision {stored.revision}: {error!r}") from None
    if wrong:
        raise UnreadableKey(f"{stored.key} at revision {stored.revision}: {', '.join(wrong)}")
    return _DECODERS[kind](value)


def decode_event(cluster: str, event: KeyEvent) -> Change | None:
    """None for a key that is not one of the layout.  Raises UnreadableKey."""
    split = _split_key(cluster, event.key)
    if split is None:
        return None
    kind, name = split
    value = None if event.stored is None else decode_value(kind, event.stored)
    return Change(kind, name, value, event.revision)


def apply_change(view: ClusterView, change: Change) -> None:
    """Enters a key that was listed."""
    match change.value:
        case ClusterConfig():
            view.config = change.value
        case Member():
            view.members[change.name] = change.value
        case BrokerRecord():
            view.brokers[change.name] = change.value
        case SlotConfig():
            view.learn(int(change.name), Owned(change.value, change.revision))


def create_cluster(
    client: EtcdClient, cluster: str, config: ClusterConfig, slot: SlotConfig = _UNASSIGNED
) -> bool:
    """Makes the slots, each as ``slot``, and then the config; false when there is one already.

    A cluster exists from its config on, so one that was made in half is made again.  Raises
    what the client's conditional put raises; after OutcomeOpen it may be called again.
    """
    guard = key_of(cluster, "config")
    value = encode_value(slot)
    for first in range(0, config.slots, _PUTS_MAX):
        numbers = range(first, min(first + _PUTS_MAX, config.slots))
        slots = {key_of(cluster, "slots", str(number)): value for number in numbers}
        if not client.create_all(guard, slots):
            return False
    return client.create_all(guard, {guard: encode_value(config)})


def _split_key(cluster: str, key: str) -> tuple[str, str] | None:
    """The kind and the name of a key of the layout."""
    kind, _, name = key.removeprefix(prefix_of(cluster)).partition("/")
    is_known = kind in _NAMES and _NAMES[kind].fullmatch(name)
    return (kind, name) if is_known else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_replicas(value: object) -> bool:
    return isinstance(value, list) and all(_is_texts(each) and len(each) == 2 for each in value)


#: What each field of a key's JSON map must be.  Other fields are those of a later release.
_SHAPES: dict[str, dict[str, Callable[[object], bool]]] = {
    "config": {"id": _is_text, "slots": _is_count, "replication": _is_count, "min_isr": _is_count},
    "members": {"weight": _is_count, "zone": _is_text, "draining": _is_flag},
    "brokers": {
        "incarnation": _is_text,
        "clients": _is_texts,
        "links": _is_text,
        "version": _is_text,
        "leaving": _is_flag,
    },
    "slots": {
        "replicas": _are_replicas,
        "isr": _is_texts,
        "elr": _is_texts,
        "primary": _is_text,
        "epoch": _is_count,
    },
}

#: Fields that a map may leave out.
_DEFAULTS: dict[str, dict[str, Any]] = {"brokers": {"leaving": False}}
