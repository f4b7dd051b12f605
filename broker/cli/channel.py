"""``msgqueue channel``: channels as things: list, look, read, declare, change, delete."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import click

from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import NOTHING_THERE, NamedEnds
from broker.cli.events import event_writer
from broker.cli.messages import timestamp
from broker.cli.output import JSON, table, with_output, write_json, write_line, write_lines
from broker.cli.queue import require_yes
from broker.cli.queue_settings import duration
from broker.cli.values import Duration, Past, Size


@click.group("channel", cls=NamedEnds)
def channel_group() -> None:
    """List, look at, declare, change and delete channels; read their history."""


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--durable/--no-durable",
            "durable",
            default=None,
            help="On disk, or in memory only. [no-durable]",
        ),
        click.option(
            "--bytes",
            "history_bytes",
            type=Size(),
            metavar="SIZE",
            help="As much as fits in it. [64MiB; durable: 1GiB]",
        ),
        click.option(
            "--age", "history_age", type=Duration(), metavar="TIME", help="Of the last so long."
        ),
        click.option(
            "--history",
            type=click.IntRange(0),
            metavar="N",
            help="The last so many messages; 0 for none. [0]",
        ),
    ):
        command = option(command)
    return command


@channel_group.command("ls")
@click.argument("pattern", default=">")
@with_output
@with_broker
def ls_command(broker: Broker, pattern: str, output: str) -> None:
    """List the channels.

    All, or those that match PATTERN; the broker's own are '$sys.>'.  One without a history is
    there as long as it is used.  With -o json a line is one channel.
    """
    with broker.client() as client:
        found = client.channels(pattern)
    if output == JSON:
        for name, facts in found.items():
            write_json({"channel": name, **facts})
        return
    rows = [
        (
            name,
            facts["published"],
            f"{facts['rate']:.1f}",
            facts["subscriptions"],
            facts["next"] - facts["oldest"],
            facts["bytes"],
            _kept(facts.get("settings")),
        )
        for name, facts in found.items()
    ]
    header = ("CHANNEL", "PUBLISHED", "RATE/S", "SUBSCRIPTIONS", "KEPT", "BYTES", "HISTORY")
    write_lines(table(header, rows))


@channel_group.command("info")
@click.argument("channel")
@with_output
@with_broker
def info_command(broker: Broker, channel: str, output: str) -> None:
    """Tell how far a channel is, what it keeps, and who subscribes."""
    with broker.client() as client:
        facts = client.channel(channel).stats()
    if output == JSON:
        write_json({"channel": channel, **facts})
        return
    at = facts.get("at")
    lines = {
        "published": facts["published"],
        "rate": f"{facts['rate']:.1f} a second",
        "last published": None if at is None else timestamp(at / 1000),
        "subscriptions": facts["subscriptions"],
        "next sequence": facts["next"],
        "kept": f"{facts['next'] - facts['oldest']} messages, {facts['bytes']} bytes",
        "history": _kept(facts.get("settings")) or "none",
        "slot": facts["slot"],
        "epoch": facts["epoch"],
    }
    rows = [(f"  {name}", value) for name, value in lines.items()]
    write_lines([channel, "", *table(("", ""), rows)[1:]])


@channel_group.command("history")
@click.argument("channel")
@click.option("--after", type=click.IntRange(0), metavar="SEQUENCE", help="What came behind it.")
@click.option(
    "--since", type=Past(), metavar="TIME", help="From an instant on, or of the last 10m."
)
@click.option(
    "--max", "count_max", type=click.IntRange(1), metavar="N", help="End after so many messages."
)
@click.option("--last", is_flag=True, help="The newest message alone.")
@click.option("--raw", is_flag=True, help="Bodies as they are, with no newline after each.")
@with_output
@with_broker
def history_command(
    broker: Broker,
    channel: str,
    after: int | None,
    since: float | None,
    count_max: int | None,
    last: bool,
    raw: bool,
    output: str,
) -> int:
    """Print what a channel keeps, in order.

    A body is a line.  The exit status is 4 when there was nothing.

    \b
    Examples:
      msgqueue channel history prices.gold
      msgqueue channel history prices.gold --last
      msgqueue channel history logs.app --since 10m -o json
    """
    if last and (after, since, count_max) != (None, None, None):
        raise click.UsageError("--last goes with none of --after, --since and --max")
    write = event_writer(output, raw, (channel,))
    with broker.client() as client:
        found = client.channel(channel)
        newest = found.last() if last else None
        kept = () if last else found.history(after, since=since, max=count_max)
        count = 0
        for event in chain(() if newest is None else (newest,), kept):
            write(event)
            count += 1
    return 0 if count else NOTHING_THERE


@channel_group.command("declare")
@click.argument("channel")
@_with_settings
@with_output
@with_broker
def declare_command(broker: Broker, channel: str, output: str, **options: Any) -> None:
    """Make a channel that keeps a history.

    The nearest of the bounds decides.  One that is there with the same settings is left as it is;
    one that is there with others is an error, settings_mismatch: `channel update` changes it.

    \b
    Examples:
      msgqueue channel declare prices.gold --history 1000
      msgqueue channel declare logs.app --age 24h --durable
    """
    settings = _given(options)
    with broker.client() as client:
        now = client.channel(channel, **(settings or {"history": 0})).stats().get("settings")
    _tell_settings(output, f"{channel} is declared", channel, now)


@channel_group.command("update")
@click.argument("channel")
@_with_settings
@with_output
@with_broker
def update_command(broker: Broker, channel: str, output: str, **options: Any) -> None:
    """Change how much a channel keeps, while it runs.

    What is not given stays.

    \b
    Examples:
      msgqueue channel update prices.gold --history 5000
    """
    settings = _given(options)
    if not settings:
        raise click.UsageError("nothing to change: name a setting, such as --history 1000")
    with broker.client() as client:
        now = client.channel(channel).update(**settings)
    _tell_settings(output, f"{channel} is changed", channel, now)


@channel_group.command("delete")
@click.argument("channel")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_output
@with_broker
def delete_command(broker: Broker, channel: str, yes: bool, output: str) -> None:
    """Delete a channel with what it keeps.

    Subscriptions stay: they get what is published there again.
    """
    with broker.client() as client:
        found = client.channel(channel)
        facts = found.stats()
        kept = facts["next"] - facts["oldest"]
        require_yes(yes, f"delete {channel}, which keeps {kept} messages")
        count = found.delete()
    if output == JSON:
        write_json({"channel": channel, "removed": count})
    else:
        write_line(f"{channel} is deleted, with {count} messages")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """In the words of the client, which takes seconds."""
    settings = {name: value for name, value in options.items() if value is not None}
    if "history_age" in settings:
        settings["history_age"] /= 1000
    return settings


def _kept(settings: dict[str, Any] | None) -> str:
    """The settings of a history in a few words; "" for none."""
    if settings is None or settings["history_messages"] == 0:
        return ""
    bounds = [
        text
        for text, value in (
            (f"{settings['history_messages']} messages", settings["history_messages"]),
            (duration(settings["history_ms"] or 0), settings["history_ms"]),
            (f"{settings['history_bytes']} bytes", settings["history_bytes"]),
        )
        if value is not None
    ]
    return f"{', '.join(bounds)}{', durable' if settings['durable'] else ''}"


def _tell_settings(output: str, text: str, channel: str, settings: dict[str, Any] | None) -> None:
    if output == JSON:
        write_json({"channel": channel, "settings": settings})
    else:
        write_line(f"{text}, with {_kept(settings) or 'no history'}")
