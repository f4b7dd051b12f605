"""``msgqueue put``: messages from the command line or from standard input.

Law: it ends with status 0 only when every message is confirmed; when it fails it says how many
of those before the failure are confirmed, so that the rest can be put again.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.messages import decode_json, from_json
from broker.cli.output import JSON, with_output, write_json, write_line
from broker.cli.progress import Progress
from broker.cli.values import Duration, Header, Instant
from broker.client import content
from broker.client.confirm import Confirm
from broker.client.put_batch import PutResult
from broker.client.sync_queue import Queue
from broker.errors import BadInput, MsgQueueError

#: Confirms that are waited for at the end of it; more would only take memory.
_UNCONFIRMED_MAX = 20_000

#: A body and the options of its put.
Item = tuple[Any, dict[str, Any]]


class Form(NamedTuple):
    """How bodies are read."""

    is_whole: bool
    is_json: bool
    is_jsonl: bool


@click.command("put")
@click.argument("queue")
@click.argument("bodies", metavar="[BODY]...", nargs=-1)
@click.option("--whole", is_flag=True, help="Standard input is one message, not one a line.")
@click.option("--json", "as_json", is_flag=True, help="Bodies are JSON; checked and marked so.")
@click.option("--jsonl", is_flag=True, help="Each line is an object with body, headers and so on.")
@click.option(
    "--header", "headers", type=Header(), multiple=True, metavar="NAME=VALUE", help="Repeatable."
)
@click.option("--priority", type=click.IntRange(0, 9), metavar="0-9", help="Higher first. [4]")
@click.option("--delay", type=Duration(), metavar="TIME", help="Ready after it, such as 30s.")
@click.option(
    "--at", type=Instant(), metavar="INSTANT", help="Ready then, such as 2026-01-31T12:00:00Z."
)
@click.option("--ttl", type=Duration(), metavar="TIME", help="It expires after it, such as 1h.")
@click.option("--type", "kind", metavar="TEXT", help="What kind of message it is.")
@click.option("--content-type", metavar="TYPE", help="Of the body, such as text/plain.")
@click.option("--id", "message_id", metavar="ID", help="Of one message: dedup, cancel, find.")
@click.option("--key", metavar="KEY", help="Keeps the order of messages with the same key.")
@click.option("--wait-for-room", is_flag=True, help="Wait while the queue is full.")
@with_output
@with_broker
def put_command(
    broker: Broker,
    queue: str,
    bodies: tuple[str, ...],
    whole: bool,
    as_json: bool,
    jsonl: bool,
    wait_for_room: bool,
    output: str,
    **given: Any,
) -> None:
    """Put messages into a queue.

    It ends when all are on disk.  Each BODY is a message.  Without one, each line of standard
    input is.

    \b
    Examples:
      msgqueue put orders 'first' 'second'
      msgqueue put orders --json '{"item": "ring"}' --priority 9 --header country=de
      msgqueue put reminders 'call back' --delay 30m
      seq 1000 | msgqueue put numbers
      msgqueue put images --whole --content-type image/png < ring.png
      msgqueue get orders -o json --max 100 | msgqueue put other --jsonl

    A line of --jsonl has body (or body_base64), and may have headers, priority, delay, at, ttl,
    type, content_type, id, key:

    \b
      {"body": {"item": "ring"}, "headers": {"country": "de"}, "delay": "5m"}

    With -o json one line a message tells its position, its id, on how many brokers it is, and
    whether it was there already.
    """
    form = Form(whole, as_json, jsonl)
    _require_one_way(form, bodies, given)
    options = _options(given, as_json)
    items = _from_words(bodies, form) if bodies else _from_input(sys.stdin.buffer, form)
    retry = ("queue_full",) if wait_for_room else ()
    with broker.client(retry=retry) as client:
        putting = _Putting(client.queue(queue), output)
        with Progress(f"putting into {queue}", wanted=not bodies) as progress:
            putting.put_all(((body, {**options, **own}) for body, own in items), progress)
    if output != JSON:
        write_line(_summary(queue, putting))


class _Putting:
    """Puts, and what is known of them."""

    def __init__(self, queue: Queue, output: str) -> None:
        self._queue = queue
        self._output = output
        self._waiting: deque[Confirm] = deque()
        self.confirmed = 0
        self.duplicates = 0
        #: By which the message can be found, moved and cancelled; None when the broker told none.
        self.last_id: str | None = None

    def put_all(self, items: Iterator[Item], progress: Progress) -> None:
        try:
            for body, options in items:
                self._waiting.append(self._queue.put(body, **options))
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
            if _was_there(result):
                self.duplicates += 1
            elif result.position is not None:
                self.last_id = f"{result.queue}:{result.position}"
            if self._output == JSON:
                write_json(_told(result))

    def _so_far(self) -> str:
        if self.confirmed < 2:
            return "only the first is put" if self.confirmed else "none is put"
        return f"the first {self.confirmed} messages are put"


def _was_there(result: PutResult) -> bool:
    """By its id; not because a lost answer made the client send it again."""
    return result.duplicate and not result.sent_again


def _told(result: PutResult) -> dict[str, Any]:
    message_id = result.id.hex() if isinstance(result.id, bytes) else result.id
    return {
        "queue": result.queue,
        "position": result.position,
        "id": message_id,
        "copies": result.copies,
        "duplicate": _was_there(result),
    }


def _summary(queue: str, putting: _Putting) -> str:
    count = putting.confirmed - putting.duplicates
    text = f"put {count} message{'' if count == 1 else 's'} into {queue}"
    if count == 1 and putting.last_id is not None:
        text = f"{text}, its id is {putting.last_id}"
    if not putting.duplicates:
        return text
    verb = "was" if putting.duplicates == 1 else "were"
    return f"{text}; {putting.duplicates} {verb} there already"


def _require_one_way(form: Form, bodies: tuple[str, ...], given: dict[str, Any]) -> None:
    if sum(form) > 1 and not (form.is_whole and form.is_json and not form.is_jsonl):
        raise click.UsageError("--jsonl goes with neither --json nor --whole")
    if bodies and form.is_whole:
        raise click.UsageError("--whole reads standard input, and a BODY is given")
    if given["delay"] is not None and given["at"] is not None:
        raise click.UsageError("--delay and --at exclude each other")
    if given["message_id"] is not None and len(bodies) != 1 and not form.is_whole:
        raise click.UsageError("--id is of one message: give one BODY or --whole, or use --jsonl")


def _options(given: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """What all messages have, in the words of the client."""
    seconds = {name: given[name] / 1000 for name in ("delay", "ttl") if given[name] is not None}
    content_type = given["content_type"] or (content.JSON if as_json else None)
    plain = {
        "headers": dict(given["headers"]) or None,
        "priority": given["priority"],
        "at": given["at"],
        "type": given["kind"],
        "content_type": content_type,
        "id": given["message_id"],
        "key": given["key"],
    }
    return seconds | {name: value for name, value in plain.items() if value is not None}


def _from_words(bodies: tuple[str, ...], form: Form) -> Iterator[Item]:
    for number, body in enumerate(bodies, 1):
        yield _read(body.encode("utf-8", "surrogateescape"), form, f"body {number}")


def _from_input(stream: BinaryIO, form: Form) -> Iterator[Item]:
    if stream.isatty():
        click.echo("one message a line; Ctrl-D ends", err=True)
    if form.is_whole:
        yield _read(stream.read(), form, "standard input")
        return
    for number, line in enumerate(stream, 1):
        body = line.removesuffix(b"\n")
        if body.strip() or not (form.is_json or form.is_jsonl):
            yield _read(body, form, f"line {number}")


def _read(raw: bytes, form: Form, where: str) -> Item:
    try:
        if form.is_jsonl:
            return from_json(raw)
        if form.is_json:
            decode_json(raw)
    except BadInput as error:
        raise BadInput(f"{where}: {error.text}") from None
    return raw, {}
