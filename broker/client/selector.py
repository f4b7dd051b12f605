"""What a consumer, a get or a browse chooses by: the application's map as the wire's conditions.

Owns the shorthand.  It never compares anything: the broker does.

    {"country": "de"}                 equal
    {"kind": ["a", "b"]}              one of these
    {"size": (">", 10)}               an operator of the protocol and its operand
    {"trace": exists}                 there, whatever its value
    {"$type": "event"}                a property of the message, not a header
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from broker.errors import BadField

#: [[header, operator, operand], ...]: all must hold.
WireSelector = list[list[Any]]
#: The shorthand, or the wire's own list.
Selector = Mapping[str, Any] | WireSelector

OPERATORS = frozenset({"=", "in", "prefix", "<", "<=", ">", ">=", "exists"})


class Presence(Enum):
    EXISTS = "exists"


#: Stands for any value of a header: ``{"trace": exists}``.
exists: Final = Presence.EXISTS


def wire_selector(selector: Selector | None) -> WireSelector | None:
    """The conditions of ``selector``; None for one that chooses everything."""
    if not selector:
        return None
    if isinstance(selector, Mapping):
        conditions = [_condition(name, wanted) for name, wanted in selector.items()]
    else:
        conditions = [list(condition) for condition in selector]
    for condition in conditions:
        if len(condition) != 3:
            raise BadField(f"a condition is [header, operator, operand], not {condition!r}")
        if condition[1] not in OPERATORS:
            known = " ".join(sorted(OPERATORS))
            raise BadField(f"{condition[1]!r} is no operator of a selector: {known}")
    return conditions


def _condition(name: str, wanted: Any) -> list[Any]:
    if wanted is exists:
        return [name, "exists", True]
    if isinstance(wanted, tuple):
        return [name, *wanted]
    if isinstance(wanted, list | set | frozenset):
        return [name, "in", list(wanted)]
    return [name, "=", wanted]
