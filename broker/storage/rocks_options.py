"""How RocksDB is set up for queues, and why.

A queue's body is written, read once soon after, and erased by range within megabytes.  What
dies while it is still in memory never reaches a table file, so buffers are large and nothing is
compressed.

Measured without gain for a log row and a body of 256 KiB, and so left at their defaults: larger
arena blocks (a third slower), larger or smaller file buffers, pipelined writes, cursors with
read-ahead.  Nearly half of such a write is the log's checksum: this RocksDB is built without the
processor's instruction for it.
"""

from __future__ import annotations

import os
from typing import Final

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    SliceTransform,
)

from broker.limits import KIB, MIB
from broker.storage.keys import ID_PREFIX_BYTES
from broker.storage.store import Family

#: Column families by number; the names are part of the format on the disk.
FAMILY_NAMES: Final = ("log", "body", "due", "expiry", "state", "ids")

#: Of a full buffer only the youngest rows are not erased yet: with 8 MiB from put to erase a
#: flush of 128 MiB writes a sixteenth of what came in, one of 64 MiB an eighth.
_BUFFER_BYTES: Final = {
    Family.LOG: 64 * MIB,
    Family.BODY: 128 * MIB,
    Family.DUE: 16 * MIB,
    Family.EXPIRY: 16 * MIB,
    Family.STATE: 16 * MIB,
    Family.IDS: 32 * MIB,
}
#: Every family shares the log, and a family that is written rarely would keep all of it.  This
#: bounds what a restart replays (a second or two) and what an empty queue leaves on the disk.
_WAL_BYTES_MAX: Final = 256 * MIB
#: Bodies are read once, from memory or in a row: the cache is for indexes and state rows.
_CACHE_BYTES: Final = 32 * MIB
_BLOCK_BYTES: Final = 16 * KIB
#: One id in a hundred is looked for in a file that has it not.
_ID_FILTER_BITS: Final = 10
#: A reader sorts the erased ranges of a buffer anew after each that is added, 0.3 us a range: a
#: buffer with more than this is flushed before it is full.
BUFFER_LIMITS: Final = {"memtable_max_range_deletions": "1000"}
#: A table with this many single deletes in a row is compacted, whatever the size of its level.
_DELETES_WINDOW: Final = 4_096
_DELETES_TRIGGER: Final = 2_048


def database_options(*, create: bool) -> Options:
    """Options of the whole database.  Without ``create`` a missing one is an error, never made;
    so is a missing family, unless whoever opens it says otherwise."""
    options = _blank()
    options.create_if_missing(create)
    # The default mode opens after a flipped bit with all that follows it dropped, in silence.
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_max_total_wal_size(_WAL_BYTES_MAX)
    # A flush and a compaction; more only takes cores from the loop.
    options.set_max_background_jobs(max(2, min(4, (os.cpu_count() or 2) // 2)))
    # Table files go to the disk as they are written: else a flush of 128 MiB is written back at
    # once, and the log's fsync waits behind it.
    options.set_bytes_per_sync(1 * MIB)
    # Freeing a buffer of 128 MiB or deleting files is left to the background.
    options.set_avoid_unnecessary_blocking_io(True)
    # One thread writes: a write group has one member, whose rows come in order.
    options.set_allow_concurrent_memtable_write(False)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 * MIB)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options


def family_options(family: Family, cache: Cache) -> Options:
    options = _blank()
    options.set_write_buffer_size(_BUFFER_BYTES[family])
    # One that fills and two that are being flushed, before a write has to wait.
    options.set_max_write_buffer_number(3)
    options.set_max_bytes_for_level_base(4 * _BUFFER_BYTES[family])
    options.set_target_file_size_base(64 * MIB)
    options.set_compression_type(DBCompressionType.none())
    options.add_compact_on_deletion_collector_factory(_DELETES_WINDOW, _DELETES_TRIGGER, 0.0)
    table = _table_options(cache)
    if family is Family.IDS:
        # A put asks for ids that are mostly not there: the filter answers in memory.
        options.set_prefix_extractor(SliceTransform.create_fixed_prefix(ID_PREFIX_BYTES))
        table.set_bloom_filter(_ID_FILTER_BITS, False)
    options.set_block_based_table_factory(table)
    return options


def block_cache() -> Cache:
    """One cache for all families of a store."""
    return Cache(_CACHE_BYTES)


def _table_options(cache: Cache) -> BlockBasedOptions:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_block_size(_BLOCK_BYTES)
    return table


def _blank() -> Options:
    """Raw mode, or rocksdict puts a byte for the Python type before each key."""
    return Options(raw_mode=True)
