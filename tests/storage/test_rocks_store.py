"""The store on a disk that lies, fails and fills, and in a process that is killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import DataDamaged, DirectoryInUse, DiskFull
from broker.storage.rocks_store import STORE_DIRECTORY, RocksStore
from broker.storage.store import Family, WriteOps
from tests.storage.writing_process import batch_of, key_of, require_prefix, writing_process
from tests.support.fsync_shim import FailingDisk
from tests.support.small_disk import can_mount, resize, small_disk

ALL = (b"", b"\xff", 1_000_000, 1 << 30)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an empty store."""
    RocksStore.make(tmp_path / STORE_DIRECTORY)
    return tmp_path


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, int]:
    """The directory of a process that was killed, and its last synced batch.

    All batches are in the write-ahead log; no table file holds one.
    """
    with writing_process(tmp_path) as writer:
        writer.wait_for_sync(of=40)
        writer.kill()
    return tmp_path, writer.synced


def files_of(directory: Path) -> dict[str, bytes]:
    """What RocksDB must not lose: everything but its diary and its lock."""
    return {
        path.name: path.read_bytes()
        for path in (directory / STORE_DIRECTORY).iterdir()
        if not path.name.startswith(("LOG", "LOCK"))
    }


def newest(directory: Path, pattern: str) -> Path:
    """The last file of that pattern that has anything in it."""
    found = [path for path in (directory / STORE_DIRECTORY).glob(pattern) if path.stat().st_size]
    return max(found)


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def records_of(path: Path) -> list[int]:
    """Where the records of a log begin; its first block is enough."""
    data, at, found = path.read_bytes()[: 32 * 1024], 0, []
    while at + 7 < len(data):
        found.append(at)
        at += 7 + int.from_bytes(data[at + 4 : at + 6], "little")
    return found


def batches_in(directory: Path) -> int:
    """How many batches a restart finds; they are a prefix, or the test fails."""
    store = RocksStore.open(directory)
    try:
        return require_prefix(store)
    finally:
        store.close()


def require_refused(directory: Path) -> None:
    """Opening tells of the damage and changes no file."""
    before = files_of(directory)
    with pytest.raises(DataDamaged):
        RocksStore.open(directory)
    assert files_of(directory) == before


def test_after_a_sigkill_everything_synced_is_there_and_the_rest_is_a_prefix(
    killed: tuple[Path, int],
) -> None:
    directory, synced = killed
    assert batches_in(directory) > synced


def test_a_log_cut_off_anywhere_leaves_a_prefix(killed: tuple[Path, int], tmp_path: Path) -> None:
    directory, _ = killed
    log = newest(directory, "*.log")
    size = log.stat().st_size
    found = []
    for part in range(1, 14):
        copy = tmp_path / "copy"
        shutil.copytree(directory / STORE_DIRECTORY, copy / STORE_DIRECTORY)
        with (copy / STORE_DIRECTORY / log.name).open("r+b") as file:
            file.truncate(size * part // 14 + part)
        found.append(batches_in(copy))
        shutil.rmtree(copy)
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_a_flipped_bit_in_the_middle_of_the_log_is_refused(killed: tuple[Path, int]) -> None:
    directory, _ = killed
    log = newest(directory, "*.log")
    flip(log, log.stat().st_size // 2)
    require_refused(directory)


#: Offsets in a record's header: two bytes of length, one of type.
@pytest.mark.parametrize("field", [4, 5, 6])
@pytest.mark.parametrize("pattern", ["*.log", "MANIFEST-*"])
def test_a_flipped_bit_in_the_header_of_a_record_is_refused(
    directory: Path, tmp_path: Path, pattern: str, field: int
) -> None:
    source = tmp_path / "source"
    write_and_leave(directory, source, batches=3)
    records = records_of(newest(source, pattern))
    for at in (records[0], records[len(records) // 2], records[-1]):
        for bit in range(8):
            copy = tmp_path / "copy"
            shutil.copytree(source / STORE_DIRECTORY, copy / STORE_DIRECTORY)
            flip(newest(copy, pattern), at + field, bit)
            require_refused(copy)
            shutil.rmtree(copy)


def write_and_leave(directory: Path, copy: Path, batches: int) -> None:
    """``copy`` is what a crash would leave of a store with that many synced batches."""
    store = RocksStore.open(directory)
    for number in range(batches):
        store.write(batch_of(number))
    store.sync()
    shutil.copytree(directory / STORE_DIRECTORY, copy / STORE_DIRECTORY)
    store.close()


@pytest.fixture
def table(directory: Path) -> Path:
    """A table file that holds bodies; the store is closed."""
    store = RocksStore.open(directory)
    for number in range(100):
        store.write(batch_of(number))
    store.close()
    tables = (directory / STORE_DIRECTORY).glob("*.sst")
    return max(tables, key=lambda path: path.stat().st_size)


def test_a_flipped_bit_in_a_table_is_never_a_short_answer(directory: Path, table: Path) -> None:
    whole = table.read_bytes()
    for part in range(1, 12):
        table.write_bytes(whole)
        flip(table, len(whole) * part // 12)
        with pytest.raises(DataDamaged):
            read_everything(directory)


def read_everything(directory: Path) -> None:
    store = RocksStore.open(directory)
    try:
        store.scan(Family.BODY, *ALL)
    finally:
        store.close()


def test_a_damaged_row_is_told_by_every_way_to_read_it(directory: Path, table: Path) -> None:
    # The first block of the table holds the first bodies.
    flip(table, 100)
    store = RocksStore.open(directory)
    with pytest.raises(DataDamaged):
        store.get(Family.BODY, key_of(0))
    with pytest.raises(DataDamaged):
        store.scan(Family.BODY, key_of(0), key_of(1), 1, 1)
    with pytest.raises(DataDamaged):
        store.last_before(Family.BODY, b"", key_of(0) + b"\0")
    # What is whole can be read and written on.
    assert store.get(Family.LOG, key_of(0)) == b"log"
    store.write(batch_of(100))
    store.sync()
    store.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*", "*.sst"])
@pytest.mark.parametrize("damage", ["flipped", "empty", "missing"])
@pytest.mark.usefixtures("table")
def test_a_damaged_empty_or_missing_file_is_refused(
    directory: Path, name: str, damage: str
) -> None:
    path = newest(directory, name)
    if damage == "flipped":
        # The footer of a table, the name in CURRENT, a record of the manifest.
        flip(path, path.stat().st_size - 8)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    require_refused(directory)


def test_a_store_that_is_missing_is_refused_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataDamaged):
        RocksStore.open(tmp_path)
    assert not (tmp_path / STORE_DIRECTORY / "CURRENT").exists()


def test_a_store_is_opened_once(directory: Path) -> None:
    store = RocksStore.open(directory)
    with pytest.raises(DirectoryInUse):
        RocksStore.open(directory)
    store.close()
    RocksStore.open(directory).close()


def test_a_failed_sync_is_disk_failed_and_nothing_is_written_after_it(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    directory = tmp_path / "data"
    with writing_process(directory, disk.env) as writer:
        writer.wait_for_sync(of=5)
        disk.fail_syncs()
        status, said = writer.wait_for_failure()
    assert (status, said) == (70, ["disk_failed", "further writes are refused"])
    assert batches_in(directory) > writer.synced


def test_a_write_without_space_is_disk_full_and_nothing_is_written_after_it(
    tmp_path: Path,
) -> None:
    disk = FailingDisk(tmp_path)
    directory = tmp_path / "data"
    with writing_process(directory, disk.env) as writer:
        writer.wait_for_sync(of=5)
        disk.fail_writes()
        status, said = writer.wait_for_failure()
    assert (status, said) == (71, ["disk_full", "further writes are refused"])
    assert batches_in(directory) > writer.synced


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 16 MiB."""
    with small_disk(tmp_path / "disk", "16m") as disk:
        yield disk


@pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk")
def test_a_disk_that_fills_is_disk_full_and_with_room_all_that_was_synced_is_there(
    small: Path,
) -> None:
    RocksStore.make(small / STORE_DIRECTORY)
    store = RocksStore.open(small)
    synced = write_until_full(store)
    assert synced
    with pytest.raises(DiskFull, match="not used after"):
        store.write(batch_of(0))
    store.close()
    resize(small, "64m")
    store = RocksStore.open(small)
    found = [key for key, _ in store.scan(Family.BODY, *ALL)]
    assert found[:synced] == [key_of(number) for number in range(synced)]
    store.close()


def write_until_full(store: RocksStore) -> int:
    """How many rows were synced when the disk was full."""
    for number in range(1_000):
        ops = WriteOps()
        ops.put(Family.BODY, key_of(number), bytes(1 << 18))
        try:
            store.write(ops)
            store.sync()
        except DiskFull:
            return number
    raise AssertionError("the disk did not fill")
