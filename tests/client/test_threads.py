"""What only the sync client has: threads, forks, Ctrl-C, the end of the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from patterns import Client, ClientClosed, ForkedClient
from tests.client.faults import ignore
from tests.client.scripted_broker import ScriptedBroker
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


def run_all(*works: Callable[[], None]) -> None:
    """Runs each in a thread of its own; raises what any of them raised."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def is_longer(noted: list[int], count: int) -> bool:
    return len(noted) > count


@contextmanager
def interrupt_after(condition: Callable[[], bool]) -> Iterator[None]:
    """Ctrl-C once ``condition`` holds; the block must be left by KeyboardInterrupt.

    It is struck again until the block is left: an exception that a finalizer happens to catch is
    dropped by Python itself.
    """
    left = threading.Event()

    def strike() -> None:
        wait_until(condition, "the moment for Ctrl-C")
        main = threading.main_thread().ident
        assert main is not None
        while not left.is_set():
            signal.pthread_kill(main, signal.SIGINT)
            left.wait(1)

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    try:
        left.set()
    except KeyboardInterrupt:
        left.set()
    thread.join()


def test_many_threads_share_one_client(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:

        def produce(name: str) -> None:
            queue = mq.queue(name)
            for number in range(500):
                confirm = queue.put(b"%d" % number)
                if number % 50 == 0:
                    confirm.wait(20)

        def consume(name: str) -> None:
            bodies = []
            for message in mq.queue(name).consume(max=500):
                bodies.append(message.body)
                message.ack()
            assert bodies == [b"%d" % number for number in range(500)]

        names = ["a", "b", "c"]
        run_all(*[partial(work, name) for work in (produce, consume) for name in names])
        mq.flush(20)
        assert [broker.queue(name).bodies for name in names] == [[], [], []]


def test_threads_put_to_one_queue_without_loss(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        queue = mq.queue("q")
        places: list[int | None] = []

        def produce() -> None:
            confirms = [queue.put(b"x") for _ in range(2_000)]
            places.extend(confirm.wait(20).position for confirm in confirms)

        run_all(produce, produce, produce)
        assert sorted(place for place in places if place is not None) == list(range(6_000))


def test_a_thread_that_waits_does_not_hold_up_the_others(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        received: list[bytes] = []

        def wait_for_one() -> None:
            for message in mq.queue("late").consume(max=1):
                received.append(message.body)
                message.ack()

        def work() -> None:
            for _ in range(100):
                mq.queue("other").put(b"x").wait(20)
            mq.queue("late").put(b"now").wait(20)

        run_all(wait_for_one, work)
        assert received == [b"now"]


def test_closing_ends_a_wait_in_another_thread(broker: ScriptedBroker) -> None:
    mq = Client(broker.address)

    def wait() -> None:
        with pytest.raises(ClientClosed):
            next(mq.queue("q").consume())

    def close() -> None:
        wait_until(lambda: bool(broker.commands("consume")), "the other one waits")
        mq.close()

    run_all(wait, close)


def test_a_gathered_put_leaves_without_the_callers_help(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        queue = mq.queue("q")
        for number in range(10):
            queue.put(b"%d" % number)
        wait_until(lambda: len(broker.queue("q").bodies) == 10, "all ten have arrived")


def test_a_gathered_ack_leaves_without_the_callers_help(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        mq.queue("q").put_many([b"a", b"b"]).wait(10)
        messages = mq.queue("q").get_many(2, 5)
        messages[0].ack()
        wait_until(lambda: broker.queue("q").bodies == [b"b"], "the ack has arrived")


def test_ctrl_c_interrupts_a_wait_and_the_client_goes_on(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        queue = mq.queue("q")
        with interrupt_after(lambda: bool(broker.commands("consume"))):
            for _ in queue.consume():
                pass
        broker.faults.append(ignore("get"))
        with interrupt_after(lambda: bool(broker.commands("get"))):
            queue.get(timeout=60)
        queue.put(b"a").wait(10)
        message = queue.get(5)
        assert message is not None
        message.ack(wait=True)


# A socket that Ctrl-C strikes in the making is closed by the garbage collector, with a warning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_interrupts_a_storm_of_puts_and_loses_none_that_returned(
    broker: ScriptedBroker,
) -> None:
    returned: list[int] = []
    with Client(broker.address, batch=7) as mq:
        queue = mq.queue("q")
        for _ in range(5):
            with interrupt_after(partial(is_longer, returned, len(returned) + 1_000)):
                while True:
                    queue.put(b"%d" % len(returned))
                    returned.append(len(returned))
    numbers = [int(body) for body in broker.queue("q").bodies]
    # Ctrl-C between the return of ``put`` and the noting makes a number appear twice.
    assert sorted(set(numbers)) == list(range(max(numbers) + 1))
    assert set(returned) <= set(numbers)
    assert len(numbers) - len(set(numbers)) <= 5


def test_a_client_made_before_a_fork_raises_in_the_child_by_name(broker: ScriptedBroker) -> None:
    with Client(broker.address) as mq:
        queue = mq.queue("q")
        queue.put(b"a").wait(10)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                queue.put(b"b")
            except ForkedClient:
                mq.close()
                with Client(broker.address) as own:
                    own.queue("q").put(b"of the child").wait(10)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        queue.put(b"c").wait(10)
        assert broker.queue("q").bodies == [b"a", b"of the child", b"c"]


def test_the_end_of_the_program_sends_what_was_put(broker: ScriptedBroker) -> None:
    program = f"""
from patterns import Client
queue = Client({broker.address!r}, linger=60.0).queue("q")
for number in range(100):
    queue.put(b"%d" % number)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
    assert len(broker.queue("q").bodies) == 100
    assert len(broker.commands("bye")) == 1


def test_an_exception_in_the_block_is_not_hidden_by_the_closing(broker: ScriptedBroker) -> None:
    def fail() -> None:
        with Client(broker.address) as mq:
            mq.queue("q").put(b"a")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert broker.queue("q").bodies == [b"a"]
