"""This broker as a client of its cluster: one session, whose commands go the way of any client's.

A command is carried out here or forwarded to who serves its slot, and is answered once, be it that
the way was cut.  What is asked is volatile: who asks says it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.core.session import Session
from broker.limits import SESSION_TIMEOUT_MAX
from broker.model.commands import CopyBinding, Publish, Put

#: No client's session has so short an id.
INNER_SESSION = b"$transfer"
#: No client has so long a routing id.
INNER_PEER = b"\2" * 256

InnerCommand = Put | CopyBinding | Publish
#: Takes the header of the answer.
Heard = Callable[[dict[str, Any]], None]


class InnerClient:
    """``hand_over`` takes a command as a session's."""

    def __init__(self, hand_over: Callable[[Session, InnerCommand], None]) -> None:
        self._hand_over = hand_over
        self.session = Session(INNER_SESSION, INNER_PEER, "", SESSION_TIMEOUT_MAX, 0)
        self._asked: dict[int, Heard] = {}
        self._next_req = 1

    def ask(self, command: InnerCommand, heard: Heard) -> None:
        command.req = self._next_req
        self._next_req += 1
        self._asked[command.req] = heard
        self._hand_over(self.session, command)

    def tell(self, command: InnerCommand) -> None:
        """A command whose answer nobody waits for; what refuses it is counted."""
        self._hand_over(self.session, command)

    def hear(self, header: dict[str, Any]) -> None:
        """An answer; one to nothing that was asked is none."""
        heard = self._asked.pop(header.get("req", 0), None)
        if heard is not None:
            heard(header)
