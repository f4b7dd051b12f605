"""What a taker asks of a message: conditions over headers and properties, all of which must hold.

    [["country", "=", "de"], ["size", ">", 10], ["$type", "prefix", "order."]]

    =            equal, and of the same type; integers and floats are one type
    in           equal to one of a list
    prefix       text that begins with a text, bin that begins with a bin
    < <= > >=    a number compared with a number; a boolean is no number
    exists       true: there is one, nil too; false: there is none

A name that begins with "$" is a property.  What a message does not have meets only ``exists``
false.  Law: a selector is valid from birth, and no message makes it raise.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from broker.errors import BadField
from broker.limits import SELECTOR_CONDITIONS_MAX, SELECTOR_VALUES_MAX

#: What conditions may ask of beside headers; ``matches`` is told them without the sign.
PROPERTIES = frozenset({"$type", "$content_type", "$priority", "$reason"})

Test = Callable[[Any], bool]
#: (name, operator, value)
Condition = tuple[str, str, Any]

_MISSING: Any = object()
_SCALARS = (str, bytes, int, float, bool, type(None))


class Selector:
    """Equal to another with the same conditions in the same order; immutable."""

    __slots__ = ("_identity", "_of_headers", "_of_properties", "conditions")

    def __init__(self, conditions: list[Condition]) -> None:
        """Raises BadField for what is no condition."""
        tests = [(name, _test(name, op, value)) for name, op, value in conditions]
        self.conditions = tuple(conditions)
        self._of_headers = [item for item in tests if item[0] not in PROPERTIES]
        self._of_properties = [(name[1:], test) for name, test in tests if name in PROPERTIES]
        # To Python 1 == True; their texts differ.
        self._identity = repr(self.conditions)

    @classmethod
    def from_wire(cls, wire: Any) -> Selector:
        """Raises BadField for whatever is not ``[[name, operator, value], ...]``."""
        if not isinstance(wire, list) or not wire:
            raise BadField("must be a list of conditions, not empty")
        if len(wire) > SELECTOR_CONDITIONS_MAX:
            raise BadField(f"has at most {SELECTOR_CONDITIONS_MAX} conditions")
        for item in wire:
            if not isinstance(item, list) or len(item) != 3:
                raise BadField("a condition is [name, operator, value]")
        return cls([(name, op, value) for name, op, value in wire])

    def as_wire(self) -> list[list[Any]]:
        return [list(condition) for condition in self.conditions]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def asks_headers(self) -> bool:
        return bool(self._of_headers)

    def matches(self, headers: Mapping[str, Any] | None, properties: Mapping[str, Any]) -> bool:
        """``properties`` are those of ``type``, ``content_type``, ``priority`` and ``reason``
        that the message has."""
        return self.matches_properties(properties) and self.matches_headers(headers)

    def matches_properties(self, properties: Mapping[str, Any]) -> bool:
        """The part that is the same for all messages of a batch."""
        return all(test(properties.get(name, _MISSING)) for name, test in self._of_properties)

    def matches_headers(self, headers: Mapping[str, Any] | None) -> bool:
        return self.matches_each([headers or {}])[0]

    def matches_each(self, headers: Sequence[Mapping[str, Any]]) -> list[bool]:
        """``matches_headers`` of many messages, which costs least when asked at once."""
        matching = [True] * len(headers)
        for name, test in self._of_headers:
            matching = [
                so_far and test(each.get(name, _MISSING))
                for so_far, each in zip(matching, headers, strict=True)
            ]
        return matching


def _test(name: Any, op: Any, value: Any) -> Test:
    if not isinstance(name, str) or not name:
        raise BadField("a condition begins with a name")
    if name.startswith("$") and name not in PROPERTIES:
        raise BadField(f"no property is called {name[:80]!r}")
    make = _OPERATORS.get(op) if isinstance(op, str) else None
    if make is None:
        raise BadField(f"an operator is one of {' '.join(_OPERATORS)}")
    return make(value)


def _equal(value: Any) -> Test:
    if value.__class__ not in _SCALARS:
        raise BadField("= takes text, bin, a number, a boolean or nil")
    if value is None or value.__class__ is bool:
        return lambda found: found is value
    if isinstance(value, str | bytes):
        return lambda found: bool(found == value)
    return lambda found: found.__class__ is not bool and bool(found == value)


def _one_of(values: Any) -> Test:
    if not isinstance(values, list) or not 1 <= len(values) <= SELECTOR_VALUES_MAX:
        raise BadField(f"in takes a list of 1 to {SELECTOR_VALUES_MAX} values")
    if any(value.__class__ not in _SCALARS for value in values):
        raise BadField("in takes a list of texts, bins, numbers, booleans or nils")
    singletons = [value for value in values if value is None or value.__class__ is bool]
    others = frozenset(v for v in values if v is not None and v.__class__ is not bool)

    def test(found: Any) -> bool:
        if found is None or found.__class__ is bool:
            return any(found is value for value in singletons)
        return found.__class__ in _SCALARS and found in others

    return test


def _prefix(value: Any) -> Test:
    if isinstance(value, str):
        return lambda found: isinstance(found, str) and found.startswith(value)
    if isinstance(value, bytes):
        return lambda found: isinstance(found, bytes) and found.startswith(value)
    raise BadField("prefix takes text or bin")


def _exists(value: Any) -> Test:
    if value.__class__ is not bool:
        raise BadField("exists takes true or false")
    return lambda found: (found is not _MISSING) is value


def _comparing(compare: Callable[[Any, Any], Any]) -> Callable[[Any], Test]:
    def make(value: Any) -> Test:
        if value.__class__ is not int and value.__class__ is not float:
            raise BadField("a comparison takes a number")
        return lambda found: (
            (found.__class__ is int or found.__class__ is float) and bool(compare(found, value))
        )

    return make


_OPERATORS: dict[str, Callable[[Any], Test]] = {
    "=": _equal,
    "in": _one_of,
    "prefix": _prefix,
    "<": _comparing(operator.lt),
    "<=": _comparing(operator.le),
    ">": _comparing(operator.gt),
    ">=": _comparing(operator.ge),
    "exists": _exists,
}
