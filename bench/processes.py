"""Broker processes: a free port, the start, the wait until it answers, the end by its own pid.

Owns every process that the benchmark starts. Never touches one that it did not start. Law: a
server's process group dies with its context, whatever happened in between.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

_STOP_SECONDS = 20.0
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_TAIL_CHARACTERS = 2_000
_PORTS = (15_000, 32_000)
_PORT_TRIES = 100

S = TypeVar("S", bound="Service")


class Service(Protocol):
    """What a contender starts: one process, or several that stop together."""

    @property
    def port(self) -> int:
        """The port that clients use; the first one of several that lie side by side."""

    def stop(self) -> None:
        """Ask it to end, then insist."""

    def kill(self) -> None:
        """End it at once, as a crash would."""

    def resident_bytes(self) -> int:
        """Return its resident memory."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running broker and the port that its clients use."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def stop(self) -> None:
        """Ask the process group to end, then insist."""
        self.ask_to_end()
        self.wait_for_end()

    def ask_to_end(self) -> None:
        """Send SIGTERM and return at once."""
        self._signal(signal.SIGTERM)

    def wait_for_end(self) -> None:
        """Return when it has ended, by itself or by force."""
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process group at once, as a crash would."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def resident_bytes(self) -> int:
        """Return the resident memory of the whole process group."""
        return sum(_resident_bytes(pid) for pid in _group_members(self.process.pid))

    @property
    def has_ended(self) -> bool:
        """True once the process is gone."""
        return self.process.poll() is not None

    def log_tail(self) -> str:
        """Return the end of what it has printed."""
        return self.log.read_text(errors="replace")[-_TAIL_CHARACTERS:]

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass(frozen=True, slots=True)
class Servers:
    """The processes of a cluster, whose clients' ports lie side by side from `port` on."""

    port: int
    members: Sequence[Server]

    def stop(self) -> None:
        """Ask all process groups to end, then insist."""
        for member in self.members:
            member.ask_to_end()
        for member in self.members:
            member.wait_for_end()

    def kill(self) -> None:
        """End all process groups at once."""
        for member in self.members:
            member.kill()

    def resident_bytes(self) -> int:
        """Return the resident memory of all process groups."""
        return sum(member.resident_bytes() for member in self.members)


@contextmanager
def stopped_on_failure(members: Sequence[Server]) -> Iterator[None]:
    """Stop what was started so far when the start of a cluster does not succeed."""
    try:
        yield
    except BaseException:
        for member in members:
            member.kill()
        raise


def free_port(count: int = 1) -> int:
    """Return the first of `count` neighbouring ports of loopback that nobody listens on now.

    They lie below the ports that the kernel gives to outgoing connections, so that none of those
    can take one before the broker does.
    """
    for _ in range(_PORT_TRIES):
        first = random.randrange(*_PORTS)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"no {count} neighbouring free ports found among {_PORTS}")


def launch(
    command: Sequence[str],
    port: int,
    directory: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Server:
    """Start `command` in a process group of its own; whatever it drops goes to `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "bench-server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd or directory,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
    return Server(process, port, log)


def wait_until_listening(server: Server) -> Server:
    """Return `server` when its port accepts a connection; stop it and raise if it never does."""
    wait_until(server, lambda: _accepts(server.port))
    return server


def wait_until(server: Server, is_ready: Callable[[], bool]) -> None:
    """Look at a condition until it holds; a server that ends or is too slow raises."""
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready():
        if server.has_ended or time.monotonic() > deadline:
            server.kill()
            raise RuntimeError(f"{server.process.args!r} did not start:\n{server.log_tail()}")
        time.sleep(_LOOK_SECONDS)


@contextmanager
def running(server: S) -> Iterator[S]:
    """Stop the server when the block ends."""
    try:
        yield server
    finally:
        server.stop()


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def _group_members(group: int) -> list[int]:
    members = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if os.getpgid(int(entry.name)) == group:
                members.append(int(entry.name))
    return members


def _resident_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0
