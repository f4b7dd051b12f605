"""RocksDB's record logs (write-ahead logs, MANIFEST), looked at before RocksDB reads them.

Owns telling a log that ends in a torn write, which a crash leaves, from one that was damaged.
It never changes a file.  RocksDB checks the checksum of every record that it finds, but it finds
them by fields that it does not check first.  With 9.8.4, which rocksdict 0.3.29 carries, one
flipped bit there

- in a length in the last block makes the record reach beyond the file: taken for a torn write,
  all from there on is dropped in silence, synced or not;
- in a type makes it one of a recycled log: in the first record all is dropped in silence, in any
  other the opening never ends.

    file   = blocks of 32 KiB; less than a header left in a block is filled with zeros
    record = crc32c, masked (u32) | length (u16) | type (u8) | payload      little-endian
    type   = 1 whole, 2 first, 3 middle, 4 last part; a record never crosses a block
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from broker.errors import DataDamaged

_BLOCK_BYTES = 32 * 1024
_HEADER = struct.Struct("<IHB")
_HEADER_BYTES = _HEADER.size
_TYPE_MAX = 4
_LENGTH_BITS = 16
_CRC_MASK_DELTA = 0xA282EAD8
_CRC32C_POLYNOMIAL = 0x82F63B78


def require_sound_logs(directory: Path) -> None:
    """Raises DataDamaged for the first log that RocksDB would cut short or not end reading."""
    for path in sorted([*directory.glob("MANIFEST-*"), *directory.glob("*.log")]):
        if path.stat().st_size:
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log,
            ):
                _require_sound(path, log)


def _require_sound(path: Path, log: mmap.mmap) -> None:
    size = len(log)
    unpack = _HEADER.unpack_from
    at = 0
    while at + _HEADER_BYTES <= size:
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _HEADER_BYTES:
            at += left
            continue
        _, length, kind = unpack(log, at)
        end = at + _HEADER_BYTES + length
        if not 1 <= kind <= _TYPE_MAX:
            if any(log[at:]):
                raise DataDamaged(f"{path}: no record starts at byte {at}")
            return  # Room that was made before a crash and never written.
        if length + _HEADER_BYTES > left:
            raise DataDamaged(f"{path}: the record at byte {at} is longer than its block")
        if end > size:
            if _is_whole(log, at):
                raise DataDamaged(f"{path}: the length of the record at byte {at} is damaged")
            return  # The write that a crash cut off.
        at = end


def _is_whole(log: mmap.mmap, at: int) -> bool:
    """True when the record ends before the file does, were its length one bit different."""
    masked, length, _ = _HEADER.unpack_from(log, at)
    rotated = (masked - _CRC_MASK_DELTA) & 0xFFFFFFFF
    crc = (rotated >> 17 | rotated << 15) & 0xFFFFFFFF
    # The checksum covers the type, the header's last byte, and the payload.
    covered = log[at + _HEADER_BYTES - 1 :]
    lengths = {1 + (length ^ 1 << bit) for bit in range(_LENGTH_BITS)}
    return any(count in lengths and found == crc for count, found in _crc32c_prefixes(covered))


def _crc32c_prefixes(data: bytes) -> Iterator[tuple[int, int]]:
    """The length and the checksum of each prefix of ``data`` that is not empty."""
    crc = 0xFFFFFFFF
    for count, byte in enumerate(data, 1):
        crc = _CRC32C_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
        yield count, crc ^ 0xFFFFFFFF


def _crc32c_table() -> Iterator[int]:
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC32C_POLYNOMIAL if crc & 1 else 0)
        yield crc


_CRC32C_TABLE = tuple(_crc32c_table())
