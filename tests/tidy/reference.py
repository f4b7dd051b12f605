"""The reference of what users import, made by pdoc from the code.

    python -m tests.tidy.reference DIRECTORY

Law: a warning is an error.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from tests.tidy.source import ROOT

#: pdoc looks for the types of a named tuple where it is imported, and not where it is defined.
KNOWN = "Error parsing type annotation ForwardRef"


def modules() -> list[str]:
    found = sorted((ROOT / "patterns").glob("[a-z]*.py"))
    return [
        "patterns",
        *(f"patterns.{path.stem}" for path in found),
        "broker.testing.memory.broker",
    ]


def build(directory: Path) -> None:
    import pdoc

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", KNOWN)
        pdoc.pdoc(*modules(), output_directory=directory)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
