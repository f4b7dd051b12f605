"""One etcd of the benchmark's own, and a reader of its keys.

Never writes a key: only brokers and their command line do.  The reader speaks etcd's JSON gateway,
so that the benchmark looks at the cluster through nothing that the cluster uses itself.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from bench.processes import Server, free_port, launch, wait_until

_REQUEST_SECONDS = 10.0


class KeyValue(NamedTuple):
    """A key, its JSON value, and the lease that it lives under (0 for none)."""

    key: str
    value: Any
    lease: int


@dataclass(frozen=True, slots=True)
class Etcd:
    """A running etcd."""

    server: Server

    @property
    def url(self) -> str:
        """Where its clients find it."""
        return _url(self.server.port)

    def read(self, prefix: str) -> list[KeyValue]:
        """Return all keys that start with `prefix`."""
        answer = self._ask("/v3/kv/range", range_of(prefix))
        return [key_value_of(found) for found in answer.get("kvs", [])]

    def lease_seconds(self, lease: int) -> float:
        """Return the time to live that a lease was granted with."""
        return float(self._ask("/v3/lease/timetolive", {"ID": lease})["grantedTTL"])

    def _ask(self, path: str, question: Mapping[str, Any]) -> dict[str, Any]:
        return _answer(self.server.port, "POST", path, json.dumps(question))


def start_etcd(directory: Path) -> Etcd:
    """Start an etcd of one member on free ports of loopback and wait until it can write."""
    clients, members = free_port(), free_port()
    command = [
        *("etcd", "--name", "bench", "--data-dir", str(directory / "data")),
        *("--listen-client-urls", _url(clients), "--advertise-client-urls", _url(clients)),
        *("--listen-peer-urls", _url(members), "--initial-advertise-peer-urls", _url(members)),
        *("--initial-cluster", f"bench={_url(members)}"),
    ]
    server = launch(command, clients, directory)
    wait_until(server, lambda: _is_healthy(clients))
    return Etcd(server)


def range_of(prefix: str) -> dict[str, str]:
    """Return the gateway's question for all keys that start with `prefix`."""
    raw = prefix.encode()
    end = raw[:-1] + bytes([raw[-1] + 1])
    return {"key": b64encode(raw).decode(), "range_end": b64encode(end).decode()}


def key_value_of(found: Mapping[str, Any]) -> KeyValue:
    """Return one key of the gateway's answer; it gives 64-bit numbers as text."""
    value = json.loads(b64decode(found["value"]))
    return KeyValue(b64decode(found["key"]).decode(), value, int(found.get("lease", 0)))


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _answer(port: int, method: str, path: str, body: str = "") -> dict[str, Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_REQUEST_SECONDS)) as connection:
        connection.request(method, path, body)
        response = connection.getresponse()
        text = response.read().decode()
    if response.status != HTTPStatus.OK:
        raise RuntimeError(f"etcd answered {response.status} to {path}: {text}")
    answer: dict[str, Any] = json.loads(text)
    return answer


def _is_healthy(port: int) -> bool:
    with suppress(OSError, HTTPException, RuntimeError):
        return bool(_answer(port, "GET", "/health").get("health") == "true")
    return False
