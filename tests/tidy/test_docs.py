"""The documents agree with the code and with one another."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import broker
from broker import errors
from tests.tidy.imports import FLOORS
from tests.tidy.source import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)[^)]*\)")
NAMED_TEST = re.compile(r"`(tests/[\w./]+?)(?:::(\w+))?`")
NAMED_TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
#: Errors at and above this number concern one process and never travel.
WIRE_CODE_END = 400


def title(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links: list[str] = LINK.findall(document.read_text("utf-8"))
    broken = [link for link in links if not (document.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_every_test_that_a_document_names_is_there(document: Path) -> None:
    for name, function in NAMED_TEST.findall(document.read_text("utf-8")):
        assert (ROOT / name).exists(), name
        if function:
            assert f"def {function}(" in (ROOT / name).read_text("utf-8"), function


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_every_make_target_that_a_document_names_is_there(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in NAMED_TARGET.findall(document.read_text("utf-8")):
        assert f"\n{target}:" in makefile, target


def test_the_protocol_lists_every_error_that_travels() -> None:
    text = (ROOT / "docs/protocol.md").read_text("utf-8")
    told = {(int(code), name) for code, name in re.findall(r"\| (\d{3}) \| (\w+) ", text)}
    raised = {(code, kind.name) for code, kind in errors.BY_CODE.items() if code < WIRE_CODE_END}
    assert told == raised


def test_the_architecture_lists_every_floor_and_the_tree_has_each() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for _, package in FLOORS:
        path = ROOT / package.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), package
        assert f"`{package}`" in text, package


def test_the_changelog_tells_of_this_version() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert version == broker.__version__
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_test_that_a_guarantee_names_exists() -> None:
    text = (ROOT / "docs/guarantees.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", text)
    assert named
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).exists()
        or (test and f"def {test}(" not in (ROOT / path).read_text("utf-8"))
    ]
    assert missing == []
