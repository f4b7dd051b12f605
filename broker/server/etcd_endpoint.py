"""One address of etcd, spoken to over its JSON gateway.

Owns the HTTP session, the bound on each wait, the check of etcd's release, and the translation
of what can go wrong into four errors.  Law: every call ends; nothing is sent before the
release behind the address was looked at, again after each failure.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from broker.errors import ConfigError, CoordinatorRefused
from broker.server.logs import log_event

try:
    import requests
    from etcd3gw import exceptions as gateway_errors
    from etcd3gw.client import Etcd3Client
    from urllib3.exceptions import ReadTimeoutError
except ImportError as missing:
    raise ConfigError(f"a cluster needs {missing.name}: pip install 'msgqueue[cluster]'") from None

_log = logging.getLogger("broker.coordinator")

_PORT_DEFAULT = 2379
#: Read of a stream at once, at most; each message comes in a chunk of its own.
_STREAM_BYTES = 65_536
#: The gateway is served under this path from 3.4 on.
_API_PATH = "/v3/"
_OLDEST = (3, 4, 0)
#: These can lose a confirmed write in a crash (etcd's announcement of 2022-03-31).
_LOSES_WRITES = ((3, 5, 0), (3, 5, 2))
#: Older ones are served, with a warning: a member may go on with a damaged store unseen.
_ADVISED = (3, 4, 22)


class EtcdError(Exception):
    """Root of what this module raises besides ProcessErrors."""


class Unreachable(EtcdError):
    """No answer, or one that says that this member cannot answer now."""


class Refused(EtcdError):
    """etcd understood the request and refuses it."""


class LeaseGone(Refused):
    """The lease that the request names has expired or was revoked."""


class Silent(EtcdError):
    """A stream brought nothing for as long as was asked for; it may be fine or dead."""


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """Where etcd is and how to speak with it.

    ``endpoints`` are ``http://HOST:PORT`` or ``https://HOST:PORT``; ``ca``, ``cert`` and ``key``
    are paths of PEM files for the latter.  ``timeout_ms`` bounds each wait of each call.
    """

    endpoints: tuple[str, ...]
    ca: str = ""
    cert: str = ""
    key: str = ""
    timeout_ms: int = 2_000

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ConfigError("etcd: no endpoint is given")
        if bool(self.cert) != bool(self.key):
            raise ConfigError("etcd: a certificate and its key belong together")
        for path in (self.ca, self.cert, self.key):
            if path and not Path(path).is_file():
                raise ConfigError(f"etcd: there is no file {path}")


class EtcdEndpoint:
    """Not safe to use from several threads."""

    def __init__(self, url: str, access: EtcdAccess) -> None:
        self.url = url
        self._timeout_s = access.timeout_ms / 1_000
        self._session = requests.Session()
        # Proxies and passwords of the environment are not meant for the coordinator.
        self._session.trust_env = False
        self._session.verify = access.ca or True
        self._session.cert = (access.cert, access.key) if access.cert else None
        self._client = _gateway_client(url, self._session, self._timeout_s)
        self._is_checked = False

    def connect(self) -> None:
        """Reaches the member and looks at its release, unless the last call succeeded.

        What fails here has sent nothing.  Raises CoordinatorRefused for a release that is refused.
        """
        if self._is_checked:
            return
        try:
            answer = self._session.get(self._client.base_url + "/version", timeout=self._timeout_s)
            answer.raise_for_status()
            release = str(answer.json()["etcdserver"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.disconnect()
            raise Unreachable(f"{self.url}: {error}") from None
        check_release(release, self.url)
        self._is_checked = True

    def disconnect(self) -> None:
        self._is_checked = False
        self._session.close()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """After Unreachable the request may have been carried out, or may be yet."""
        try:
            answer = self._client.post(self._client.get_url(path), json=body)
        except gateway_errors.Etcd3Exception as error:
            self.disconnect()
            raise self._translated(error) from None
        except (OSError, ValueError) as error:
            self.disconnect()
            raise Unreachable(f"{self.url}: {error}") from None
        if not isinstance(answer, dict):
            raise Unreachable(f"{self.url}: an answer that is not etcd's")
        return answer

    def stream(self, path: str, body: dict[str, Any], silence_ms: int) -> EtcdStream:
        """An answer that goes on; a wait of more than ``silence_ms`` between its parts ends it."""
        try:
            response = self._session.post(
                self._client.get_url(path),
                json=body,
                stream=True,
                timeout=(self._timeout_s, silence_ms / 1_000),
                # A member that is cut off from the others ends the stream instead of
                # keeping still.
                headers={"Grpc-Metadata-hasleader": "true"},
            )
        except OSError as error:
            self.disconnect()
            raise Unreachable(f"{self.url}: {error}") from None
        if response.status_code != requests.codes["ok"]:
            text = response.reason
            response.close()
            raise Unreachable(f"{self.url}: {text}")
        return EtcdStream(self.url, response)

    def _translated(self, error: gateway_errors.Etcd3Exception) -> EtcdError:
        text = f"{self.url}: {error.detail_text or error}".strip()
        transient = (
            gateway_errors.ConnectionFailedError,
            gateway_errors.ConnectionTimeoutError,
            gateway_errors.InternalServerError,
        )
        if isinstance(error, transient):
            return Unreachable(text)
        return LeaseGone(text) if "lease not found" in text else Refused(text)


class EtcdStream:
    """Iterating gives messages as they come, and ends with Silent or Unreachable."""

    def __init__(self, url: str, response: requests.Response) -> None:
        self._url = url
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            for line in self._response.iter_lines(chunk_size=_STREAM_BYTES):
                if line:
                    yield json.loads(line)
        except requests.RequestException as error:
            if error.args and isinstance(error.args[0], ReadTimeoutError):
                raise Silent(self._url) from None
            raise Unreachable(f"{self._url}: {error}") from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self._url}: {error}") from None
        finally:
            self._response.close()
        raise Unreachable(f"{self._url}: the stream ended")

    def stop(self) -> None:
        """Ends the iteration soon; from any thread."""
        # It may have ended by itself, and its connection with it.
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.raw.shutdown()


def check_release(release: str, url: str) -> None:
    """Raises CoordinatorRefused for an etcd that loses data or has no gateway of version 3."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", release)
    if found is None:
        raise CoordinatorRefused(f"{url} tells no release of etcd: {release!r}")
    number = tuple(int(part) for part in found.groups())
    if _LOSES_WRITES[0] <= number <= _LOSES_WRITES[1]:
        raise CoordinatorRefused(
            f"{url} is etcd {release}, which can lose data: use 3.5.3 or later"
        )
    if number < _OLDEST:
        raise CoordinatorRefused(f"{url} is etcd {release}: 3.4.22 or later is needed")
    if number < _ADVISED:
        log_event(_log, logging.WARNING, "old etcd", endpoint=url, release=release)


def _gateway_client(url: str, session: requests.Session, timeout_s: float) -> Etcd3Client:
    parts = urlsplit(url)
    try:
        port = _PORT_DEFAULT if parts.port is None else parts.port
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.path:
        raise ConfigError(f"etcd: {url!r} is not http://HOST:PORT or https://HOST:PORT")
    return Etcd3Client(
        host=parts.hostname,
        port=port,
        protocol=parts.scheme,
        timeout=timeout_s,
        api_path=_API_PATH,
        session=session,
    )
