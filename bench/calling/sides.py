"""The processes of a run of calls: whoever calls, in one of them, and workers that echo."""

from ctypes import c_bool
from multiprocessing import sharedctypes
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.calling.contender import CallContender
from bench.sides import CONNECT_SECONDS, Side

_WARM_UP_SECONDS = 0.3


class Shift:
    """What the processes of one run share: whether it is over."""

    def __init__(self) -> None:
        self.ended: Any = sharedctypes.RawValue(c_bool, False)

    def is_over(self) -> bool:
        """True once the callers are through."""
        return bool(self.ended.value)


def work(contender: CallContender, port: int, shift: Shift, barrier: Barrier) -> Side:
    """Answer calls until the callers are through."""
    with contender.open_worker(port) as answer:
        barrier.wait(CONNECT_SECONDS)
        answer(shift.is_over)
    return Side()


def call(
    contender: CallContender,
    port: int,
    shift: Shift,
    callers: int,
    seconds: float,
    barrier: Barrier,
) -> Side:
    """Call for a while, after a short time in which nothing is counted."""
    try:
        with contender.open_callers(port) as call_for:
            barrier.wait(CONNECT_SECONDS)
            call_for(_WARM_UP_SECONDS, callers)
            return Side(samples=tuple(call_for(seconds, callers)))
    finally:
        shift.ended.value = True
