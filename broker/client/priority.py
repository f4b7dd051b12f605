"""The priorities that have names; any from 0 to 9 may be used, and higher ones come first."""

from __future__ import annotations

from enum import IntEnum

from broker.limits import PRIORITY_DEFAULT


class Priority(IntEnum):
    LOW = 1
    NORMAL = PRIORITY_DEFAULT
    HIGH = 7
