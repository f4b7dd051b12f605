"""Real etcd members in processes of their own, on free loopback ports.

Owns their processes and data directories.  A member keeps its ports and data over a restart;
every process is ended by its own pid.  Without the program ``etcd`` a test fails and says so.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import NamedTuple, Self

import requests

from tests.support.waiting import DEADLINE_S, wait_until

_MEMORY = "/dev/shm"
#: Twice the two log files that a member makes in advance.
_MEMBER_BYTES = 256 << 20
_PORTS = (15_000, 32_000)


class EtcdMissing(AssertionError):
    """The program is not installed."""

    def __init__(self) -> None:
        super().__init__("the program `etcd` is missing: apt-get install etcd-server")


class TlsFiles(NamedTuple):
    """Paths of PEM files; the certificate serves etcd and its clients."""

    ca: str
    cert: str
    key: str


class EtcdMember:
    """One process: what it prints goes to ``directory``, its store to ``data``."""

    def __init__(
        self,
        directory: Path,
        data: Path,
        name: str,
        client_port: int,
        peer_port: int,
        tls: TlsFiles | None,
    ) -> None:
        self.name = name
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{client_port}"
        self.peer = f"http://127.0.0.1:{peer_port}"
        self._log_path = directory / f"etcd-{name}.log"
        self._data = data / name
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, members: Sequence[EtcdMember]) -> None:
        program = shutil.which("etcd")
        if program is None:
            raise EtcdMissing
        assert self._process is None, f"{self.name} is running"
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        cluster = ",".join(f"{member.name}={member.peer}" for member in members)
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(program, "--name", self.name, "--data-dir", str(self._data)),
                    *("--listen-client-urls", self.endpoint),
                    *("--advertise-client-urls", self.endpoint),
                    *("--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer),
                    *("--initial-cluster", cluster, "--initial-cluster-state", "new"),
                    *self._tls_args(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def is_ready(self) -> bool:
        """It answers, and knows of a leader."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended:\n{self.output}"
        tls = self._tls
        verify, cert = (tls.ca, (tls.cert, tls.key)) if tls else (None, None)
        try:
            answer = requests.get(self.endpoint + "/health", timeout=1, verify=verify, cert=cert)
            return '"true"' in answer.text
        except requests.RequestException:
            return False

    @property
    def output(self) -> str:
        return self._log_path.read_text("utf-8", errors="replace")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)
            self._process = None

    def stop(self) -> None:
        """SIGSTOP: its connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _tls_args(self) -> tuple[str, ...]:
        if self._tls is None:
            return ()
        ca, cert, key = self._tls
        files = ("--trusted-ca-file", ca, "--cert-file", cert, "--key-file", key)
        return (*files, "--client-cert-auth")


class EtcdProcesses:
    """``with EtcdProcesses(tmp_path, members=3) as etcd: connect(etcd.endpoints)``."""

    def __init__(self, directory: Path, *, members: int = 1, tls: TlsFiles | None = None) -> None:
        self._data = tempfile.TemporaryDirectory(prefix="etcd-", dir=_quick_directory(members))
        ports = free_ports(2 * members)
        self.members = [
            EtcdMember(directory, Path(self._data.name), f"m{number}", *pair, tls)
            for number, pair in enumerate(zip(ports[::2], ports[1::2], strict=True))
        ]

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def start(self) -> Self:
        for member in self.members:
            member.launch(self.members)
        self.wait_ready()
        return self

    def restart(self, member: EtcdMember) -> None:
        """The same ports and data, in a new process; the former one must have ended."""
        member.launch(self.members)
        self.wait_ready(member)

    def wait_ready(self, *members: EtcdMember) -> None:
        for member in members or self.members:
            wait_until(partial(_is_ready, member), f"{member.name} ready")

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every member, and forgets its data."""
        for member in self.members:
            member.kill()
        self._data.cleanup()


def _quick_directory(members: int) -> str | None:
    """Where syncs cost nothing: a disk that others keep busy would let every lease run out."""
    is_there = Path(_MEMORY).is_dir()
    is_enough = is_there and shutil.disk_usage(_MEMORY).free > members * _MEMBER_BYTES
    return _MEMORY if is_enough else None


def _is_ready(member: EtcdMember) -> bool:
    return member.is_ready


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different.

    They lie below those that the system gives to outgoing connections, so that nothing takes
    one before it is listened to, or while a member is down.
    """
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = SystemRandom().randrange(*_PORTS)
            with contextlib.suppress(OSError):
                each = stack.enter_context(socket.socket())
                each.bind(("127.0.0.1", port))
                found.append(port)
        return found
