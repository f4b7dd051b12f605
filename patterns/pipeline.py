"""Stages between queues: what a stage makes of a message appears once, as if it never failed.

    def resize(message: Message) -> Iterator[Output]:
        yield Output(thumbnail(message.body), to="thumbnails")

    Stage(mq, "photos", resize).run()                    # until SIGTERM or Ctrl-C

For each message the function gives what is to be put, nothing for one that ends here, or raises to
have it tried again.  The message is settled and its outputs are put in one transaction, so a stage
that is killed leaves both done or neither: the function runs again, its outputs appear once.

Law: exactly once from queue to queue.  What the function does besides (files, databases, e-mail)
happens as often as it runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from broker.client.content import Headers
from broker.client.message import Message, MessageBatch
from broker.client.sync_client import Client
from broker.client.transaction import Gathered, Transaction
from broker.errors import LeaseLost, WaitTimeout
from patterns.work_queue import POLL_S, retry_of, stopped_by_signals

log = logging.getLogger("msgqueue.pipeline")

BATCH_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class Output:
    """One message for the queue ``to``."""

    body: Any
    to: str
    headers: Headers | None = None
    key: str | None = None
    type: str | None = None
    content_type: str | None = None
    delay: float | None = None
    priority: int | None = None

    def put(self, tx: Gathered) -> None:
        tx.put(
            self.to,
            self.body,
            self.headers,
            key=self.key,
            type=self.type,
            content_type=self.content_type,
            delay=self.delay,
            priority=self.priority,
        )


#: May raise ``work_queue.Retry`` and ``work_queue.Reject``.
Function = Callable[[Message], Iterable[Output]]


class Stage:
    """Takes from ``queue``, ``batch`` messages at most to a transaction.

    Stages of one queue share its messages: start as many processes as there is work for.
    """

    def __init__(
        self,
        mq: Client,
        queue: str,
        function: Function,
        *,
        batch: int = BATCH_DEFAULT,
        lease: float | None = None,
    ) -> None:
        self._mq = mq
        self._queue = mq.queue(queue)
        self._function = function
        self._batch = batch
        self._lease = lease
        self._is_stopping = False

    def stop(self) -> None:
        """Ends ``run`` after the transaction under way; from any thread or signal handler."""
        self._is_stopping = True

    def run(self) -> None:
        """Works until ``stop``, SIGTERM or Ctrl-C; raises what the client raises."""
        with stopped_by_signals(self.stop):
            while not self._is_stopping:
                self.run_until_idle(POLL_S)

    def run_until_idle(self, timeout: float = 1.0) -> None:
        """Works until nothing has come for ``timeout`` seconds."""
        batches = self._queue.consume_batches(self._batch, lease=self._lease, timeout=timeout)
        with closing(batches):
            for batch in batches:
                self._carry_on(batch)
                if self._is_stopping:
                    break
        self._mq.flush()

    def _carry_on(self, batch: MessageBatch) -> None:
        tx = self._mq.transaction()
        for message in batch:
            outputs = self._outputs(message)
            if outputs is not None:
                with suppress(LeaseLost):
                    tx.ack(message)
                    for output in outputs:
                        output.put(tx)
        try:
            _commit(tx)
        except LeaseLost as error:
            # Nothing has happened.  Somebody else has one of them, the others are for anybody.
            log.warning("a transaction was refused: %s", error)
            batch.nack(charge=False)

    def _outputs(self, message: Message) -> list[Output] | None:
        """None for a message that failed, which goes back."""
        try:
            return list(self._function(message))
        except Exception as error:
            again = retry_of(error, message)
            with suppress(LeaseLost):
                if again is None:
                    message.reject()
                else:
                    message.nack(again.delay, again.charge)
            return None


def _commit(tx: Transaction) -> None:
    """Until it is known: a transaction that is not answered yet may still happen."""
    while True:
        try:
            tx.commit()
        except WaitTimeout as error:
            log.warning("%s", error)
        else:
            return
