"""The version that the program tells its clients and operators."""

from __future__ import annotations

from importlib import metadata


def program_version() -> str:
    """The installed distribution's, or ``source`` when the program runs from a checkout."""
    try:
        return metadata.version("msgqueue")
    except metadata.PackageNotFoundError:
        return "source"
