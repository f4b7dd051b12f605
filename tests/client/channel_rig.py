"""A session and a broker with channels, without sockets: what is published waits on the way.

Owns the channels and what is on its way; the test decides what of it arrives, when, and in which
order.  Frames are made and read with msgpack alone.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import msgpack

from broker.client.channels.intake import Intake, Start
from broker.client.channels.runs import Gap, open_part
from tests.client.rig import Header, Rig, Sent

ADDRESS = "tcp://first:5571"
REIGN_BITS = 40


def body_of(channel: str, sequence: int) -> bytes:
    return b"%s:%d" % (channel.encode(), sequence)


class RigChannel:
    """``keeps`` is how many of the newest messages the history has; 0 for none."""

    def __init__(self, name: str, keeps: int, durable: bool, epoch: int) -> None:
        self.name = name
        self.keeps = keeps
        self.durable = durable
        self.epoch = epoch
        self.start = 0 if durable else epoch << REIGN_BITS
        self.next = self.start

    @property
    def oldest(self) -> int:
        return max(self.next - self.keeps, self.start)

    def publish(self, count: int) -> list[bytes]:
        """The multipart of these messages."""
        first, self.next = self.next, self.next + count
        header = {"v": 1, "first": first, "count": count, "epoch": self.epoch, "at": 5}
        bodies = [body_of(self.name, sequence) for sequence in range(first, self.next)]
        return [self.name.encode() + b"\0", msgpack.packb(header), msgpack.packb(bodies)]

    def begin_reign(self, epoch: int) -> None:
        self.epoch = epoch
        if not self.durable:
            self.start = self.next = epoch << REIGN_BITS


class ChannelRig(Rig):
    def __init__(self, **options: Any) -> None:
        #: True where the XPUB gives in order: an echo comes behind what is on its way.
        self.is_in_order = False
        self.channels: dict[str, RigChannel] = {}
        self.way: list[list[bytes]] = []
        self.page = 3
        self.dropped = 0
        self.subscribed: dict[int, str] = {}
        #: Slots without an owner, as the census tells them.
        self.slots_missing: list[int] = []
        super().__init__(**options)
        # Topics of echoes must differ, as they do where they are drawn by lot.
        drawn = count(1)
        self.session.subscriptions._echoes._draw = lambda size: next(drawn).to_bytes(size, "big")

    def welcome(self) -> None:
        hello = self.only("hello")
        self.subscribed = {}
        fields = {"session": b"session", "timeout_ms": 15_000, "limits": {}}
        self.reply(hello, re="welcome", channels=[ADDRESS], **fields)

    def make(self, name: str, keeps: int = 0, durable: bool = False) -> RigChannel:
        made = self.channels[name] = RigChannel(name, keeps, durable, epoch=1)
        return made

    def publish(self, name: str, count: int = 1) -> None:
        self.way.append(self.channels[name].publish(count))

    def subscribe(
        self, *patterns: str, start: Start | None = None, bytes_max: int = 1 << 20
    ) -> Intake:
        wanted = start or Start("now")
        return self.session.subscriptions.add(patterns, wanted, bytes_max, self.now)

    def joined(self, *patterns: str, **options: Any) -> Intake:
        intake = self.subscribe(*patterns, **options)
        self.settle()
        assert intake.is_joined
        return intake

    def arrive(self, frames: list[bytes]) -> None:
        self.session.subscriptions.receive(frames)

    def arrive_all(self) -> None:
        way, self.way = self.way, []
        for frames in way:
            self.arrive(frames)
        self.run_dry()

    def run_dry(self) -> None:
        self.session.subscriptions.has_read(self.now)

    def tell_heads(self) -> None:
        heads = [[each.name, each.epoch, each.next] for each in self.channels.values()]
        self.receive({"v": 1, "re": "heads", "heads": heads, "reigns": []})

    def settle(self) -> None:
        """Answers whatever is asked, until nothing more is."""
        while sent := self.sent():
            for command in sent:
                self.answer(command)
            self.run_dry()

    def settle_heads(self) -> None:
        """Heads are told and believed, and all that is asked for is answered."""
        self.tell_heads()
        self.after(60)
        self.run_dry()
        self.after(60)
        self.settle()

    def answer(self, command: Sent) -> None:
        handler = getattr(self, f"_answer_{command.cmd}")
        handler(command)

    def take(self, intake: Intake) -> list[tuple[str, int] | Gap]:
        """(channel, sequence) of each message, and the gaps, as an application sees them."""
        seen: list[tuple[str, int] | Gap] = []
        for item in self.session.subscriptions.take(intake, self.now):
            parts: Any = [item] if isinstance(item, Gap) else open_part(item, None)
            for part in parts:
                if isinstance(part, Gap):
                    seen.append(part)
                    continue
                run, start, stop = part
                for index in range(start, stop):
                    sequence = run.first + index
                    assert run.elements[run.offset + index] == body_of(run.channel, sequence)
                    seen.append((run.channel, sequence))
        return seen

    def _answer_subscribe(self, command: Sent) -> None:
        self.subscribed[command["sub"]] = command["pattern"]
        self.reply(command)

    def _answer_unsubscribe(self, command: Sent) -> None:
        del self.subscribed[command["sub"]]
        self.reply(command)

    def _answer_echo(self, command: Sent) -> None:
        if self.is_in_order:
            self.way.append([command["topic"]])
        else:
            self.arrive([command["topic"]])
        self.reply(command)

    def _answer_ping(self, command: Sent) -> None:
        self.reply(command, re="pong")

    def _answer_dropped(self, command: Sent) -> None:
        self.dropped += command["count"]
        self.reply(command)

    def _answer_channels(self, command: Sent) -> None:
        names = sorted(name for name in self.channels if name > command.header.get("after", ""))
        page, rest = names[:2], names[2:]
        found = [[name, self._facts(self.channels[name])] for name in page]
        missing: dict[str, Any] = (
            {"slots_missing": self.slots_missing} if self.slots_missing else {}
        )
        self.reply(command, channels=found, more=bool(rest), **missing)

    def _facts(self, channel: RigChannel) -> Header:
        return {"epoch": channel.epoch, "next": channel.next, "oldest": channel.oldest}

    def _answer_history(self, command: Sent) -> None:
        channel = self.channels.get(command["channel"])
        if channel is None:
            self.refuse(command, "channel_not_found")
            return
        if command["after"] >= channel.next:
            self.refuse(command, "sequence_ahead")
            return
        first = max(command["after"] + 1, channel.oldest)
        stop = min(first + self.page, channel.next)
        runs = [{"first": first, "count": stop - first, "at": 5}] if stop > first else []
        bodies = [body_of(channel.name, sequence) for sequence in range(first, stop)]
        header = {
            "v": 1,
            "re": "history",
            "req": command["req"],
            "channel": channel.name,
            "epoch": channel.epoch,
            "next": channel.next,
            "oldest": channel.oldest,
            "after": stop - 1,
            "more": stop < channel.next,
            "runs": runs,
        }
        self.receive(*([header, bodies] if runs else [header]), line=command.line)
