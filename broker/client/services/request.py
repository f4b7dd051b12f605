"""One call as its handler sees it.

Owns whether anybody still waits for the answer.  It never decodes a body before somebody looks
at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker.client.content import Header, decode_body

if TYPE_CHECKING:
    from broker.client.exchange import Exchange


class Request:
    """``attempt`` is 1, and more when an idempotent call was given to other workers before."""

    __slots__ = (
        "_body",
        "_clock",
        "_is_read",
        "_until",
        "attempt",
        "call",
        "content_type",
        "exchange",
        "headers",
        "is_cancelled",
        "is_known",
        "raw",
        "service",
        "stream",
        "type",
    )

    def __init__(
        self, header: dict[str, Any], raw: bytes, exchange: Exchange, clock: Callable[[], int]
    ) -> None:
        self.service: str = header["service"]
        self.raw = raw
        self.content_type: str | None = header.get("content_type")
        self.type: str | None = header.get("type")
        self.headers: dict[str, Header] = header.get("headers") or {}
        self.attempt: int = header["attempt"]
        #: True when the caller takes the reply in parts.
        self.stream: bool = header.get("stream", False)
        #: True once nobody waits for the answer: the handler may stop.
        self.is_cancelled = False
        #: The broker's own name for it, and where it came from.
        self.call: bytes = header["call"]
        self.exchange = exchange
        #: False once the broker has forgotten it: nothing is to be said of it there.
        self.is_known = True
        self._clock = clock
        self._until = clock() + int(header["timeout_ms"])
        self._body: Any = None
        self._is_read = False

    @property
    def body(self) -> Any:
        """Decoded by its content type; raises CannotDecode."""
        if not self._is_read:
            self._body = decode_body(self.raw, self.content_type)
            self._is_read = True
        return self._body

    @property
    def deadline(self) -> float:
        """When the caller stops waiting, in seconds of ``time.monotonic``."""
        return self._until / 1000

    @property
    def remaining(self) -> float:
        """Seconds until then; 0 when it is over."""
        return max(self._until - self._clock(), 0) / 1000

    def __repr__(self) -> str:
        return f"<Request {self.service} {len(self.raw)} bytes>"
