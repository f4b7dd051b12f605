"""The grammar of names: queues now, channels and services later.

A name is dotted tokens of letters, digits, ``_``, ``-`` and ``#`` (partitions), at most
255 bytes.  ``*`` and ``>`` belong to patterns; a leading ``$`` belongs to the broker.
"""

from __future__ import annotations

import re

from broker.errors import NameNotAllowed
from broker.limits import NAME_BYTES_MAX

_NAME = re.compile(r"[A-Za-z0-9_#-]+(?:\.[A-Za-z0-9_#-]+)*", re.ASCII)


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
