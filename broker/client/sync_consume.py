"""Iterations over what a consumer is given, one message or one batch at a time.

Owns the end of an iteration: what was not looked at goes back, what is gathered is sent.
"""

from __future__ import annotations

from collections.abc import Generator

from broker.client.consumer import Consumer
from broker.client.delivery import LOST, Part
from broker.client.message import Message, MessageBatch
from broker.client.sync_calls import SyncCalls
from broker.client.view import without_lost


def iterate(
    calls: SyncCalls, consumer: Consumer, timeout: float | None, limit: int | None
) -> Generator[Message, None, None]:
    """Messages until ``limit``, or until ``timeout`` seconds brought none."""
    parts: list[Part] = []
    run, index, stop = None, 0, 0
    # Counts down to 0; without a limit it begins below.
    left = -1 if limit is None else limit
    try:
        while left:
            share = max(consumer.window.size // 4, 1)
            parts = calls.take(consumer, share if left < 0 else min(share, left), timeout)
            if not parts:
                return
            parts.reverse()
            while parts:
                run, start, stop = parts.pop()
                marks = run.marks
                for index in range(start, stop):
                    if marks[index] != LOST:
                        left -= 1
                        yield Message(calls, run, index)
    finally:
        # The loop stands at ``index``: what comes after it was never seen.
        if run is not None:
            parts.append((run, index + 1, stop))
        calls.leave(consumer, reversed(parts))


def iterate_batches(
    calls: SyncCalls, consumer: Consumer, count_max: int, timeout: float | None
) -> Generator[MessageBatch, None, None]:
    """Batches of what is there, up to ``count_max`` messages each."""
    try:
        while parts := calls.take(consumer, count_max, timeout):
            kept = without_lost(parts)
            if kept:
                yield MessageBatch(calls, kept)
    finally:
        calls.leave(consumer, ())
