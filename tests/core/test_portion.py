"""Parts of deliveries weigh what their messages weigh."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.books.portion import Portion
from broker.model.stored_batch import StoredBatch

BATCHES = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 90)), min_size=1, max_size=6)


@given(BATCHES, st.data())
def test_each_message_weighs_the_same_in_whatever_portion(
    shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    batches: list[StoredBatch] = []
    for count, size in shapes:
        first = batches[-1].end if batches else 0
        batches.append(StoredBatch(5, first, count, 0, 0, b"", b"", b"x" * size))
    weight = {p: b.bytes_between(p, 1) for b in batches for p in range(b.first, b.end)}
    start = data.draw(st.integers(0, batches[0].count - 1))
    portion = Portion.of_batch(batches[0], start, batches[0].count - start, 0)
    for batch in batches[1:]:
        assert portion.try_join(batch, batch.first, batch.count)
    for _ in range(4):
        end = portion.first + portion.count
        assert portion.size == sum(weight[p] for p in range(portion.first, end))
        first = data.draw(st.integers(portion.first, end - 1))
        portion = portion.part(first, data.draw(st.integers(1, end - first)), 0)


def test_messages_with_another_end_of_life_do_not_join() -> None:
    portion = Portion.of_batch(StoredBatch(5, 0, 2, 0, 9, b"", b"", b"xx"), 0, 2, 0)
    assert not portion.try_join(StoredBatch(5, 2, 2, 0, 8, b"", b"", b"xx"), 2, 2)
    assert not portion.try_join(StoredBatch(5, 3, 2, 0, 9, b"", b"", b"xx"), 3, 2)
