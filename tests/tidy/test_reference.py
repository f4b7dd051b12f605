"""The reference is made without a warning, and all that users import has a word of its own."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

import patterns
from tests.tidy.reference import build, modules


def test_the_reference_is_made_without_a_warning(tmp_path: Path) -> None:
    build(tmp_path)
    assert (tmp_path / "patterns" / "work_queue.html").exists()


@pytest.mark.parametrize("module", modules())
def test_every_public_class_of_a_pattern_says_what_it_is(module: str) -> None:
    loaded = import_module(module)
    silent = [
        name
        for name, kind in inspect.getmembers(loaded, inspect.isclass)
        if kind.__module__ == module and not name.startswith("_") and not kind.__doc__
    ]
    assert silent == []


def test_everything_that_patterns_exports_is_there() -> None:
    assert [name for name in patterns.__all__ if not hasattr(patterns, name)] == []
