"""Messages of one channel that follow one another, as they came live or from the history.

Owns their frames until somebody reads them: nothing of a batch is decoded before.
Law: what cannot be decoded is told as missed; it ends neither a subscription nor a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from broker.client.codec import VERSION, decode_batch, decode_columns
from broker.errors import NotAnEnvelope

if TYPE_CHECKING:
    from broker.client.codec import Reply
    from broker.model.selector import Selector


class Gap(NamedTuple):
    """Messages that were published and cannot be had any more.

    ``missed`` is None where nobody knows how many: a channel that is not durable began anew.
    """

    channel: str
    #: The sequence of the first one that is missed; where the new life begins when unknown.
    first: int
    missed: int | None


class Payload:
    """The batch of one multipart, decoded once for all who read it."""

    __slots__ = ("batch", "columns", "count", "elements", "values")

    def __init__(self, columns: bytes, batch: bytes, count: int) -> None:
        self.columns = columns
        self.batch = batch
        self.count = count
        self.elements: list[Any] | None = None
        self.values: dict[str, list[Any]] = {}

    @property
    def size(self) -> int:
        return len(self.batch) + len(self.columns)

    def open(self) -> list[Any]:
        """The elements; raises NotAnEnvelope for frames that contradict the header."""
        if self.elements is None:
            elements = decode_batch(self.batch)
            values = decode_columns(self.columns) if self.columns else {}
            if any(len(column) != self.count for column in (elements, *values.values())):
                raise NotAnEnvelope(f"a batch of {len(elements)}, told as {self.count}")
            self.elements, self.values = elements, values
            self.batch = self.columns = b""
        return self.elements


class EventRun:
    """``count`` messages from the sequence ``first`` on; ``elements`` only once it is open."""

    __slots__ = (
        "channel",
        "content_type",
        "count",
        "elements",
        "epoch",
        "first",
        "key",
        "offset",
        "payload",
        "published_ms",
        "size",
        "type",
    )

    elements: list[Any]

    def __init__(
        self, channel: str, fields: dict[str, Any], epoch: int, payload: Payload, offset: int
    ) -> None:
        self.channel = channel
        self.epoch = epoch
        self.payload = payload
        self.offset = offset
        self.first: int = fields["first"]
        self.count: int = fields["count"]
        self.published_ms: int = fields["at"]
        self.content_type: str | None = fields.get("content_type")
        self.type: str | None = fields.get("type")
        self.key: str | bytes | None = fields.get("key")
        #: This run's share of the bytes that its payload takes.
        self.size = payload.size * self.count // payload.count

    def column(self, name: str, index: int) -> Any:
        values = self.payload.values.get(name)
        return None if values is None else values[self.offset + index]


#: The messages of a run from one index to before another.
Part = tuple[EventRun, int, int]


class HistoryPage:
    """One answer to ``history``."""

    __slots__ = ("after", "more", "next", "runs")

    def __init__(self, channel: str, reply: Reply) -> None:
        """Raises NotAnEnvelope for an answer that contradicts itself."""
        header = reply.header
        try:
            #: The sequence that the channel gives next.
            self.next: int = header["next"]
            #: What was looked at ends here.
            self.after: int = header["after"]
            self.more: bool = header["more"]
            told = header["runs"]
            count = sum(fields["count"] for fields in told)
            payload = Payload(reply.columns, reply.batch, max(count, 1))
            self.runs: list[EventRun] = []
            offset = 0
            for fields in told:
                run = EventRun(channel, fields, header["epoch"], payload, offset)
                self.runs.append(run)
                offset += run.count
        except (KeyError, TypeError, ValueError) as error:
            raise NotAnEnvelope(f"a history is not well formed: {error!r}") from None


def read_live(channel: str, header: dict[str, Any], frames: list[bytes]) -> EventRun:
    """The run of one multipart; raises KeyError, TypeError or ValueError when it is none."""
    count = header["count"]
    if header["v"] != VERSION or count < 1 or not 3 <= len(frames) <= 4:
        raise ValueError("a multipart without messages")
    payload = Payload(frames[2] if len(frames) == 4 else b"", frames[-1], count)
    return EventRun(channel, header, header["epoch"], payload, 0)


def open_part(part: Part, selector: Selector | None) -> list[Part | Gap]:
    """What may be handed out of ``part``: all of it, what the selector takes, or a gap."""
    run, start, stop = part
    try:
        run.elements = elements = run.payload.open()
    except NotAnEnvelope:
        return [Gap(run.channel, run.first + start, stop - start)]
    if selector is None:
        return [part]
    told = {"type": run.type, "content_type": run.content_type}
    if not selector.matches_properties({n: v for n, v in told.items() if v is not None}):
        return []
    chosen = elements[run.offset + start : run.offset + stop]
    flags = selector.matches_each([{} if e.__class__ is bytes else e[1] for e in chosen])
    parts: list[Part | Gap] = []
    index = start
    while index < stop:
        end = index
        while end < stop and flags[end - start] == flags[index - start]:
            end += 1
        if flags[index - start]:
            parts.append((run, index, end))
        index = end
    return parts
