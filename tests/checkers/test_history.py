"""Histories survive the way to a file and back, and the death of their writer."""

from __future__ import annotations

from pathlib import Path

from broker.testing.history import Event, Kind
from tests.checkers.history import Recorder, read_history


def test_an_event_reads_back_as_it_was_written() -> None:
    event = Event(17, Kind.DELIVERED, "consumer-1", ("a", "b"), (4, 5), (0, 2), 3)
    assert Event.from_line(event.to_line()) == event
    bare = Event(18, Kind.KILLED, "chaos")
    assert Event.from_line(bare.to_line()) == bare


def test_the_histories_of_several_writers_join_in_the_order_of_time(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    with Recorder(paths[0], "one") as one, Recorder(paths[1], "two") as two:
        one.record(Kind.PUT, ["a"])
        two.record(Kind.DELIVERED, ["a"], [0], [0])
        one.record(Kind.CONFIRMED, ["a"])
    told = [(event.actor, event.kind) for event in read_history(paths)]
    assert told == [("one", Kind.PUT), ("two", Kind.DELIVERED), ("one", Kind.CONFIRMED)]


def test_a_line_is_in_the_file_before_record_returns(tmp_path: Path) -> None:
    path = tmp_path / "history"
    with Recorder(path, "one") as recorder:
        recorder.record(Kind.PUT, ["a"])
        assert [event.ids for event in read_history([path])] == [("a",)]


def test_a_last_line_without_an_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history"
    with Recorder(path, "one") as recorder:
        recorder.record(Kind.PUT, ["a"])
    with path.open("a") as file:
        file.write('{"at_ns":1,"kind":"pu')
    assert len(read_history([path])) == 1
