"""``msgqueue put``: messages from the command line or from standard input.

Law: it ends with status 0 only when every message is confirmed; when it fails it says how many
of those before the failure are confirmed, so that the rest can be put again.
"""

from __future__ import annotations

from typing import Any

import click

from broker.cli.bodies import (
    STANDARD_INPUT,
    Form,
    content_options,
    read_items,
    require_one_form,
    with_content,
    with_form,
)
from broker.cli.connecting import Broker, with_broker
from broker.cli.output import JSON, with_output, write_json, write_line
from broker.cli.progress import Progress
from broker.cli.sending import Sending
from broker.cli.values import Duration, Instant
from broker.client.put_batch import PutResult


@click.command("put")
@click.argument("queue")
@click.argument("bodies", metavar="[BODY]...", nargs=-1)
@with_form
@with_content
@click.option("--priority", type=click.IntRange(0, 9), metavar="0-9", help="Higher first. [4]")
@click.option("--delay", type=Duration(), metavar="TIME", help="Ready after it, such as 30s.")
@click.option(
    "--at", type=Instant(), metavar="INSTANT", help="Ready then, such as 2026-01-31T12:00:00Z."
)
@click.option("--ttl", type=Duration(), metavar="TIME", help="It expires after it, such as 1h.")
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
    form, bodies = Form(whole, as_json, jsonl), () if bodies == STANDARD_INPUT else bodies
    require_one_form(form, bodies)
    _require_one_way(form, bodies, given)
    options = content_options(given, as_json) | _options(given)
    retry = ("queue_full",) if wait_for_room else ()
    put = _Put(output)
    with broker.client(retry=retry) as client:
        sending = Sending(client.queue(queue).put, put.note, "put")
        with Progress(f"putting into {queue}", wanted=not bodies) as progress:
            sending.send_all(read_items(bodies, form), progress, **options)
    if output != JSON:
        write_line(_summary(queue, sending.confirmed, put))


class _Put:
    """What is known of the puts that are confirmed."""

    def __init__(self, output: str) -> None:
        self._output = output
        self.duplicates = 0
        #: By which the message can be found, moved and cancelled; None when the broker told none.
        self.last_id: str | None = None

    def note(self, result: PutResult) -> None:
        if _was_there(result):
            self.duplicates += 1
        elif result.position is not None:
            self.last_id = f"{result.queue}:{result.position}"
        if self._output == JSON:
            write_json(_told(result))


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


def _summary(queue: str, confirmed: int, put: _Put) -> str:
    count = confirmed - put.duplicates
    text = f"put {count} message{'' if count == 1 else 's'} into {queue}"
    if count == 1 and put.last_id is not None:
        text = f"{text}, its id is {put.last_id}"
    if not put.duplicates:
        return text
    verb = "was" if put.duplicates == 1 else "were"
    return f"{text}; {put.duplicates} {verb} there already"


def _require_one_way(form: Form, bodies: tuple[str, ...], given: dict[str, Any]) -> None:
    if given["delay"] is not None and given["at"] is not None:
        raise click.UsageError("--delay and --at exclude each other")
    if given["message_id"] is not None and len(bodies) != 1 and not form.is_whole:
        raise click.UsageError("--id is of one message: give one BODY or --whole, or use --jsonl")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """What all messages have beside their content, in the words of the client."""
    seconds = {name: given[name] / 1000 for name in ("delay", "ttl") if given[name] is not None}
    plain = {
        "priority": given["priority"],
        "at": given["at"],
        "id": given["message_id"],
        "key": given["key"],
    }
    return seconds | {name: value for name, value in plain.items() if value is not None}
