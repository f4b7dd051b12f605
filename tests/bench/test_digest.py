"""The digest that decides whether a benchmark's run counts."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("numpy", reason="the benchmark needs its extra")

from bench.bodies import POOL_MESSAGES, Digest, chunks, make_pool
from bench.duel import fault_of
from bench.sides import Side


def digest_of(bodies: list[bytes], batch: int = 100) -> Digest:
    digest = Digest()
    for chunk in chunks(bodies, batch):
        digest.add(chunk)
    return digest


def confirmed(messages: int) -> Digest:
    digest = Digest()
    digest.add_pool(messages)
    return digest


def test_bodies_in_the_order_of_the_pool_are_what_was_put() -> None:
    bodies = [*make_pool(), *make_pool()[:70]]
    assert digest_of(bodies, batch=33) == confirmed(POOL_MESSAGES + 70)


def test_neither_order_nor_batch_borders_change_a_digest() -> None:
    bodies = [*make_pool(), *make_pool()[:70]]
    random.Random(1).shuffle(bodies)
    assert digest_of(bodies, batch=77) == confirmed(POOL_MESSAGES + 70)


def test_merged_digests_are_equal_to_one_that_took_in_all() -> None:
    merged = confirmed(300)
    merged.merge(confirmed(POOL_MESSAGES))
    together = confirmed(300)
    together.add_pool(POOL_MESSAGES)
    assert merged == together


def test_a_body_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="1 bodies hold 3 bytes"):
        Digest().add([b"abc"])


def test_a_lost_message_is_a_fault() -> None:
    lossy = Side(digest=digest_of(list(make_pool()[:99])))
    assert fault_of(Side(digest=confirmed(100)), lossy) == "confirmed 100 messages, consumed 99"


def test_a_doubled_message_in_place_of_a_lost_one_is_a_fault() -> None:
    bodies = list(make_pool()[:100])
    bodies[17] = bodies[18]
    fault = fault_of(Side(digest=confirmed(100)), Side(digest=digest_of(bodies)))
    assert fault == "the consumed bodies are not the confirmed ones"


def test_a_changed_message_is_a_fault() -> None:
    bodies = list(make_pool()[:100])
    bodies[99] = bytes(reversed(bodies[99]))
    fault = fault_of(Side(digest=confirmed(100)), Side(digest=digest_of(bodies)))
    assert fault == "the consumed bodies are not the confirmed ones"
