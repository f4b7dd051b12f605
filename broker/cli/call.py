"""``msgqueue call``: one request to a service, and its answer on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click

from broker.cli.bodies import STANDARD_INPUT, content_options, with_content
from broker.cli.connecting import Broker, with_broker
from broker.cli.ending import FAILED, tell
from broker.cli.messages import as_plain, body_fields, decode_json
from broker.cli.output import JSON, with_output, write_bytes, write_json
from broker.client.content import BYTES
from broker.client.services.answer import Answer
from broker.client.sync_client import Client
from broker.errors import HandlerFailed


@click.command("call")
@click.argument("service")
@click.argument("body", required=False)
@click.option("--json", "as_json", is_flag=True, help="BODY is JSON; checked and marked so.")
@with_content
@click.option("--idempotent", is_flag=True, help="It may be carried out more than once.")
@click.option("--stream", is_flag=True, help="Take the answer in parts.")
@click.option("--all", "is_scattered", is_flag=True, help="Ask all workers, print what they say.")
@click.option("--raw", is_flag=True, help="Answers as they are, with no newline after each.")
@with_output
@with_broker
def call_command(
    broker: Broker,
    service: str,
    body: str | None,
    as_json: bool,
    idempotent: bool,
    stream: bool,
    is_scattered: bool,
    raw: bool,
    output: str,
    **given: Any,
) -> int:
    """Ask a service and print its answer.

    BODY is the request; - reads it from standard input.  --timeout is also how long the answer may
    take.  Nobody serves: no_responder.  No answer in time: call_timeout, and status 3.  With --all
    it prints what came in time, and the status is 1 when a worker failed.

    \b
    Examples:
      msgqueue call sum --json '[1, 2, 3]'
      msgqueue call thumbnail - --raw --timeout 30s < photo.jpg > small.jpg
      msgqueue call status --all -o json
    """
    if is_scattered and (stream or idempotent):
        raise click.UsageError("--all goes with neither --stream nor --idempotent")
    content: dict[str, Any] = content_options(given, as_json)
    content |= {"body": _read_body(body, as_json), "timeout": broker.timeout}
    with broker.client() as client:
        try:
            if is_scattered:
                answers: Iterable[Answer] = client.scatter(service, **content)
            else:
                answers = _ask(client, service, content, idempotent, stream)
            return _print(answers, output, raw)
        except HandlerFailed as error:
            raise HandlerFailed(_told(error), error.remote_error) from None


def _ask(
    client: Client, service: str, content: dict[str, Any], idempotent: bool, stream: bool
) -> Iterable[Answer]:
    if stream:
        return client.call(service, **content, idempotent=idempotent, stream=True)
    return (client.call(service, **content, idempotent=idempotent),)


def _read_body(body: str | None, as_json: bool) -> bytes:
    if (body,) == STANDARD_INPUT:
        raw = sys.stdin.buffer.read()
    else:
        raw = (body or "").encode("utf-8", "surrogateescape")
    if as_json:
        decode_json(raw)
    return raw


def _print(answers: Iterable[Answer], output: str, raw: bool) -> int:
    """Workers that failed are told on standard error, or in their line of JSON."""
    status = 0
    for answer in answers:
        error = answer.error
        if error is not None:
            status = FAILED
        if output == JSON:
            write_json(_as_json(answer))
        elif error is not None:
            tell(error.name, _told(error) if isinstance(error, HandlerFailed) else error.text)
        else:
            write_bytes(answer.raw + (b"" if raw else b"\n"))
    return status


def _as_json(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {} if answer.worker is None else {"worker": answer.worker}
    if answer.error is not None:
        return told | {"error": answer.error.name, "text": answer.error.text}
    for name in ("type", "content_type"):
        if getattr(answer, name) is not None:
            told[name] = getattr(answer, name)
    if answer.headers:
        told["headers"] = as_plain(answer.headers)
    return told | body_fields(answer.raw, answer.content_type or BYTES)


def _told(error: HandlerFailed) -> str:
    """With the worker's own name for it."""
    return f"{error.remote_error}: {error.text}" if error.remote_error else error.text
