"""What was counted, in a SQLite file that all consumers share.

Law: a piece is counted once, by its id.  That is what makes at-least-once delivery exact: the
consumer commits first and acknowledges then.  If it dies between the two, the message comes
again, and finds its row.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Progress(NamedTuple):
    pieces: int
    #: Pieces that came again after they had been counted.
    again: int


class Tally:
    def __init__(self, path: Path) -> None:
        # Each statement is a transaction of its own.  In WAL mode a commit survives the death of
        # the process without an fsync.
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS piece"
            " (id TEXT PRIMARY KEY, words TEXT NOT NULL, deliveries INTEGER NOT NULL)"
        )

    def count(self, piece_id: str, words: Mapping[str, int]) -> None:
        self._db.execute(
            "INSERT INTO piece VALUES (?, ?, 1)"
            " ON CONFLICT (id) DO UPDATE SET deliveries = deliveries + 1",
            (piece_id, json.dumps(words)),
        )

    def progress(self) -> Progress:
        row = self._db.execute("SELECT count(*), total(deliveries - 1) FROM piece").fetchone()
        return Progress(row[0], int(row[1]))

    def words(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for (words,) in self._db.execute("SELECT words FROM piece"):
            total.update(json.loads(words))
        return total

    def close(self) -> None:
        self._db.close()
