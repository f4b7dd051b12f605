"""A task that takes several commands, written once for both clients.

A plan is a generator: it yields a command's fields, is sent the answer (or thrown the error), and
returns the result.  It never waits: ``carry_out`` of each client asks for it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

#: The fields of one command.
Ask = dict[str, Any]
Plan = Generator[Ask, Any, T]


def one(fields: Ask, *names: str) -> Plan[Any]:
    """One command; its answer, or that field of the answer, or those fields."""
    answer = yield fields
    if not names:
        return answer
    return answer[names[0]] if len(names) == 1 else tuple(answer[name] for name in names)
