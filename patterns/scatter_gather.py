"""Ask many workers the same, and go on with what came by a deadline.

    quotes = ask_all(mq, "quotes", {"item": 17}, timeout=0.5)
    best = min(quotes.values, key=lambda quote: quote["price"])

Whoever serves the name answers for itself; see ``Client.serve``.  ``quotes.errors`` are those whose
handler failed, ``quotes.missing`` counts those who said nothing in time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.client.async_client import AsyncClient
from broker.client.services.answer import Answer
from broker.client.sync_client import Client
from broker.errors import MsgQueueError


class Collected(NamedTuple):
    """``values`` stand in the order in which they came."""

    values: list[Any]
    errors: list[MsgQueueError]
    #: Workers that had not answered at the deadline; 0 when ``enough`` had.
    missing: int


def ask_all(
    mq: Client,
    service: str,
    question: Any,
    *,
    timeout: float,
    workers: int | None = None,
    enough: int | None = None,
) -> Collected:
    """Asks all workers, or so many; it ends early when ``enough`` of them gave a value.

    Raises NoResponder when nobody serves the name.
    """
    collected = Collected([], [], 0)
    with mq.scatter(service, question, workers=workers, timeout=timeout) as answers:
        for answer in answers:
            _take(answer, collected)
            if len(collected.values) == enough:
                return collected
    return _complete(collected, answers.asked)


async def ask_all_async(
    mq: AsyncClient,
    service: str,
    question: Any,
    *,
    timeout: float,  # noqa: ASYNC109
    workers: int | None = None,
    enough: int | None = None,
) -> Collected:
    """As ``ask_all``, with an ``AsyncClient``."""
    collected = Collected([], [], 0)
    async with await mq.scatter(service, question, workers=workers, timeout=timeout) as answers:
        async for answer in answers:
            _take(answer, collected)
            if len(collected.values) == enough:
                return collected
    return _complete(collected, answers.asked)


def _take(answer: Answer, collected: Collected) -> None:
    if answer.error is None:
        collected.values.append(answer.body)
    else:
        collected.errors.append(answer.error)


def _complete(collected: Collected, asked: int | None) -> Collected:
    came = len(collected.values) + len(collected.errors)
    return collected._replace(missing=(asked or came) - came)
