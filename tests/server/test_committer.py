"""What the committer promises of ``durable``, over a sync that the test holds in its hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, current_thread

import pytest

from broker.errors import DiskFailed
from broker.server.committer import Committer, measure_sync_us
from tests.support.waiting import DEADLINE_S, wait_until


class Disk:
    """``sync`` blocks while ``is_slow`` and fails once ``error`` is set."""

    def __init__(self) -> None:
        self.released = Event()
        self.released.set()
        self.begun = 0
        self.ended = 0
        self.threads: set[str] = set()
        self.error: Exception | None = None
        self.wakes = 0
        #: What a sync takes by ``clock_ns``.
        self.sync_ns = 0
        self._now_ns = 0

    def clock_ns(self) -> int:
        return self._now_ns

    def sync(self) -> None:
        self.begun += 1
        self.threads.add(current_thread().name)
        assert self.released.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        self.ended += 1
        self._now_ns += self.sync_ns

    def wake(self) -> None:
        self.wakes += 1


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.released.set()


def test_a_token_is_durable_after_its_sync_and_the_loop_is_woken(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, mode="thread")
    disk.released.clear()
    committer.commit(7, alone=True)
    wait_until(lambda: disk.begun == 1, "the sync begun")
    assert committer.durable < 7
    assert disk.wakes == 0
    disk.released.set()
    wait_until(lambda: committer.durable == 7, "the token durable")
    wait_until(lambda: disk.wakes == 1, "the loop woken")
    committer.close()


def test_a_token_given_during_a_sync_waits_for_the_next_one(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, mode="thread")
    disk.released.clear()
    committer.commit(1, alone=False)
    wait_until(lambda: disk.begun == 1, "the first sync begun")
    for token in (2, 3, 4):
        committer.commit(token, alone=False)
    disk.released.set()
    wait_until(lambda: committer.durable == 4, "all tokens durable")
    committer.close()
    assert disk.ended == 2, "one sync covers all tokens given before it began"


def test_inline_the_token_is_durable_at_once_in_the_callers_thread(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, mode="inline")
    committer.commit(3, alone=True)
    assert committer.durable == 3
    assert disk.threads == {current_thread().name}
    committer.close()


def test_inline_a_loop_with_other_work_does_not_wait_for_the_disk(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, mode="inline")
    disk.released.clear()
    committer.commit(3, alone=False)
    assert committer.durable < 3
    disk.released.set()
    wait_until(lambda: committer.durable == 3, "the token durable")
    assert disk.threads == {"committer"}
    committer.close()


def test_inline_nothing_overtakes_a_sync_that_the_thread_has_begun(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, mode="inline")
    disk.released.clear()
    committer.commit(1, alone=False)
    wait_until(lambda: disk.begun == 1, "the thread's sync begun")
    committer.commit(2, alone=True)
    assert committer.durable < 1
    disk.released.set()
    wait_until(lambda: committer.durable == 2, "both durable")
    committer.close()


def test_by_itself_it_waits_inline_while_the_syncs_of_late_were_quick(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, sync_us=250, clock_ns=disk.clock_ns)
    token = 0

    def waits_inline() -> bool:
        nonlocal token
        token += 1
        disk.threads.clear()
        committer.commit(token, alone=True)
        wait_until(lambda: committer.durable == token, "the token durable")
        return disk.threads == {current_thread().name}

    disk.sync_ns = 300_000
    assert all(waits_inline() for _ in range(20))
    disk.sync_ns = 20_000_000
    waits_inline()
    assert not any(waits_inline() for _ in range(20))
    disk.sync_ns = 300_000
    wait_until(waits_inline, "quick again")
    committer.close()


def test_closing_makes_everything_durable(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, mode="thread")
    for token in range(100):
        committer.commit(token, alone=False)
    committer.close()
    assert committer.durable == 99


@pytest.mark.parametrize("mode", ["thread", "inline"])
def test_an_error_of_the_disk_reaches_the_loop_and_nothing_is_durable(
    disk: Disk, mode: str
) -> None:
    committer = Committer(disk.sync, disk.wake, mode=mode)
    committer.commit(0, alone=True)
    wait_until(lambda: committer.durable == 0, "the first token durable")
    disk.error = DiskFailed("no such luck")

    def commit() -> None:
        committer.commit(1, alone=True)
        wait_until(lambda: committer.durable == 1, "the error raised")

    with pytest.raises(DiskFailed, match="no such luck"):
        commit()
    if mode == "thread":
        assert disk.wakes == 2
        with pytest.raises(DiskFailed):
            committer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_sync_that_breaks_its_contract_counts_as_a_failed_disk(disk: Disk) -> None:
    committer = Committer(disk.sync, disk.wake, mode="thread")
    disk.error = RuntimeError("not one of ours")
    committer.commit(1, alone=False)
    with pytest.raises(DiskFailed, match="not one of ours"):
        wait_until(lambda: committer.durable == 1, "the error raised")


def test_the_measured_sync_is_a_time(tmp_path: Path) -> None:
    assert measure_sync_us(tmp_path) >= 0
