"""etcd's operations, over the endpoints that answer.

Owns the order of endpoints and the shapes of requests and answers.  Law: an operation that may
be repeated is tried once at each endpoint; a conditional put is sent once, and when its answer
stays away it is of unknown outcome.

One client belongs to one thread; only ``Watch.stop`` may be called from another.
"""

from __future__ import annotations

import contextlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from broker.server.etcd_endpoint import (
    EtcdAccess,
    EtcdEndpoint,
    EtcdError,
    EtcdStream,
    LeaseGone,
    Unreachable,
)


class Compacted(EtcdError):
    """etcd no longer keeps the revision from which a watch was to go on: list again."""


class OutcomeOpen(EtcdError):
    """A put was sent and not answered: it may have been carried out, or may be yet."""


class Stored(NamedTuple):
    """A key as it stands: ``lease`` is 0 for a durable one."""

    key: str
    value: bytes
    revision: int
    lease: int


class Listing(NamedTuple):
    """All keys of a prefix as they stood at ``revision``."""

    revision: int
    keys: list[Stored]


class PutAnswer(NamedTuple):
    """``revision`` is the new one when ``is_done``; else ``found`` is what stands instead."""

    is_done: bool
    revision: int
    found: Stored | None


class Granted(NamedTuple):
    lease: int
    ttl_ms: int


class KeyEvent(NamedTuple):
    """``stored`` is None when the key was deleted at ``revision``."""

    key: str
    revision: int
    stored: Stored | None


class EtcdClient:
    """Every operation raises Unreachable, Refused or CoordinatorRefused besides what it names."""

    def __init__(self, access: EtcdAccess) -> None:
        self._endpoints = deque(EtcdEndpoint(url, access) for url in access.endpoints)

    @property
    def endpoint(self) -> str:
        """The address that is asked first: the one that answered last."""
        return self._endpoints[0].url

    def list_prefix(self, prefix: str) -> Listing:
        """Linearizable, as every read here."""
        answer = self._ask("kv/range", _range_of(prefix))
        keys = [_stored(each) for each in answer.get("kvs", [])]
        return Listing(int(answer["header"]["revision"]), keys)

    def get(self, key: str) -> Stored | None:
        found = self._ask("kv/range", {"key": _encoded(key)}).get("kvs", [])
        return _stored(found[0]) if found else None

    def put_if(self, key: str, value: bytes, revision: int, *, lease: int = 0) -> PutAnswer:
        """Puts when the key's revision is ``revision``; 0 stands for a key that is not there.

        Raises OutcomeOpen, and LeaseGone.
        """
        put = {"key": _encoded(key), "value": b64encode(value).decode(), "lease": str(lease)}
        return self.put_all_if(key, revision, [put])

    def create_all(self, guard: str, values: dict[str, bytes]) -> bool:
        """Puts all ``values`` unless the key ``guard`` is there; false when it is."""
        puts = [
            {"key": _encoded(key), "value": b64encode(value).decode()}
            for key, value in values.items()
        ]
        return self.put_all_if(guard, 0, puts).is_done

    def put_all_if(self, guard: str, revision: int, puts: list[dict[str, str]]) -> PutAnswer:
        """``puts`` are carried out together when the key ``guard`` stands at ``revision``."""
        condition = {"key": _encoded(guard), "target": "MOD", "result": "EQUAL"}
        body = {
            "compare": [condition | {"mod_revision": str(revision)}],
            "success": [{"request_put": put} for put in puts],
            "failure": [{"request_range": {"key": _encoded(guard)}}],
        }
        answer = self._ask("kv/txn", body, is_repeatable=False)
        at = int(answer["header"]["revision"])
        if answer.get("succeeded", False):
            return PutAnswer(True, at, None)
        found = answer["responses"][0]["response_range"].get("kvs", [])
        return PutAnswer(False, at, _stored(found[0]) if found else None)

    def delete(self, key: str) -> bool:
        """False when it was not there."""
        return "deleted" in self._ask("kv/deleterange", {"key": _encoded(key)})

    def grant(self, ttl_ms: int) -> Granted:
        """etcd counts whole seconds and may grant more than was asked for."""
        answer = self._ask("lease/grant", {"TTL": str(-(-ttl_ms // 1_000)), "ID": "0"})
        return Granted(int(answer["ID"]), int(answer["TTL"]) * 1_000)

    def keep_alive(self, lease: int) -> int:
        """The time in ms that the lease lives from when this was sent.  Raises LeaseGone."""
        answer = self._ask("lease/keepalive", {"ID": str(lease)})
        ttl_ms = int(answer.get("result", {}).get("TTL", 0)) * 1_000
        if ttl_ms <= 0:
            raise LeaseGone(f"{self.endpoint}: lease {lease:x} has expired")
        return ttl_ms

    def revoke(self, lease: int) -> None:
        """Deletes the lease and its keys."""
        with contextlib.suppress(LeaseGone):
            self._ask("lease/revoke", {"ID": str(lease)})

    def watch(self, prefix: str, revision: int, *, silence_ms: int) -> Watch:
        """Changes from ``revision`` on, at the endpoint that answered last."""
        body = _range_of(prefix) | {"start_revision": str(revision)}
        endpoint = self._endpoints[0]
        try:
            endpoint.connect()
            return Watch(endpoint.stream("watch", {"create_request": body}, silence_ms))
        except Unreachable:
            self._endpoints.rotate(-1)
            raise

    def close(self) -> None:
        for endpoint in self._endpoints:
            endpoint.disconnect()

    def _ask(
        self, path: str, body: dict[str, Any], *, is_repeatable: bool = True
    ) -> dict[str, Any]:
        failures = []
        for _ in range(len(self._endpoints)):
            endpoint, is_sent = self._endpoints[0], False
            try:
                endpoint.connect()
                is_sent = True
                return endpoint.post(path, body)
            except Unreachable as error:
                self._endpoints.rotate(-1)
                if is_sent and not is_repeatable:
                    raise OutcomeOpen(str(error)) from None
                failures.append(str(error))
        raise Unreachable("; ".join(failures))


class Watch:
    """Iterating gives the changes of one answer of etcd at a time, in the order of revisions.

    It ends with Compacted, Silent or Unreachable, never by itself.
    """

    def __init__(self, stream: EtcdStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[list[KeyEvent]]:
        for message in self._stream:
            try:
                events = _watched(message)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Unreachable(f"the watch brought what is not etcd's: {error!r}") from None
            if events:
                yield events

    def stop(self) -> None:
        """Ends the iteration soon; from any thread."""
        self._stream.stop()


def _watched(message: dict[str, Any]) -> list[KeyEvent]:
    """Raises Compacted, or Unreachable for a watch that etcd ends."""
    if "error" in message:
        raise Unreachable(f"the watch ended: {message['error']}")
    result = message["result"]
    if "compact_revision" in result:
        raise Compacted(f"up to revision {result['compact_revision']}")
    if result.get("canceled", False):
        raise Unreachable(f"the watch ended: {result.get('cancel_reason', '')}")
    return [_key_event(event) for event in result.get("events", [])]


def _key_event(event: dict[str, Any]) -> KeyEvent:
    stored = _stored(event["kv"])
    is_deleted = event.get("type") == "DELETE"
    return KeyEvent(stored.key, stored.revision, None if is_deleted else stored)


def _stored(found: dict[str, Any]) -> Stored:
    return Stored(
        b64decode(found["key"]).decode(errors="replace"),
        b64decode(found.get("value", "")),
        int(found["mod_revision"]),
        int(found.get("lease", 0)),
    )


def _encoded(key: str) -> str:
    return b64encode(key.encode()).decode()


def _range_of(prefix: str) -> dict[str, str]:
    """All keys that begin with ``prefix``: up to the same with its last character raised."""
    return {"key": _encoded(prefix), "range_end": _encoded(prefix[:-1] + chr(ord(prefix[-1]) + 1))}
