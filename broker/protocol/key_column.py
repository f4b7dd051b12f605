"""Ordering keys, and the columns that name messages: ``keys`` and ``ids``."""

from __future__ import annotations

from typing import Any

from broker.errors import BadField
from broker.limits import ID_BYTES_MAX, KEY_BYTES_MAX

_TEXT_OR_BIN: set[type] = {str, bytes}
_OR_NIL: set[type] = {str, bytes, type(None)}


def check_key(value: Any) -> str | bytes:
    """The one key of all messages of a batch."""
    _require_short([value], KEY_BYTES_MAX, _TEXT_OR_BIN)
    key: str | bytes = value
    return key


def check_names(columns: dict[str, list[Any]], has_key: bool) -> None:
    """Every value is text, bin or nil, and short; raises BadField."""
    if has_key and "keys" in columns:
        raise BadField("key and a column keys exclude each other")
    for column, bytes_max in (("keys", KEY_BYTES_MAX), ("ids", ID_BYTES_MAX)):
        if column in columns:
            try:
                _require_short(columns[column], bytes_max, _OR_NIL)
            except BadField as error:
                raise BadField(f"column {column}: {error.text}") from None


def _require_short(values: list[Any], bytes_max: int, kinds: set[type]) -> None:
    found = set(map(type, values))
    if not found <= kinds:
        raise BadField("a value is text or bin")
    given = [value for value in values if value is not None] if type(None) in found else values
    longest = max(map(len, given), default=0)
    # A character has at most four bytes in UTF-8.
    if longest * 4 > bytes_max and max(map(_byte_length, given)) > bytes_max:
        raise BadField(f"a value has at most {bytes_max} bytes")


def _byte_length(value: str | bytes) -> int:
    return len(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)
