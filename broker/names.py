"""The grammar of names: queues now, channels and services later; and of ids, which operators give.

A name is dotted tokens of letters, digits, ``_``, ``-`` and ``#`` (partitions), at most
255 bytes.  ``*`` and ``>`` belong to patterns; a leading ``$`` belongs to the broker.
"""

from __future__ import annotations

import re

from broker.errors import ConfigError, NameNotAllowed
from broker.limits import NAME_BYTES_MAX

#: The hidden queue of each slot that holds what transactions put, until it is with its targets.
OUTBOX = "$outbox"

#: A slot puts what leaves its queues as a producer of its own; no client's id begins so.
TRANSFER_PRODUCER = b"$transfer/"
#: Recurring schedules put as producers of their own.
SCHEDULE_PRODUCER = b"$schedule/"
BROKERS_PRODUCERS = (TRANSFER_PRODUCER, SCHEDULE_PRODUCER)

_NAME = re.compile(r"[A-Za-z0-9_#-]+(?:\.[A-Za-z0-9_#-]+)*", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def require_name(value: object) -> str:
    """``value`` itself when it is an allowed name; raises NameNotAllowed otherwise."""
    if not isinstance(value, str):
        raise NameNotAllowed(f"a name is a string, not {type(value).__name__}")
    if len(value) > NAME_BYTES_MAX:
        raise NameNotAllowed(f"a name has at most {NAME_BYTES_MAX} bytes")
    if not _NAME.fullmatch(value):
        raise NameNotAllowed(
            f"{value[:80]!r} is not a name: dotted tokens of letters, digits, '_', '-' and '#'"
        )
    return value


def is_hidden(name: str) -> bool:
    """True for what the broker keeps for itself: nobody can name it, and no list has it."""
    return name.startswith("$")


def require_id(value: object) -> str:
    """``value`` itself when a broker or a cluster may be called so; else ConfigError."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ConfigError(f"{value!r} is not 1 to 64 letters, digits, '_' and '-'")
    return value
