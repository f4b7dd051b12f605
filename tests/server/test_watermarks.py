"""When the alarm begins and ends, over sources that the test sets."""

from __future__ import annotations

from pathlib import Path

from broker.limits import MIB
from broker.server.watermarks import (
    Watermarks,
    free_disk_bytes,
    memory_max_default,
    resident_bytes,
)


class Room:
    """Free disk and used memory in MiB; 256 are kept in reserve, 1 024 allowed."""

    def __init__(self, *, memory_max: int = 1_024) -> None:
        self.free = 10_000
        self.used = 100
        self._watermarks = Watermarks(
            disk_reserve=256 * MIB,
            memory_max=memory_max * MIB,
            free_disk=lambda: self.free * MIB,
            resident=lambda: self.used * MIB,
        )

    def alarm(self) -> str:
        """The first word of the reason, or nothing."""
        return (self._watermarks.look() or "").partition(":")[0]


def test_with_room_there_is_no_alarm() -> None:
    assert Room().alarm() == ""


def test_less_disk_than_the_reserve_is_an_alarm_until_there_is_clearly_more() -> None:
    room = Room()
    room.free = 255
    assert room.alarm() == "disk"
    room.free = 257
    assert room.alarm() == "disk", "no flapping at the mark"
    room.free = 300
    assert room.alarm() == ""
    room.free = 257
    assert room.alarm() == ""


def test_more_memory_than_allowed_is_an_alarm_until_there_is_clearly_less() -> None:
    room = Room()
    room.used = 1_025
    assert room.alarm() == "memory"
    room.used = 1_000
    assert room.alarm() == "memory"
    room.used = 900
    assert room.alarm() == ""


def test_no_bound_on_memory_is_no_alarm() -> None:
    room = Room(memory_max=0)
    room.used = 1_000_000
    assert room.alarm() == ""


def test_the_real_sources_give_figures(tmp_path: Path) -> None:
    assert free_disk_bytes(tmp_path) > 0
    assert 0 <= resident_bytes() < memory_max_default() * 2
