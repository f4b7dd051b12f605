"""Many messages on their way to a broker, each confirmed, in the order in which they were sent.

Law: when one fails, it is told how many before it are confirmed, so that the rest can be sent
again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from broker.cli.bodies import Item
from broker.cli.progress import Progress
from broker.errors import BadInput, MsgQueueError

#: Confirms that are waited for at the end of it; more would only take memory.
_UNCONFIRMED_MAX = 20_000

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Waited(Protocol[R_co]):
    def wait(self) -> R_co: ...


class Sending(Generic[R]):
    """``send`` gives the confirm of one message, ``note`` takes what came of it; ``done`` is the
    word for what is confirmed."""

    def __init__(
        self, send: Callable[..., Waited[R]], note: Callable[[R], None], done: str
    ) -> None:
        self._send = send
        self._note = note
        self._done = done
        self._waiting: deque[Waited[R]] = deque()
        self.confirmed = 0

    def send_all(self, items: Iterator[Item], progress: Progress, **options: Any) -> None:
        """``options`` hold for all; a message's own come before them."""
        try:
            for body, own in items:
                self._waiting.append(self._send(body, **{**options, **own}))
                if len(self._waiting) > _UNCONFIRMED_MAX:
                    self._confirm(_UNCONFIRMED_MAX // 2)
                progress.tell(self.confirmed)
            self._confirm(0)
        except BadInput as error:
            self._confirm(0)
            raise BadInput(f"{error.text} ({self._so_far()})") from None
        except MsgQueueError as error:
            raise type(error)(f"{error.text} ({self._so_far()})") from None

    def _confirm(self, left: int) -> None:
        while len(self._waiting) > left:
            result = self._waiting.popleft().wait()
            self.confirmed += 1
            self._note(result)

    def _so_far(self) -> str:
        if self.confirmed < 2:
            return f"only the first is {self._done}" if self.confirmed else f"none is {self._done}"
        return f"the first {self.confirmed} messages are {self._done}"
