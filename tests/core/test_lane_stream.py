"""A lane read in order: handed out, cut, skipped."""

from __future__ import annotations

from broker.core.books.lane_stream import LaneStream
from broker.model.stored_batch import StoredBatch


def batch(first: int, count: int) -> StoredBatch:
    return StoredBatch(5, first, count, 0, 0, b"", b"", b"x" * (10 * count))


def stream(*batches: StoredBatch) -> LaneStream:
    made = LaneStream(5, 0)
    for one in batches:
        made.append(one, one.first, one.count)
    return made


def parts(made: LaneStream) -> list[tuple[int, int]]:
    return [(first, count) for _, first, count in made.window]


def test_a_part_of_the_head_may_be_handed_out() -> None:
    made = stream(batch(0, 5), batch(5, 3))
    made.advance(2)
    assert parts(made) == [(2, 3), (5, 3)]
    assert (made.position, made.handed_to) == (0, 2)
    made.advance(3)
    assert (made.position, made.handed_to, made.window_bytes) == (5, 5, 30)
    made.advance(3)
    assert (made.position, made.handed_to, made.window_bytes) == (8, 8, 0)


def test_cutting_takes_positions_out_of_the_middle() -> None:
    made = stream(batch(0, 5), batch(5, 5))
    made.cut(3, 4)
    assert parts(made) == [(0, 3), (7, 3)]


def test_skipping_keeps_what_was_put_behind_the_mark() -> None:
    made = stream(batch(0, 5), batch(5, 5))
    made.complete = True
    made.skip_to(5)
    assert parts(made) == [(5, 5)]
    assert (made.loaded_to, made.complete, made.window_bytes) == (10, True, 50)


def test_skipping_beyond_the_window_reads_from_there() -> None:
    made = stream(batch(0, 5))
    made.complete = True
    made.skip_to(20)
    assert (parts(made), made.loaded_to, made.complete) == ([], 20, False)
