"""``msgqueue pub``: messages into a channel.

Law: it ends with status 0 only when the broker has taken every message.  That nobody subscribes is
no failure; it is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from broker.cli.bodies import (
    STANDARD_INPUT,
    Form,
    Item,
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
from broker.client.channels.publishing import PublishResult
from broker.errors import BadInput

#: What a message of a channel can have beside its body.
_OPTIONS = frozenset({"headers", "type", "content_type", "key"})


@click.command("pub")
@click.argument("channel")
@click.argument("bodies", metavar="[BODY]...", nargs=-1)
@with_form
@with_content
@click.option("--key", metavar="KEY", help="Goes along, for subscribers and bound queues.")
@with_output
@with_broker
def pub_command(
    broker: Broker,
    channel: str,
    bodies: tuple[str, ...],
    whole: bool,
    as_json: bool,
    jsonl: bool,
    key: str | None,
    output: str,
    **given: Any,
) -> None:
    """Publish messages to a channel.

    Each BODY is a message.  Without one, or with - for it, each line of standard input is.  Who
    subscribes gets them, and every queue that is bound; it tells to how many subscriptions the
    last one went.

    \b
    Examples:
      msgqueue pub news.de 'hello'
      msgqueue pub prices.gold --json '{"eur": 71.2}' --header unit=gram
      tail -F app.log | msgqueue pub logs.app
      msgqueue sub 'news.>' -o json | msgqueue pub archive --jsonl

    A line of --jsonl has body (or body_base64), and may have headers, type, content_type, key.
    With -o json one line a message tells its sequence, and to how many subscriptions it went.
    """
    form, bodies = Form(whole, as_json, jsonl), () if bodies == STANDARD_INPUT else bodies
    require_one_form(form, bodies)
    options = content_options(given, as_json) | ({} if key is None else {"key": key})
    published = _Published(output)
    with broker.client() as client:
        sending = Sending(client.channel(channel).publish, published.note, "published")
        with Progress(f"publishing to {channel}", wanted=not bodies) as progress:
            sending.send_all(_plain_items(read_items(bodies, form)), progress, **options)
    if output != JSON:
        write_line(_summary(channel, sending.confirmed, published.subscriptions))


class _Published:
    def __init__(self, output: str) -> None:
        self._output = output
        self.subscriptions = 0

    def note(self, result: PublishResult) -> None:
        self.subscriptions = result.subscriptions
        if self._output == JSON:
            write_json(result._asdict())


def _plain_items(items: Iterator[Item]) -> Iterator[Item]:
    for number, (body, options) in enumerate(items, 1):
        others = sorted(options.keys() - _OPTIONS)
        if others:
            raise BadInput(f"message {number}: {others[0]!r} is nothing that a channel's have")
        yield body, options


def _summary(channel: str, count: int, subscriptions: int) -> str:
    messages = "1 message" if count == 1 else f"{count} messages"
    to = "1 subscription" if subscriptions == 1 else f"{subscriptions} subscriptions"
    return f"published {messages} to {channel}, which goes to {to}"
