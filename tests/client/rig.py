"""A session without a socket: the test is the clock, the wire and the broker.

Owns what was sent and not yet looked at.  It shares the codec of nobody: frames are made and
read with msgpack alone.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker.client.line import Line
from broker.client.put_batch import PutBatch, PutSpec
from broker.client.session import Session, SessionOptions
from broker.errors import BY_NAME

Header = dict[str, Any]


class Sent:
    """One command as it went out."""

    def __init__(self, frames: list[bytes], line: Line) -> None:
        self.header: Header = msgpack.unpackb(frames[0])
        self.frames = frames[1:]
        self.line = line

    @property
    def cmd(self) -> str:
        name: str = self.header["cmd"]
        return name

    @property
    def elements(self) -> list[Any]:
        batch: list[Any] = msgpack.unpackb(self.frames[-1])
        return batch

    def __getitem__(self, field: str) -> Any:
        return self.header[field]

    def __repr__(self) -> str:
        return repr(self.header)


class Rig:
    def __init__(self, *, connected: bool = True, **options: Any) -> None:
        options.setdefault("addresses", ["tcp://first:1"])
        self.now = 1_000
        self.session = Session(SessionOptions(**options), lambda count: b"\x07" * count)
        self.session.tick(self.now)
        if connected:
            self.welcome()

    @property
    def line(self) -> Line:
        """The line to the first broker: a lone one has no other."""
        return self.session.lines[0]

    def welcome(self) -> None:
        """Answers the hello that must be all that was sent."""
        hello = self.only("hello")
        self.reply(hello, re="welcome", session=b"session", timeout_ms=15_000, limits={})

    def reconnect(self) -> list[Sent]:
        """Loses the connection and makes the next; gives what is sent on it after the hello."""
        self.lose()
        self.welcome()
        return self.sent()

    def lose(self) -> None:
        self.session.connection_lost(self.now, "cut")
        self.after(2_000)

    def after(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.session.tick(self.now)

    def sent(self, cmd: str | None = None, line: Line | None = None) -> list[Sent]:
        """What went out since the last look; all of it must be of the kind ``cmd`` if given."""
        used = line or self.line
        sent = [Sent(frames, used) for frames in used.exchange.outgoing]
        used.exchange.outgoing.clear()
        assert cmd is None or all(command.cmd == cmd for command in sent), sent
        return sent

    def only(self, cmd: str, line: Line | None = None) -> Sent:
        """The one command that went out since the last look."""
        (sent,) = self.sent(cmd, line)
        return sent

    def receive(self, *frames: Any, line: Line | None = None) -> None:
        packed = [msgpack.packb(frame) for frame in frames]
        self.session.receive(line or self.line, packed, self.now)

    def reply(self, command: Sent, re: str = "ok", **fields: Any) -> None:
        self.receive({"v": 1, "re": re, "req": command["req"], **fields}, line=command.line)

    def refuse(self, command: Sent, name: str, **fields: Any) -> None:
        code = BY_NAME[name].code
        self.reply(command, re="failed", code=code, error=name, text=f"told {name}", **fields)

    def deliver(
        self,
        bodies: list[Any],
        *,
        first: int = 0,
        consumer: int = 1,
        tag: bytes = b"tag",
        line: Line | None = None,
    ) -> None:
        run = {"first": first, "count": len(bodies)}
        header = {"v": 1, "re": "messages", "queue": "q", "tag": tag, "runs": [run]}
        self.receive({**header, "consumer": consumer}, bodies, line=line)

    def put(self, *bodies: bytes, queue: str = "q", spec: PutSpec | None = None) -> list[PutBatch]:
        """Puts as the faces do; gives the batch of each body."""
        found = self.session.puts.queue(queue)
        batches = []
        for body in bodies:
            batch, size = found.open, len(body) + 5
            count = batch.add(spec or PutSpec(), body, size) if batch is not None else 0
            if batch is None or count == 0:
                batch = found.begin(spec or PutSpec(), size, self.now)
                count = batch.add_first(body, size)
            if count >= batch.full_at:
                found.close()
            batches.append(batch)
        return batches
