"""Patterns of channel names: what may be subscribed, and who asks for a name.

    plain     orders.eu.new        that channel
    *         orders.*.new         one token, any
    >         orders.>             one or more tokens, at the end

A wildcard in the first place never stands for a token that begins with ``$``: the broker's own
channels are had by who names them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from broker.errors import BadPattern
from broker.names import is_pattern

ONE = "*"
REST = ">"

Value = TypeVar("Value", bound=Hashable)


def require_pattern(value: Any) -> str:
    """``value`` itself when it is an allowed pattern; raises BadPattern otherwise."""
    if not isinstance(value, str):
        raise BadPattern(f"a pattern is a string, not {type(value).__name__}")
    if not is_pattern(value):
        raise BadPattern(f"{value[:80]!r} is not a pattern: tokens of a name, '*', '>' at the end")
    return value


def is_plain(pattern: str) -> bool:
    """True for a pattern without wildcards: it is a channel's name."""
    return ONE not in pattern and REST not in pattern


def matches(pattern: str, name: str) -> bool:
    """True when the channel of that name is meant."""
    wanted, given = pattern.split("."), name.split(".")
    if name.startswith("$") and wanted[0] in (ONE, REST):
        return False
    if wanted[-1] == REST:
        wanted.pop()
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        token in (ONE, found) for token, found in zip(wanted, given, strict=True)
    )


def topic_of(name: str) -> bytes:
    """The topic frame of a channel; its NUL keeps ``orders2`` from who asked for ``orders``."""
    return name.encode() + b"\0"


def topic_prefix(pattern: str) -> bytes:
    """The longest prefix that the topics of all matching channels have in common."""
    if is_plain(pattern):
        return topic_of(pattern)
    tokens = pattern.split(".")
    wild = next(index for index, token in enumerate(tokens) if token in (ONE, REST))
    return "".join(f"{token}." for token in tokens[:wild]).encode()


class PatternTrie(Generic[Value]):
    """Values by pattern; finding those of a name costs its depth, not how many patterns are held.

    A value stands once under a pattern; ``match`` gives it once for each pattern that it has.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[Value] = _Node()

    def __bool__(self) -> bool:
        return not self._root.is_empty

    def add(self, pattern: str, value: Value) -> None:
        node = self._root
        for token in pattern.split("."):
            node = node.children.setdefault(token, _Node())
        node.values[value] = None

    def remove(self, pattern: str, value: Value) -> None:
        """Raises KeyError where ``value`` does not stand under the pattern."""
        path = [self._root]
        tokens = pattern.split(".")
        for token in tokens:
            path.append(path[-1].children[token])
        del path[-1].values[value]
        while len(path) > 1 and path.pop().is_empty:
            del path[-1].children[tokens[len(path) - 1]]

    def match(self, name: str) -> list[Value]:
        found: list[Value] = []
        here = [self._root]
        wildcards = not name.startswith("$")
        for token in name.split("."):
            reached: list[_Node[Value]] = []
            for node in here:
                children = node.children
                if wildcards:
                    if (rest := children.get(REST)) is not None:
                        found += rest.values
                    if (one := children.get(ONE)) is not None:
                        reached.append(one)
                if (same := children.get(token)) is not None:
                    reached.append(same)
            if not reached:
                return found
            here, wildcards = reached, True
        for node in here:
            found += node.values
        return found


class _Node(Generic[Value]):
    """``children`` by token; ``values`` a dict for its order."""

    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Value]] = {}
        self.values: dict[Value, None] = {}

    @property
    def is_empty(self) -> bool:
        return not self.children and not self.values
