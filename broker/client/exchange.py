"""What goes out on the present connection, and who waits for which answer.

Owns the numbers of requests.  It never sends: the shell takes ``outgoing`` from the left.
Law: after ``reset`` nothing of an older connection is sent or answered any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from broker.client.codec import Frames, Reply, encode_command

#: Called with the reply and the time of its arrival.
Handler = Callable[[Reply, int], None]


class Exchange:
    def __init__(self) -> None:
        self.outgoing: deque[Frames] = deque()
        #: True once queues may use this connection: after the welcome, and the map in a cluster.
        self.ready = False
        self._handlers: dict[int, Handler] = {}
        self._next_req = 1

    @property
    def owes(self) -> bool:
        """True while an answer is waited for."""
        return bool(self._handlers)

    def ask(self, fields: dict[str, Any], handler: Handler, *frames: bytes) -> int:
        """Sends a command whose reply goes to ``handler``; gives its number."""
        req = self._next_req
        self._next_req = req + 1
        self._handlers[req] = handler
        self.outgoing.append(encode_command({**fields, "req": req}, frames))
        return req

    def go_on(self, req: int, handler: Handler) -> None:
        """Another reply to that number is to come."""
        self._handlers[req] = handler

    def tell(self, fields: dict[str, Any], *frames: bytes) -> None:
        """Sends a command that is answered only when it fails."""
        self.outgoing.append(encode_command(fields, frames))

    def answer(self, reply: Reply, now: int) -> bool:
        """Gives ``reply`` to whom it belongs; False when nobody waits for it."""
        handler = self._handlers.pop(reply.req, None) if reply.req is not None else None
        if handler is None:
            return False
        handler(reply, now)
        return True

    def reset(self) -> None:
        self.outgoing.clear()
        self._handlers.clear()
        self.ready = False
