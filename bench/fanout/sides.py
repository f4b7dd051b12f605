"""The processes of a fan-out run: publishers that wait for the slowest subscriber, subscribers.

Owns the pace and the count of what came. Law: nobody publishes further ahead of the slowest
subscriber than the window, so that no broker has to drop; what is missing in spite of that is told.
"""

import struct
import time
from ctypes import c_longlong
from multiprocessing import sharedctypes
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.fanout.contender import FanoutContender
from bench.sides import CONNECT_SECONDS, Side

BODY_BYTES = 256
BATCH = 1_000
WINDOW = 50_000
_HEAD = struct.Struct(">Hqd")
_FILLER = bytes(range(256))[: BODY_BYTES - _HEAD.size]
_LOOK_SECONDS = 0.000_2
_STUCK_SECONDS = 5.0


class Course:
    """What the processes of one run share: how far each is, and how many have published all."""

    def __init__(self, publishers: int, subscribers: int) -> None:
        self.sent: Any = sharedctypes.RawArray(c_longlong, publishers)
        self.taken: Any = sharedctypes.RawArray(c_longlong, subscribers)
        self.ended: Any = sharedctypes.RawArray(c_longlong, publishers)

    @property
    def is_over(self) -> bool:
        """True once all publishers are through."""
        return all(self.ended)

    def wait_for_room(self) -> bool:
        """Return when the slowest subscriber is within the window; False if it stands still."""
        slowest = min(self.taken)
        stuck_at = time.monotonic() + _STUCK_SECONDS
        while sum(self.sent) - min(self.taken) > WINDOW:
            time.sleep(_LOOK_SECONDS)
            if min(self.taken) > slowest:
                slowest, stuck_at = min(self.taken), time.monotonic() + _STUCK_SECONDS
            elif time.monotonic() > stuck_at:
                return False
        return True


def publish(
    contender: FanoutContender,
    port: int,
    course: Course,
    number: int,
    seconds: float,
    barrier: Barrier,
) -> Side:
    """Publish in batches for a time."""
    count, fault = 0, ""
    with contender.open_publisher(port) as give:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        while time.monotonic() - started_at < seconds and not fault:
            give([_body(number, count + index) for index in range(BATCH)])
            count += BATCH
            course.sent[number] = count
            if not course.wait_for_room():
                fault = f"a subscriber stood still for {_STUCK_SECONDS:g} s"
        give([])
        course.ended[number] = 1
        return Side(started_at, time.monotonic(), fault=fault)


def publish_slowly(
    contender: FanoutContender,
    port: int,
    course: Course,
    messages: int,
    pause: float,
    barrier: Barrier,
) -> Side:
    """Publish one message, let it arrive, rest, and again."""
    with contender.open_publisher(port) as give:
        barrier.wait(CONNECT_SECONDS)
        started_at = time.monotonic()
        for index in range(messages):
            give([_body(0, index)])
            course.sent[0] = index + 1
            stuck_at = time.monotonic() + _STUCK_SECONDS
            while course.taken[0] <= index and time.monotonic() < stuck_at:
                time.sleep(pause)
        give([])
        course.ended[0] = 1
        return Side(started_at, time.monotonic())


def subscribe(
    contender: FanoutContender,
    port: int,
    course: Course,
    number: int,
    keeps_samples: bool,
    barrier: Barrier,
) -> Side:
    """Take what comes until all is there, or nothing comes any more."""
    expected = [0] * len(course.sent)
    samples: list[float] = []
    faults: list[str] = []
    last_at = heard_at = 0.0
    unpack = _HEAD.unpack_from

    def take(bodies: list[bytes]) -> bool:
        nonlocal last_at, heard_at
        now = time.monotonic()
        if bodies:
            last_at = heard_at = now
            for body in bodies:
                publisher, index, sent_at = unpack(body)
                if index != expected[publisher]:
                    faults.append(f"message {index} came in the place of {expected[publisher]}")
                expected[publisher] = index + 1
                if keeps_samples:
                    samples.append(now - sent_at)
            course.taken[number] += len(bodies)
        if course.is_over and course.taken[number] >= sum(course.sent):
            return False
        return now - heard_at < _STUCK_SECONDS

    with contender.open_subscriber(port) as give_to:
        barrier.wait(CONNECT_SECONDS)
        started_at = heard_at = time.monotonic()
        give_to(take)
    fault = faults[0] if faults else ""
    return Side(started_at, last_at, samples=tuple(samples), fault=fault)


def _body(publisher: int, index: int) -> bytes:
    return _HEAD.pack(publisher, index, time.monotonic()) + _FILLER
