"""Bodies from the command line or from standard input, for ``put``, ``pub`` and ``call``.

Law: what is not well formed is named with its place: ``line 3``, ``body 1``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import click

from broker.cli.messages import decode_json, from_json
from broker.cli.values import Header
from broker.client import content
from broker.errors import BadInput

#: A body and the options of its put.
Item = tuple[Any, dict[str, Any]]

#: The one BODY that stands for standard input.
STANDARD_INPUT = ("-",)


class Form(NamedTuple):
    """How bodies are read."""

    is_whole: bool
    is_json: bool
    is_jsonl: bool


def with_form(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command ``whole``, ``as_json`` and ``jsonl``."""
    for option in (
        click.option("--jsonl", is_flag=True, help="Each line is an object with body and so on."),
        click.option(
            "--json", "as_json", is_flag=True, help="Bodies are JSON; checked, marked so."
        ),
        click.option(
            "--whole", is_flag=True, help="Standard input is one message, not one a line."
        ),
    ):
        command = option(command)
    return command


def with_content(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command ``headers``, ``kind`` and ``content_type``."""
    for option in (
        click.option("--content-type", metavar="TYPE", help="Of the body, such as text/plain."),
        click.option("--type", "kind", metavar="TEXT", help="What kind of message it is."),
        click.option(
            "--header",
            "headers",
            type=Header(),
            multiple=True,
            metavar="NAME=VALUE",
            help="Repeatable.",
        ),
    ):
        command = option(command)
    return command


def content_options(given: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """What ``with_content`` was given, in the words of the client."""
    plain = {
        "headers": dict(given["headers"]) or None,
        "type": given["kind"],
        "content_type": given["content_type"] or (content.JSON if as_json else None),
    }
    return {name: value for name, value in plain.items() if value is not None}


def require_one_form(form: Form, bodies: tuple[str, ...]) -> None:
    if sum(form) > 1 and not (form.is_whole and form.is_json and not form.is_jsonl):
        raise click.UsageError("--jsonl goes with neither --json nor --whole")
    if bodies and form.is_whole:
        raise click.UsageError("--whole reads standard input, and a BODY is given")


def read_items(bodies: tuple[str, ...], form: Form) -> Iterator[Item]:
    """Of the words, or of standard input where there are none."""
    return _from_words(bodies, form) if bodies else _from_input(sys.stdin.buffer, form)


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
