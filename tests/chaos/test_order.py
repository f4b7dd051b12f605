"""A quiet broker's queue is first in, first out, judged by what its clients saw and when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack

from tests.chaos.wire import Wire
from tests.checkers.fifo import Operation, check_fifo
from tests.support.broker_process import BrokerProcess

PUTS = 300
TAKES = 400


def put_values(endpoint: str, name: str) -> list[Operation]:
    """One value at a time, each confirmed before the next."""
    done: list[Operation] = []
    with Wire(endpoint) as wire:
        wire.ask("hello", client=name)
        for number in range(PUTS):
            value = f"{name}-{number}"
            called_at = time.monotonic()
            reply = wire.ask("put", msgpack.packb([value.encode()]), queue="order", count=1)
            assert reply.header["re"] == "ok"
            done.append(Operation(value, called_at, time.monotonic()))
    return done


def take_values(endpoint: str, name: str) -> list[Operation]:
    """One value at a time, whether there is one or not, removed before it is delivered."""
    done: list[Operation] = []
    with Wire(endpoint) as wire:
        wire.ask("hello", client=name)
        for _ in range(TAKES):
            called_at = time.monotonic()
            reply = wire.ask("get", queue="order", max=1, auto_ack=True)
            bodies: list[bytes] = msgpack.unpackb(reply.frames[-1])
            value = bodies[0].decode() if bodies else None
            done.append(Operation(value, called_at, time.monotonic()))
    return done


def joined(parts: Sequence[list[Operation]]) -> list[Operation]:
    return [operation for part in parts for operation in part]


def test_two_producers_and_two_consumers_see_one_first_in_first_out_queue(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path) as broker, ThreadPoolExecutor() as pool:
        putting = [pool.submit(put_values, broker.endpoint, f"p{i}") for i in range(2)]
        taking = [pool.submit(take_values, broker.endpoint, f"c{i}") for i in range(2)]
        puts = joined([future.result() for future in putting])
        takes = joined([future.result() for future in taking])
    verdict = check_fifo(puts, takes)
    assert verdict.valid, str(verdict)
    assert verdict.counts["puts"] == 2 * PUTS
    assert verdict.counts["takes"] > 0
