"""Which faults a cluster is given, in which order.  It knows of no process."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum


class Fault(StrEnum):
    #: SIGKILL of one broker, which comes back sooner or later than its tenure ends.
    KILL = "kill"
    #: SIGKILL of the broker that serves the queue, which comes back once another one does.
    KILL_PRIMARY = "kill primary"
    #: SIGSTOP of one broker, and SIGCONT after its tenure.
    STOP = "stop"
    STOP_PRIMARY = "stop primary"
    #: SIGKILL of every broker at once.
    KILL_ALL = "kill all"
    #: SIGKILL of etcd, which comes back sooner or later than the tenures end.
    ETCD = "etcd"
    #: SIGTERM of the broker that serves the queue.
    LEAVE = "leave"


def shuffled(counts: Mapping[Fault, int], chance: random.Random) -> list[Fault]:
    """So many of each, in any order."""
    faults = [fault for fault, count in counts.items() for _ in range(count)]
    chance.shuffle(faults)
    return faults
