"""The grammar of names, of queues, channels and services alike; and of ids, which operators give.

A name is dotted tokens of letters, digits, ``_``, ``-`` and ``#`` (partitions), at most
255 bytes.  ``*`` and ``>`` belong to patterns (``model/patterns.py``); a leading ``$`` belongs
to the broker: everyone may read the channels ``$sys....``, and it alone publishes there.
"""

from __future__ import annotations

import re

from broker.errors import ConfigError, NameNotAllowed
from broker.limits import NAME_BYTES_MAX

#: The hidden queue of each slot that holds what transactions put, until it is with its targets.
OUTBOX = "$outbox"
#: The hidden queue that holds a channel's history is called so, and after its channel.
CHANNEL_PREFIX = "$channel/"
#: ... and so, with its number, when the channel is deleted and queues still wait for some of it.
ENDED_PREFIX = "$ended/"
#: The broker's own channels, which tell what happens to it.
SYSTEM_CHANNELS = "$sys."

#: A slot puts what leaves its queues as a producer of its own; no client's id begins so.
TRANSFER_PRODUCER = b"$transfer/"
#: Recurring schedules put as producers of their own.
SCHEDULE_PRODUCER = b"$schedule/"
BROKERS_PRODUCERS = (TRANSFER_PRODUCER, SCHEDULE_PRODUCER)

_NAME = re.compile(r"[A-Za-z0-9_#-]+(?:\.[A-Za-z0-9_#-]+)*", re.ASCII)
_TOKEN = r"(?:[A-Za-z0-9_#-]+|\*)"
_PATTERN = re.compile(rf"\$?{_TOKEN}(?:\.{_TOKEN})*(?:\.>)?|>", re.ASCII)
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


def is_pattern(value: str) -> bool:
    """True for what may be subscribed: a name whose tokens may be wildcards.

    ``*`` stands for one token, ``>`` at the end for one or more.  A ``$`` may lead it, for the
    broker's own channels; ``$*`` is none.
    """
    if len(value) > NAME_BYTES_MAX or value.startswith("$*"):
        return False
    return _PATTERN.fullmatch(value) is not None


def is_hidden(name: str) -> bool:
    """True for what the broker keeps for itself: nobody can name it, and no list has it."""
    return name.startswith("$")


def require_id(value: object) -> str:
    """``value`` itself when a broker or a cluster may be called so; else ConfigError."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ConfigError(f"{value!r} is not 1 to 64 letters, digits, '_' and '-'")
    return value
