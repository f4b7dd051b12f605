"""Settles gathered for one tag, and the runs they concern."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.client.codec import decode_reply, encode_value
from broker.client.delivery import LOST, SETTLED, TAKEN, Run, read_runs
from broker.client.exchange import Exchange
from broker.client.ledger import ACK, REJECT, Ledger, SettleKind, merge
from broker.client.routes import Route
from broker.errors import LeaseLost, NotAnEnvelope


def make_ledger() -> Ledger:
    exchange = Exchange()
    return Ledger(Route("q", exchange, 0), exchange, b"tag", None, None)


def make_run(ledger: Ledger, first: int, count: int, attempts: int = 0) -> Run:
    fields = {"first": first, "count": count, "attempts": attempts}
    run = Run(ledger, fields, [b"x"] * count, 0, {})
    ledger.runs.add(run)
    return run


def test_acks_in_order_become_one_range() -> None:
    ledger = make_ledger()
    run = make_run(ledger, 10, 5)
    assert [ledger.ack(run, index) for index in range(5)] == [1, 2, 3, 4, 5]
    assert list(ledger.take()) == [(ACK, [(10, 5, 0)])]


def test_ranges_with_other_attempts_stay_apart() -> None:
    ledger = make_ledger()
    once, again = make_run(ledger, 0, 2), make_run(ledger, 2, 1, attempts=1)
    for run, index in ((once, 0), (once, 1), (again, 0)):
        ledger.ack(run, index)
    assert list(ledger.take()) == [(ACK, [(0, 2, 0), (2, 1, 1)])]


def test_each_kind_of_settle_is_a_command_of_its_own() -> None:
    ledger = make_ledger()
    run = make_run(ledger, 0, 4)
    late = SettleKind("nack", delay_ms=5_000)
    for kind, index in ((ACK, 0), (REJECT, 1), (late, 2), (late, 3)):
        ledger.settle(kind, run, index)
    assert dict(ledger.take()) == {
        ACK: [(0, 1, 0)],
        REJECT: [(1, 1, 0)],
        late: [(2, 2, 0)],
    }


def test_a_command_has_at_most_2048_ranges() -> None:
    ledger = make_ledger()
    run = make_run(ledger, 0, 6_000)
    for index in range(0, 6_000, 2):
        ledger.ack(run, index)
    assert [len(ranges) for _, ranges in ledger.take()] == [1_024, 1_024, 952]


def test_settling_parts_leaves_out_what_is_settled_already() -> None:
    ledger = make_ledger()
    run = make_run(ledger, 0, 10)
    ledger.ack(run, 4)
    assert ledger.settle_parts(ACK, [(run, 2, 8)]) == 5
    assert list(ledger.take()) == [(ACK, [(2, 6, 0)])]
    assert ledger.held() == [(0, 2, 0), (8, 2, 0)]


@pytest.mark.parametrize("mark", [SETTLED, LOST])
def test_a_message_is_settled_once(mark: int) -> None:
    ledger = make_ledger()
    run = make_run(ledger, 0, 1)
    run.marks[0] = mark
    with pytest.raises(LeaseLost):
        ledger.ack(run, 0)
    with pytest.raises(LeaseLost):
        ledger.settle(REJECT, run, 0)


def test_an_auto_acked_message_takes_an_ack_and_refuses_a_nack() -> None:
    ledger = make_ledger()
    run = make_run(ledger, 0, 1)
    run.marks[0] = TAKEN
    assert ledger.ack(run, 0) == 0
    with pytest.raises(LeaseLost):
        ledger.settle(SettleKind("nack"), run, 0)
    assert list(ledger.take()) == []


def test_runs_that_nobody_holds_any_more_are_forgotten() -> None:
    ledger = make_ledger()
    kept = make_run(ledger, 0, 1)
    make_run(ledger, 1, 1)
    assert ledger.held() == [(0, 1, 0)]
    assert kept.count == 1


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), unique_by=lambda p: p[0]))
def test_merging_keeps_every_position_and_no_two_ranges_touch(
    positions: list[tuple[int, int]],
) -> None:
    merged = merge([(position, 1, attempts) for position, attempts in positions])
    spread = [(p, attempts) for first, n, attempts in merged for p in range(first, first + n)]
    assert sorted(spread) == sorted(positions)
    for (first, count, attempts), (next_first, _, next_attempts) in pairwise(merged):
        assert first + count < next_first or attempts != next_attempts


@given(st.permutations(range(12)), st.integers(0, 12))
def test_what_is_acked_and_what_is_held_share_out_a_run(order: list[int], acked: int) -> None:
    ledger = make_ledger()
    run = make_run(ledger, 100, 12)
    for index in order[:acked]:
        ledger.ack(run, index)
    held = [p for first, n, _ in ledger.held() for p in range(first, first + n)]
    gone = [
        p for _, ranges in ledger.take() for first, n, _ in ranges for p in range(first, first + n)
    ]
    assert sorted(held + gone) == list(range(100, 112))
    assert sorted(gone) == sorted(100 + index for index in order[:acked])


def test_shares_of_a_runs_bytes_add_up() -> None:
    run = make_run(make_ledger(), 0, 7)
    run.size = 1_000
    borders = [0, 2, 3, 7]
    shares = [run.bytes_between(a, b) for a, b in pairwise(borders)]
    assert sum(shares) == 1_000


@pytest.mark.parametrize(
    "runs",
    [
        [{"first": 0, "count": 3}],
        [{"first": 0}],
        [{"first": 0, "count": "2"}],
        [{"first": 0, "count": -1}, {"first": 0, "count": 3}],
        7,
        [7],
    ],
)
def test_a_delivery_that_contradicts_itself_is_no_delivery(runs: object) -> None:
    header = encode_value({"v": 1, "re": "messages", "runs": runs})
    reply = decode_reply([header, encode_value([b"a", b"b"])])
    with pytest.raises(NotAnEnvelope):
        read_runs(reply, make_ledger())


def test_the_runs_of_one_delivery_share_out_its_messages() -> None:
    runs = [{"first": 5, "count": 1}, {"first": 9, "count": 2, "attempts": 1}]
    header = encode_value({"v": 1, "re": "messages", "runs": runs})
    batch = encode_value([b"a", b"b", b"c"])
    one, two = read_runs(decode_reply([header, batch]), make_ledger())
    assert (one.offset, one.count, two.offset, two.attempts) == (0, 1, 1, 1)
    assert one.size + two.size >= len(batch)


def test_the_bytes_that_the_broker_tells_are_what_is_given_back() -> None:
    header = {"v": 1, "re": "messages", "runs": [{"first": 0, "count": 2}], "bytes": 77}
    reply = decode_reply([encode_value(header), encode_value([b"a", b"b"])])
    (run,) = read_runs(reply, make_ledger())
    assert run.size == 77
