"""What leaves a channel for its subscribers: messages that follow one another, of one publish or of
several that agree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Published:
    """``count`` messages from sequence ``first`` on, in the reign ``epoch`` of their slot."""

    channel: str
    epoch: int
    first: int
    count: int
    #: When they were published (ms).
    at: int
    #: The batch frame, and the columns where there are some.
    batch: bytes
    columns: bytes = b""
    content_type: str | None = None
    type: str | None = None
    key: str | bytes | None = None
    #: The first sequence of the channel's life where nobody could tell it: a channel without a
    #: history that was forgotten and begins again.
    start: int | None = None
