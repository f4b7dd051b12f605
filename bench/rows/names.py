"""Many channels and many patterns: what a publish costs with them, and what a name weighs.

Owns the counts of both. The time is the broker's own, of its processor, so that what else the
machine does stays out of it. Law: each name was published before the publishes that are counted.
"""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.duel import fresh_server
from bench.fanout.msgqueue_channels import MsgQueueChannels
from bench.peers.msgqueue import MsgQueue
from bench.processes import Server
from bench.report import Table
from bench.settings import Settings, say
from patterns import Client

_LOADS = ((1_000, 0), (100_000, 0), (1_000, 10_000), (100_000, 10_000))
"""(channels, patterns)"""
_PATTERNS_EACH = 1_000
_GROUPS = 1_000
_PUBLISHES = 50_000
_AT_ONCE = 1_000
_CONFIRM_SECONDS = 60.0
_BODY = bytes(256)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Named:
    """One load: the broker's time for a publish, and its memory for a name."""

    channels: int
    patterns: int
    publish_us: float
    name_bytes: float
    pattern_bytes: float


def measure(settings: Settings) -> Table:
    """Publish single messages to names drawn by lot."""
    loads = [_run(settings, *load) for load in _LOADS]
    return Table(
        title="Channels in memory by their number, single messages of 256 bytes",
        columns=("channels", "patterns", "broker, us a publish", "bytes a channel", "a pattern"),
        lines=[
            [
                f"{load.channels:,}",
                f"{load.patterns:,}",
                f"{load.publish_us:.0f}",
                f"{load.name_bytes:.0f}" if load.channels > _GROUPS else "",
                f"{load.pattern_bytes:.0f}" if load.patterns else "",
            ]
            for load in loads
        ],
        data={"unit": "us", "entries": [asdict(load) for load in loads]},
        note="The patterns share their first token with the names and match none of them.",
    )


def _run(settings: Settings, channels: int, patterns: int) -> Named:
    with fresh_server(MsgQueueChannels().start, settings.data_root) as server, ExitStack() as stack:
        assert isinstance(server, Server)
        address = MsgQueue().addresses(server.port)
        empty = server.resident_bytes()
        stack.enter_context(_subscribed(address, patterns))
        subscribed = server.resident_bytes()
        names = [f"t{index % _GROUPS}.n{index}" for index in range(channels)]
        with Client(address) as client:
            _publish(client, names)
            named = server.resident_bytes()
            chosen = random.Random(1).choices(names, k=_PUBLISHES)
            began = _processor_seconds(server)
            _publish(client, chosen)
            seconds = _processor_seconds(server) - began
    made = Named(
        channels,
        patterns,
        seconds / _PUBLISHES * 1e6,
        (named - subscribed) / channels,
        (subscribed - empty) / max(patterns, 1),
    )
    say(f"{channels:,} channels, {patterns:,} patterns: {made.publish_us:.0f} us a publish")
    return made


@contextmanager
def _subscribed(address: str, patterns: int) -> Iterator[None]:
    with ExitStack() as stack:
        for first in range(0, patterns, _PATTERNS_EACH):
            client = stack.enter_context(Client(address))
            wanted = [f"t{index % _GROUPS}.x{index}.*" for index in range(first, first + _GROUPS)]
            stack.enter_context(client.subscribe(*wanted))
        yield


def _publish(client: Client, names: list[str]) -> None:
    for first in range(0, len(names), _AT_ONCE):
        confirms = [client.publish(name, _BODY) for name in names[first : first + _AT_ONCE]]
        for confirm in confirms:
            confirm.wait(_CONFIRM_SECONDS)


def _processor_seconds(server: Server) -> float:
    """User and system time of the broker's process."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
