"""The FIFO checker agrees with a search through every possible order of a small history."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkers.fifo import NEVER, Operation, check_fifo


def ordered(*values: str) -> tuple[list[Operation], list[Operation]]:
    """Each value put, one after another, then each taken, one after another."""
    puts = [Operation(value, 2 * i, 2 * i + 1) for i, value in enumerate(values)]
    start = 2 * len(values)
    takes = [Operation(v, start + 2 * i, start + 2 * i + 1) for i, v in enumerate(values)]
    return puts, takes


def test_values_in_the_order_of_their_puts_are_fifo() -> None:
    puts, takes = ordered("a", "b", "c")
    verdict = check_fifo(puts, takes)
    assert verdict.valid
    assert verdict.counts == {"puts": 3, "takes": 3, "empty": 0}


def test_a_value_that_was_never_put_is_found() -> None:
    puts, takes = ordered("a", "b")
    assert check_fifo(puts[:1], takes).breaches == ("never put: b",)


def test_a_value_taken_before_its_put_is_found() -> None:
    breaches = check_fifo([Operation("a", 5, 6)], [Operation("a", 1, 2)]).breaches
    assert breaches == ("never put: a",)


def test_a_value_taken_twice_is_found() -> None:
    puts, takes = ordered("a", "b")
    assert check_fifo(puts, [*takes, Operation("a", 10, 11)]).breaches == ("twice: a",)


def test_a_value_that_overtakes_is_found() -> None:
    puts, takes = ordered("a", "b")
    swapped = [Operation("b", 4, 5), Operation("a", 6, 7)]
    assert check_fifo(puts, swapped).breaches == ("inverted: b overtook a",)
    assert check_fifo(puts, takes[1:]).breaches == ("inverted: b overtook a",)


def test_values_whose_puts_overlap_may_come_in_either_order() -> None:
    puts = [Operation("a", 0, 3), Operation("b", 1, 4)]
    assert check_fifo(puts, [Operation("b", 5, 6), Operation("a", 7, 8)]).valid


def test_an_empty_answer_is_found_while_a_value_is_surely_inside() -> None:
    puts = [Operation("a", 0, 1), Operation("b", 3, 4)]
    takes = [Operation("a", 5, 6), Operation("b", 9, 10)]
    assert not check_fifo(puts, [*takes, Operation(None, 2, 8)]).valid
    assert check_fifo(puts, [*takes, Operation(None, 8, 11)]).valid
    assert check_fifo(puts[:1], [takes[0], Operation(None, 2, 6)]).valid


def test_a_put_without_an_answer_may_have_happened_or_not() -> None:
    puts = [Operation("a", 0, NEVER), Operation("b", 1, 2)]
    assert check_fifo(puts, [Operation("b", 3, 4)]).valid
    assert check_fifo(puts, [Operation("a", 3, 4), Operation("b", 5, 6)]).valid


def is_linearizable(puts: list[Operation], takes: list[Operation]) -> bool:
    """Try every order of the operations that keeps real time, on a queue that is a tuple."""
    everything = [("put", put) for put in puts] + [("take", take) for take in takes]

    def search(left: frozenset[int], queue: tuple[str | None, ...]) -> bool:
        if all(everything[index][1].returned_at == NEVER for index in left):
            return True
        return any(
            search(left - {index}, after)
            for index in left
            if may_be_next(index, left) and (after := applied(index, queue)) is not None
        )

    def may_be_next(index: int, left: frozenset[int]) -> bool:
        called_at = everything[index][1].called_at
        return all(everything[other][1].returned_at >= called_at for other in left)

    def applied(index: int, queue: tuple[str | None, ...]) -> tuple[str | None, ...] | None:
        kind, operation = everything[index]
        if kind == "put":
            return (*queue, operation.value)
        if operation.value is None:
            return None if queue else queue
        return queue[1:] if queue[:1] == (operation.value,) else None

    return search(frozenset(range(len(everything))), ())


@st.composite
def small_histories(draw: st.DrawFn) -> tuple[list[Operation], list[Operation]]:
    instants = iter(draw(st.permutations(range(16))))

    def operation(value: str | None) -> Operation:
        called_at, returned_at = sorted((next(instants), next(instants)))
        return Operation(value, called_at, returned_at)

    puts = [operation(value) for value in "abcd"[: draw(st.integers(1, 4))]]
    values = draw(st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=4))
    takes = [operation(value) for value in values]
    if draw(st.booleans()):
        last = puts.pop()
        puts.append(Operation(last.value, last.called_at, NEVER))
    return puts, takes


@settings(max_examples=1_000, deadline=None)
@given(small_histories())
def test_the_four_absences_are_the_same_as_a_search_through_all_orders(
    history: tuple[list[Operation], list[Operation]],
) -> None:
    puts, takes = history
    assert check_fifo(puts, takes).valid == is_linearizable(puts, takes)
