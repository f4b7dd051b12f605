"""A real broker in a process of its own, for tests and benchmarks.

Owns one process at a time: its start up to the line that says it is ready, its signals, its
end.  It never shares a port or a data directory with another: the port is a free one, and
stays the same over a restart.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
_READY = re.compile(r"listening on (\S+), data in ")
_CHANNELS = re.compile(r", subscribers at (\S+), raw publishers at ([^\s,]+)")


class BrokerEnded(AssertionError):
    """The process ended before it was ready; ``status`` and ``output`` tell why."""

    def __init__(self, status: int, output: str) -> None:
        super().__init__(f"the broker ended with status {status} before it was ready:\n{output}")
        self.status = status
        self.output = output


class BrokerProcess:
    """``with BrokerProcess(tmp_path) as broker: connect(broker.endpoint)``.

    ``directory`` holds the data (``data``) and what each process printed (``out-N``, ``err-N``).
    """

    def __init__(
        self,
        directory: Path,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        listen: str = "tcp://127.0.0.1:0",
        module: str = "broker",
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.args = list(args)
        self.env = dict(env or {})
        self.module = module
        #: Where clients connect; known once the broker was ready for the first time.
        self.endpoint = listen
        #: Where subscribers and raw publishers do.
        self.publish_endpoint = self.raw_endpoint = "tcp://127.0.0.1:0"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self, *, deadline_s: float = DEADLINE_S) -> Self:
        """Returns when the broker has said that it is ready; BrokerEnded when it ends instead."""
        self.launch()
        return self.wait_ready(deadline_s=deadline_s)

    def wait_ready(self, *, deadline_s: float = DEADLINE_S) -> Self:
        """The second half of ``start``, for brokers that wait for one another."""
        try:
            wait_until(lambda: self._has_ended or self._is_ready, "ready", deadline_s=deadline_s)
        except AssertionError:
            self.kill()
            raise
        if not self._is_ready:
            raise BrokerEnded(self.wait(), self.output)
        found = _READY.search(self.stdout)
        assert found
        self.endpoint = found.group(1)
        if found := _CHANNELS.search(self.stdout):
            self.publish_endpoint, self.raw_endpoint = found.groups()
        return self

    def launch(self) -> None:
        """Starts the process and does not wait for it to be ready."""
        assert self._process is None or self._has_ended, "the broker is running"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._starts += 1
        command = [sys.executable, "-m", self.module, "--listen", self.endpoint]
        command += ["--publish-listen", self.publish_endpoint, "--raw-listen", self.raw_endpoint]
        with self._path("out").open("wb") as out, self._path("err").open("wb") as err:
            self._process = subprocess.Popen(
                [*command, "--data", str(self.data), *self.args],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def restart(self) -> Self:
        """A new process on the same port and data; the former one must have ended."""
        return self.start()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is said."""
        self.signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> int:
        """SIGTERM, and the exit status once the broker has drained."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, *, deadline_s: float = DEADLINE_S) -> int:
        """The exit status (negative for a signal)."""
        assert self._process is not None
        return self._process.wait(timeout=deadline_s)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and not self._has_ended

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    @property
    def stdout(self) -> str:
        """What the newest process has printed so far."""
        return self._path("out").read_text("utf-8")

    @property
    def stderr(self) -> str:
        """What the newest process has logged so far."""
        return self._path("err").read_text("utf-8")

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process (Linux)."""
        pages = Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    @property
    def _is_ready(self) -> bool:
        return _READY.search(self.stdout) is not None

    def _path(self, stream: str) -> Path:
        return self.directory / f"{stream}-{self._starts}"

    def __enter__(self) -> Self:
        return self.start() if self._process is None else self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_running:
            self.kill()
