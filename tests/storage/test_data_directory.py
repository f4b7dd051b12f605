"""The data directory is made once, used by one process, and never written over."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rocksdict import Rdict

from broker.errors import DataDamaged, DirectoryInUse, DirectoryNotWritable, FormatTooNew
from broker.storage.data_directory import DataDirectory
from broker.storage.rocks_options import (
    FAMILY_NAMES,
    block_cache,
    database_options,
    family_options,
)
from broker.storage.rocks_store import RocksStore
from broker.storage.store import Family, WriteOps
from tests.storage.writing_process import writing_process

NOBODY = 65_534


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A data directory that holds a row."""
    with DataDirectory(tmp_path / "data") as directory:
        store = RocksStore.open(directory.path)
        ops = WriteOps()
        ops.put(Family.STATE, b"key", b"value")
        store.write(ops)
        store.sync()
        store.close()
    return tmp_path / "data"


def enter(path: Path) -> str:
    """The id of the directory; it is left again."""
    with DataDirectory(path) as directory:
        return directory.broker_id


def row_in(path: Path) -> bytes | None:
    with DataDirectory(path) as directory:
        store = RocksStore.open(directory.path)
        value = store.get(Family.STATE, b"key")
        store.close()
    return value


def contents(path: Path) -> dict[Path, bytes]:
    """Every file but the lock."""
    return {
        file: file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file != path / "lock"
    }


def test_a_directory_is_made_with_its_parents_and_keeps_its_id(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    first = enter(path)
    assert len(first) == 16
    assert enter(path) == first
    assert enter(tmp_path / "other") != first


def test_what_was_written_is_there_after_entering_again(used: Path) -> None:
    assert row_in(used) == b"value"


@pytest.mark.parametrize("said", [b"", b"{}\n", b'{"version": 1}\n', b"\0" * 64, b"[]\n2\n"])
def test_an_empty_or_unreadable_format_is_refused_and_nothing_is_changed(
    used: Path, said: bytes
) -> None:
    (used / "FORMAT").write_bytes(said)
    before = contents(used)
    with pytest.raises(DataDamaged, match="FORMAT"):
        enter(used)
    assert contents(used) == before


def test_a_checksum_is_read_digit_by_digit(used: Path) -> None:
    file = used / "FORMAT"
    said = b'{"version": 1, "broker_id": "'
    # A number that begins with 0 is the same number with a blank there.
    lines = (said + b'%d"}' % number for number in range(1_000))
    line = next(line for line in lines if zlib.crc32(line) < 1 << 28)
    file.write_bytes(line + b"\n %07x\n" % zlib.crc32(line))
    with pytest.raises(DataDamaged):
        enter(used)


def test_every_flipped_bit_in_the_format_is_refused(used: Path) -> None:
    file = used / "FORMAT"
    whole = file.read_bytes()
    for at in range(len(whole) - 1):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            if damaged.lower() == whole:
                continue  # The case of a digit of the checksum says nothing.
            file.write_bytes(damaged)
            with pytest.raises(DataDamaged):
                enter(used)
    file.write_bytes(whole)
    assert row_in(used) == b"value"


def test_a_missing_format_beside_data_is_refused_and_nothing_is_made(used: Path) -> None:
    (used / "FORMAT").unlink()
    before = contents(used)
    with pytest.raises(DataDamaged, match="FORMAT is missing"):
        enter(used)
    assert contents(used) == before


def test_a_missing_store_beside_the_format_is_refused_and_none_is_made(used: Path) -> None:
    (used / "db").rename(used / "elsewhere")
    before = contents(used)
    with pytest.raises(DataDamaged, match="db is missing"):
        enter(used)
    assert contents(used) == before


def test_a_newer_format_is_refused_and_both_versions_are_named(used: Path) -> None:
    said = b'{"version": 7, "novel": true}'
    (used / "FORMAT").write_bytes(b"%b\n%08x\n" % (said, zlib.crc32(said)))
    before = contents(used)
    with pytest.raises(FormatTooNew, match="format 7, this program reads up to 2"):
        enter(used)
    assert contents(used) == before


def test_a_directory_of_the_first_version_is_taken_over_with_all_that_it_holds(
    tmp_path: Path,
) -> None:
    path = make_first_version(tmp_path / "old")
    for _ in range(2):
        assert enter(path) == "0123456789abcdef"
        assert row_in(path) == b"value"
    with DataDirectory(path) as directory:
        store = RocksStore.open(directory.path)
        assert store.find_prefixed(Family.IDS, [b"p"]) == []
        store.close()
    assert b'"version": 2' in (path / "FORMAT").read_bytes()


def test_a_damaged_directory_of_the_first_version_stays_as_it_is(tmp_path: Path) -> None:
    path = make_first_version(tmp_path / "old")
    (path / "db" / "CURRENT").unlink()
    with pytest.raises(DataDamaged):
        enter(path)
    assert b'"version": 1' in (path / "FORMAT").read_bytes()


def make_first_version(path: Path) -> Path:
    """A directory as the first release left it: five column families."""
    path.mkdir()
    options = database_options(create=True)
    options.create_missing_column_families(True)
    families = {
        FAMILY_NAMES[family]: family_options(family, block_cache())
        for family in Family
        if family is not Family.IDS
    }
    db = Rdict(str(path / "db"), options, column_families=families)
    rows = db.get_column_family(FAMILY_NAMES[Family.STATE])
    rows[b"key"] = b"value"
    rows.close()
    db.close()
    said = b'{"version": 1, "broker_id": "0123456789abcdef"}'
    (path / "FORMAT").write_bytes(b"%b\n%08x\n" % (said, zlib.crc32(said)))
    return path


def test_a_first_start_that_broke_off_before_the_format_is_begun_again(used: Path) -> None:
    (used / "db").rename(used / "db.new")
    (used / "FORMAT").rename(used / "FORMAT.new")
    assert enter(used)
    assert (used / "db" / "CURRENT").exists()


def test_a_first_start_that_broke_off_after_the_format_is_finished(used: Path) -> None:
    first = enter(used)
    (used / "db").rename(used / "db.new")
    assert enter(used) == first
    assert row_in(used) == b"value"


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with writing_process(tmp_path) as writer:
        writer.wait_for_sync(of=2)
        with pytest.raises(DirectoryInUse, match=f"process {writer.pid}"):
            enter(tmp_path)
        writer.kill()
    # The lock died with its process.
    enter(tmp_path)


def test_a_directory_is_entered_once_within_a_process(tmp_path: Path) -> None:
    with DataDirectory(tmp_path), pytest.raises(DirectoryInUse):
        enter(tmp_path)
    enter(tmp_path)


def test_after_a_refusal_the_directory_is_not_held(used: Path) -> None:
    whole = (used / "FORMAT").read_bytes()
    (used / "FORMAT").write_bytes(b"")
    with pytest.raises(DataDamaged):
        enter(used)
    (used / "FORMAT").write_bytes(whole)
    assert enter(used)


def test_a_path_through_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DirectoryNotWritable, match="file/data"):
        enter(tmp_path / "file" / "data")
    with pytest.raises(DirectoryNotWritable):
        enter(tmp_path / "file")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may write everywhere; its rights are put down meanwhile."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_directory_without_the_right_to_write_is_not_writable() -> None:
    # Not under tmp_path: others than its owner may not even look into that.
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "data"
        path.mkdir()
        path.chmod(0o555)
        Path(name).chmod(0o755)
        with ordinary_user(), pytest.raises(DirectoryNotWritable, match="Permission denied"):
            enter(path)
        assert list(path.iterdir()) == []
