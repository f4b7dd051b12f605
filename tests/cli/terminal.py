"""Somebody at a terminal: each command is a process of its own, told where the broker is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

from tests.support.broker_process import ROOT
from tests.support.waiting import DEADLINE_S

_PROGRAM = "from broker.cli.main import main; main(prog_name='msgqueue')"


class Answer(NamedTuple):
    status: int
    raw: bytes
    errors: str

    @property
    def text(self) -> str:
        return self.raw.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def json(self) -> Any:
        return json.loads(self.raw)

    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]


class Terminal:
    def __init__(self, endpoint: str) -> None:
        self._env = {**os.environ, "MSGQUEUE_CONNECT": endpoint, "COLUMNS": "100", "TERM": "xterm"}

    def start(self, *words: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *words],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def run(self, *words: str, given: bytes | str = b"") -> Answer:
        """The end of a command that was given this on standard input."""
        raw = given.encode() if isinstance(given, str) else given
        with self.start(*words) as process:
            out, errors = process.communicate(raw, timeout=DEADLINE_S)
        assert b"Traceback" not in errors, errors.decode()
        return Answer(process.returncode, out, errors.decode())

    def done(self, *words: str, given: bytes | str = b"") -> Answer:
        answer = self.run(*words, given=given)
        assert answer.status == 0, answer
        return answer

    def refused(self, *words: str, name: str, status: int, given: bytes | str = b"") -> str:
        """The one line on standard error with which the command ends."""
        answer = self.run(*words, given=given)
        assert answer.status == status, answer
        assert len(answer.errors.splitlines()) == 1, answer.errors
        assert answer.errors.startswith(f"msgqueue: {name}: "), answer.errors
        return answer.errors
