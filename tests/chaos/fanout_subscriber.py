"""One process that subscribes and writes down what it is handed, in the order in which it is.

    python -m tests.chaos.fanout_subscriber ENDPOINTS FILE TOTAL

Its file is all that it knows: started again after a kill it goes on behind the last whole record.
It ends when it has been handed as many messages as there are.  Gaps that could not be repaired are
written beside the file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from patterns import Client, Gap
from tests.chaos.fanout_channel import CHANNEL, NUMBER, RECORD

#: A subscriber that gets nothing for so long has been forgotten.
SILENCE_S = 120.0
RECORDS_PER_WRITE = 500
IDLE_S = 0.2


def main(endpoints: str, file: str, total: str) -> None:
    path = Path(file)
    start, taken = resume(path)
    gaps = path.with_suffix(".gaps")
    with (
        Client(endpoints, connect_timeout=None, on_error=lambda _: None) as mq,
        path.open("ab") as records,
    ):

        def note_gap(gap: object) -> None:
            with gaps.open("a", encoding="utf-8") as lines:
                lines.write(f"{gap}\n")

        take(mq, records, start, int(total) - taken, note_gap)


def resume(path: Path) -> tuple[int | str, int]:
    """(where to begin, how many records there are); half a record at the end is cut off."""
    if not path.exists():
        return "all", 0
    written = path.read_bytes()
    count = len(written) // RECORD.size
    path.write_bytes(written[: count * RECORD.size])
    if not count:
        return "all", 0
    sequence, _ = RECORD.unpack_from(written, (count - 1) * RECORD.size)
    return int(sequence) + 1, count


def take(
    mq: Client, records: BinaryIO, start: int | str, left: int, note_gap: Callable[[Gap], object]
) -> None:
    waiting: list[bytes] = []
    silent_s = 0.0
    with mq.subscribe(CHANNEL, start=start, on_gap=note_gap, timeout=IDLE_S) as events:
        while left > 0:
            if silent_s > SILENCE_S:
                raise SystemExit(f"nothing came for {SILENCE_S:g} s, and {left} are missing")
            silent_s += IDLE_S
            for event in events:
                silent_s = 0.0
                (number,) = NUMBER.unpack_from(event.body)
                waiting.append(RECORD.pack(event.sequence, number))
                left -= 1
                if len(waiting) >= RECORDS_PER_WRITE or not left:
                    break
            records.write(b"".join(waiting))
            records.flush()
            waiting.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
