"""All services of a broker or a cluster, read page by page."""

from __future__ import annotations

from typing import Any

from broker.client.plans import Plan


def list_services(pattern: str) -> Plan[dict[str, dict[str, Any]]]:
    """By their names: what is counted of each."""
    services: dict[str, dict[str, Any]] = {}
    after = ""
    more = True
    while more:
        page = yield {"cmd": "services", "pattern": pattern, "after": after}
        found = page["services"]
        services |= dict(found)
        after = found[-1][0] if found else after
        more = page["more"] and bool(found)
    return services
