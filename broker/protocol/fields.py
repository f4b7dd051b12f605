"""Checks for the fields of a header: each takes the decoded value and gives the valid one.

Every check raises BadField (NameNotAllowed for names) and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.errors import BadField, TooLarge
from broker.limits import PRODUCER_BYTES_MAX, RANGES_MAX
from broker.model.commands import Range
from broker.model.message_ids import hash_of_id
from broker.names import BROKERS_PRODUCERS, require_name

Check = Callable[[Any], Any]
#: No position, count or instant is larger; keeps sums inside 64 bits.
INTEGER_MAX = 2**62


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        # bool is an int to Python; on the wire the two are different types.
        if value.__class__ is not int:
            raise BadField("must be an integer")
        if not low <= value <= high:
            raise BadField(f"must be from {low} to {high}, not {value}")
        return int(value)

    return check


def clamped(low: int, high: int) -> Check:
    """An amount that the broker may lessen: above ``high`` it is ``high``."""
    whole = integer(low, INTEGER_MAX)

    def check(value: Any) -> int:
        return min(int(whole(value)), high)

    return check


def boolean(value: Any) -> bool:
    if value is not True and value is not False:
        raise BadField("must be true or false")
    return bool(value)


def text(bytes_max: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise BadField("must be text")
        if len(value.encode("utf-8", "surrogatepass")) > bytes_max:
            raise TooLarge(f"text of at most {bytes_max} bytes")
        return value

    return check


def binary(low: int, high: int) -> Check:
    def check(value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise BadField("must be bin")
        if not low <= len(value) <= high:
            raise BadField(f"must have from {low} to {high} bytes")
        return value

    return check


_producer = binary(1, PRODUCER_BYTES_MAX)


def producer(value: Any) -> bytes:
    """A client's id; what the broker puts is told from what clients put by theirs."""
    given = bytes(_producer(value))
    if given.startswith(BROKERS_PRODUCERS):
        raise BadField("begins as the ids of the broker's own producers do")
    return given


def name(value: Any) -> str:
    return require_name(value)


def mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BadField("must be a map with text keys")
    return value


def settings(value: Any) -> dict[str, Any]:
    """Those of a queue; ``channel`` is set by the broker, in queues of its own."""
    given = mapping(value)
    if "channel" in given:
        raise BadField("channel is no setting of a client's queue")
    return given


def ranges(value: Any) -> list[Range]:
    """``[[first, count], [first, count, attempts], ...]`` in any order, none empty."""
    if not isinstance(value, list) or not value:
        raise BadField("must be a list of ranges")
    if len(value) > RANGES_MAX:
        raise TooLarge(f"at most {RANGES_MAX} ranges")
    return [_range(item) for item in value]


def _range(item: Any) -> Range:
    if not isinstance(item, list) or len(item) not in (2, 3):
        raise BadField("a range is [first, count] or [first, count, attempts]")
    for part in item:
        if part.__class__ is not int or not 0 <= part <= INTEGER_MAX:
            raise BadField("a range holds integers from 0")
    if item[1] == 0:
        raise BadField("a range is not empty")
    return item[0], item[1], item[2] if len(item) == 3 else 0


def ids(value: Any) -> list[str | bytes]:
    """Ids that applications gave to messages, none twice."""
    if not isinstance(value, list) or not value:
        raise BadField("must be a list of ids")
    if len(value) > RANGES_MAX:
        raise TooLarge(f"at most {RANGES_MAX} ids")
    for each in value:
        hash_of_id(each)
    return list(dict.fromkeys(value))
