"""Which channels a queue is bound to, as its setting ``bindings`` says it.

    {"orders.>": {}, "users.*.login": {"selector": [["country", "=", "de"]]}}

A queue gets each message that is published on a channel which one of its patterns matches, once,
however many do; of a pattern with a selector those messages that meet it.
"""

from __future__ import annotations

from typing import Any

from broker.errors import BadField, MsgQueueError
from broker.limits import BINDINGS_PER_QUEUE_MAX
from broker.model.patterns import require_pattern
from broker.model.selector import Selector

#: pattern -> {"selector": conditions}, or {} for all messages
Bindings = dict[str, dict[str, Any]]


def require_bindings(value: Any) -> None:
    """Raises BadField for what is no such map."""
    if not isinstance(value, dict):
        raise BadField("bindings must be a map of patterns")
    if len(value) > BINDINGS_PER_QUEUE_MAX:
        raise BadField(f"bindings: a queue has at most {BINDINGS_PER_QUEUE_MAX}")
    for pattern, terms in value.items():
        try:
            require_pattern(pattern)
            if not isinstance(terms, dict) or not terms.keys() <= {"selector"}:
                raise BadField("a binding is a map with at most a selector")
            selector_of(terms)
        except MsgQueueError as error:
            raise BadField(f"bindings: {str(pattern)[:80]}: {error.text}") from None


def selector_of(terms: dict[str, Any]) -> Selector | None:
    wire = terms.get("selector")
    return Selector.from_wire(wire) if wire is not None else None


def terms_of(selector: Selector | None) -> dict[str, Any]:
    return {} if selector is None else {"selector": selector.as_wire()}


def changed(before: Bindings, after: Bindings) -> list[str]:
    """Patterns that came, went, or have other terms."""
    return [
        pattern
        for pattern in {**before, **after}
        if (pattern in before) != (pattern in after)
        or selector_of(before[pattern]) != selector_of(after[pattern])
    ]
