"""How a command finds its broker: ``--connect``, ``--timeout``, and the client that they make.

Law: what goes wrong behind a command's back, such as a lost lease, fails the command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import click

from broker.cli.values import Duration
from broker.client.options import addresses_of
from broker.client.sync_client import Client
from broker.client.sync_queue import Queue
from broker.errors import BadField, MsgQueueError

VARIABLE = "MSGQUEUE_CONNECT"
ADDRESS = "tcp://127.0.0.1:5570"


class Broker(NamedTuple):
    """Where it is, and how long to wait for an answer, in seconds."""

    address: str
    timeout: float

    @contextmanager
    def client(self, *, retry: Iterable[str] = ()) -> Iterator[Client]:
        """A connected client; raises ConnectionLost, at its end also what went wrong unseen."""
        troubles: list[MsgQueueError] = []
        # Its warnings are told by this command in its own form.
        logging.getLogger("msgqueue.client").disabled = True
        with Client(
            self.address,
            name="msgqueue",
            connect_timeout=self.timeout,
            request_timeout=self.timeout,
            put_timeout=None if retry else self.timeout,
            retry=retry,
            on_error=troubles.append,
        ) as client:
            yield client
        for trouble in troubles:
            raise trouble


def with_broker(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command ``broker``: where to connect, and how long to wait."""

    @click.option(
        "--connect",
        metavar="URL[,URL]",
        envvar=VARIABLE,
        default=ADDRESS,
        callback=_require_addresses,
        help=f"The broker, or several of a cluster. [{VARIABLE}; default: {ADDRESS}]",
    )
    @click.option(
        "--timeout",
        metavar="TIME",
        type=Duration(),
        default="10s",
        help="Give up when no broker answers for so long. [default: 10s]",
    )
    @wraps(command)
    def with_address(connect: str, timeout: int, **options: Any) -> Any:
        return command(broker=Broker(connect, timeout / 1000), **options)

    return with_address


def _require_addresses(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    try:
        addresses_of(text)
    except BadField as error:
        raise click.BadParameter(error.text) from None
    return text


def require_queue(client: Client, name: str) -> Queue:
    """The queue, which must be there: asking for messages would declare it, and hide a typing
    error; raises QueueNotFound."""
    queue = client.queue(name)
    queue.stats()
    return queue
