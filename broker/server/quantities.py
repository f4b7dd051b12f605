"""Sizes and durations as people write them in flags, the environment and files.

Owns the grammar: a whole number with an optional unit.  Bytes are ``4096``, ``512KiB``,
``256MiB``, ``2GiB``; milliseconds are ``1500``, ``500ms``, ``15s``, ``5m``, ``12h``, ``7d``.
"""

from __future__ import annotations

import re

from broker import limits
from broker.errors import ConfigError

_QUANTITY = re.compile(r"(\d{1,15})\s*([A-Za-z]*)", re.ASCII)
_BYTES = {"": 1, "B": 1, "KiB": limits.KIB, "MiB": limits.MIB, "GiB": limits.MIB * limits.KIB}
_MS = {
    "": 1,
    "ms": 1,
    "s": limits.SECOND,
    "m": limits.MINUTE,
    "h": limits.HOUR,
    "d": limits.DAY,
}


def parse_bytes(value: object) -> int:
    return _parse(value, _BYTES, "a size")


def parse_ms(value: object) -> int:
    return _parse(value, _MS, "a duration")


def _parse(value: object, units: dict[str, int], what: str) -> int:
    """``value`` is text, or the plain number that a TOML file may hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found.group(2) not in units:
        known = ", ".join(unit for unit in units if unit)
        raise ConfigError(f"{value!r} is not {what}: a whole number and one of {known}")
    return int(found.group(1)) * units[found.group(2)]
