"""R4: while a primary may not act, leases stand still and waiting gets are refused."""

from __future__ import annotations

from broker.errors import NotPrimary
from broker.node.reception import Reception
from broker.node.replica import Replica
from broker.node.stepping_down import dismiss_getters


class Suspended:
    """Owns which slots stopped to act, and since when."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._since: dict[int, int] = {}

    def note(self, replica: Replica, may_act: bool, now: int) -> None:
        """Whether the slot may act in this turn."""
        if replica.machine.is_serving and not may_act:
            if replica.slot not in self._since:
                self._since[replica.slot] = now
                for queue in replica.machine.queues.values():
                    dismiss_getters(queue, self._reception, NotPrimary("the slot stands still"))
            return
        since = self._since.pop(replica.slot, None)
        if since is not None and may_act:
            for queue in replica.machine.queues.values():
                queue.leases.prolong(now - since)
                replica.machine.wake(queue)
