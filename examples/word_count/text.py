"""Text to pieces, pieces to words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

WORD = re.compile(r"\w+")


class Piece(NamedTuple):
    """One line of a text; its id is the same however often it is read."""

    id: str
    text: str


def read_pieces(paths: Sequence[Path], repeat: int) -> Iterator[Piece]:
    """Every line with a word in it, ``repeat`` times, each time under ids of its own."""
    for again in range(repeat):
        for path in paths:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    if WORD.search(line):
                        yield Piece(f"{path}:{number}#{again}", line)


def count_words(text: str) -> Counter[str]:
    return Counter(WORD.findall(text.lower()))
