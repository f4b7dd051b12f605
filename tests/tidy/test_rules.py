"""Each rule finds what it is meant to find: small samples, bad and good."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.tidy import imports, shape
from tests.tidy.source import Source
from tests.tidy.test_tidy import RULES, Rule


def source(path: str, text: str) -> Source:
    return Source.parse(path, dedent(text))


def body(lines: int) -> str:
    return "def long():\n" + "    x = 1\n" * (lines - 1)


#: rule, path, text, and the words that the finding must hold
BAD: tuple[tuple[Rule, str, str, str], ...] = (
    (imports.floors, "broker/model/a.py", "from broker.core import x", "stands above it"),
    (imports.floors, "broker/protocol/a.py", "import broker.core.queue", "stands above it"),
    (imports.floors, "broker/limits.py", "from broker import names", "stands above it"),
    (imports.floors, "broker/core/a.py", "import tests.support", "stands above it"),
    (
        imports.floors,
        "broker/client/a.py",
        "import broker.storage.keys",
        "broker.client may import",
    ),
    (imports.floors, "patterns/a.py", "from broker.model import x", "patterns may import"),
    (imports.floors, "examples/a.py", "from broker.client import x", "examples may import"),
    (imports.floors, "broker/novel/a.py", "import broker.limits", "has no floor"),
    (imports.floors, "broker/core/a.py", "def f():\n    import broker.node.b", "stands above it"),
    (imports.purity, "broker/core/a.py", "import time", "must not import time"),
    (imports.purity, "broker/node/a.py", "from os import path", "must not import os"),
    (imports.purity, "broker/names.py", "import random", "must not import random"),
    (imports.purity, "broker/protocol/a.py", "import threading", "must not import threading"),
    (imports.purity, "broker/cluster/a.py", "print(1)", "no print()"),
    (imports.purity, "broker/testing/a.py", "import time", "must not import time"),
    (imports.floors, "broker/server/a.py", "import broker.testing.disk", "stands above it"),
    (shape.file_lengths, "broker/a.py", "x = 1\n" * 401, "401 lines"),
    (shape.line_lengths, "broker/a.py", f"x = '{'a' * 95}'", "101 characters"),
    (shape.function_lengths, "broker/a.py", body(71), "long has 71 lines"),
    (shape.function_median, "broker/a.py", body(16), "has 16 lines"),
    (shape.module_docstrings, "broker/a.py", "x = 1", "no docstring"),
    (shape.empty_names, "broker/utils.py", "", "'utils'"),
    (shape.empty_names, "broker/a.py", "class QueueManager: ...", "QueueManager"),
    (shape.empty_names, "broker/a.py", "class BaseStore: ...", "BaseStore"),
    (shape.slotted_model, "broker/model/a.py", "@dataclass\nclass A: ...", "slots=True"),
    (shape.slotted_model, "broker/model/a.py", "@dataclass(frozen=True)\nclass A: ...", "slots"),
    (shape.code_in_data, "bench/a.py", "import pickle", "pickle runs code"),
    (shape.code_in_data, "tests/a.py", "from marshal import loads", "marshal runs code"),
    (shape.hash_calls, "broker/a.py", "slot = hash(name) % 64", "zlib.crc32"),
    (shape.sleeping_tests, "tests/a.py", "import time\ntime.sleep(1)", "must not sleep"),
    (shape.sleeping_tests, "tests/a.py", "from time import sleep", "must not sleep"),
    (shape.sleeping_tests, "tests/a.py", "await asyncio.sleep(0.1)", "must not sleep"),
    (
        shape.swallowed_errors,
        "broker/a.py",
        """
        try:
            f()
        except Exception:
            pass
        """,
        "drops every error",
    ),
    (
        shape.swallowed_errors,
        "patterns/a.py",
        """
        for x in y:
            try:
                f()
            except:
                continue
        """,
        "drops every error",
    ),
)

GOOD: tuple[tuple[Rule, str, str], ...] = (
    (imports.floors, "broker/core/a.py", "from broker.model import x\nfrom broker import errors"),
    (imports.floors, "broker/core/a.py", "from broker.protocol import x"),
    (imports.floors, "broker/node/a.py", "from broker.storage.keys import x"),
    (imports.floors, "broker/__main__.py", "from broker.cli.main import main"),
    (imports.floors, "patterns/a.py", "from broker.client import x\nfrom broker.errors import y"),
    (imports.floors, "tests/a.py", "import broker.core.queue"),
    (imports.purity, "broker/core/a.py", "import heapq, zlib"),
    (imports.purity, "broker/server/a.py", "import time, zmq"),
    (imports.purity, "broker/testing/a.py", "from random import Random"),
    (imports.purity, "broker/testing/__main__.py", "import time\nprint(1)"),
    (imports.floors, "broker/testing/a.py", "from broker.node.node import Node"),
    (shape.file_lengths, "broker/a.py", "x = 1\n" * 400),
    (shape.function_lengths, "broker/a.py", body(70)),
    (shape.function_median, "broker/a.py", body(15)),
    (shape.function_median, "tests/a.py", body(60)),
    (shape.module_docstrings, "broker/__init__.py", ""),
    (shape.empty_names, "broker/a.py", "class Database: ..."),
    (shape.slotted_model, "broker/model/a.py", "@dataclass(slots=True)\nclass A: ..."),
    (shape.slotted_model, "broker/model/a.py", "class Kind(IntEnum): ..."),
    (shape.hash_calls, "broker/a.py", "class A:\n    def __hash__(self): return hash(self.x)"),
    (shape.sleeping_tests, "tests/a.py", "await asyncio.sleep(0)"),
    (shape.sleeping_tests, "tests/support/a.py", "import time\ntime.sleep(0.01)"),
    (shape.sleeping_tests, "bench/a.py", "import time\ntime.sleep(1)"),
    (shape.swallowed_errors, "broker/a.py", "try:\n    f()\nexcept KeyError:\n    pass"),
    (shape.swallowed_errors, "broker/a.py", "try:\n    f()\nexcept Exception as e:\n    log(e)"),
)


@pytest.mark.parametrize(("rule", "path", "text", "words"), BAD)
def test_a_rule_finds_a_bad_sample(rule: Rule, path: str, text: str, words: str) -> None:
    findings = [str(finding) for finding in rule([source(path, text)])]
    assert len(findings) == 1
    assert words in findings[0]


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_a_rule_leaves_a_good_sample_alone(rule: Rule, path: str, text: str) -> None:
    assert list(rule([source(path, text)])) == []


def test_a_cycle_is_found_through_a_package_and_inside_a_function() -> None:
    ring = [
        source("broker/core/a.py", "from broker.core import b"),
        source("broker/core/b.py", "import broker.core.c"),
        source("broker/core/c.py", "def f():\n    from broker.core.a import x"),
        source("broker/core/d.py", "from broker.core import a"),
    ]
    findings = [str(finding) for finding in imports.cycles(ring)]
    circle = "broker.core.a -> broker.core.b -> broker.core.c -> broker.core.a"
    assert findings == [f"broker/core/a.py:1: a cycle of imports: {circle}"]


def test_modules_that_name_one_anothers_types_are_no_cycle() -> None:
    pair = [
        source("broker/core/a.py", "import broker.core.b"),
        source("broker/core/b.py", "if TYPE_CHECKING:\n    from broker.core.a import A"),
    ]
    assert list(imports.cycles(pair)) == []


def test_an_import_for_types_climbs_no_floor_either() -> None:
    sample = source("broker/core/a.py", "if TYPE_CHECKING:\n    import broker.node.b")
    assert len(list(imports.floors([sample]))) == 1


def test_two_ways_to_the_same_module_are_no_cycle() -> None:
    diamond = [
        source("broker/core/a.py", "from broker.core import b, c"),
        source("broker/core/b.py", "import broker.core.d"),
        source("broker/core/c.py", "import broker.core.d"),
        source("broker/core/d.py", ""),
    ]
    assert list(imports.cycles(diamond)) == []


def test_the_session_of_the_client_is_pure_with_all_that_it_uses() -> None:
    client = [
        source("broker/client/session.py", "import broker.client.puts"),
        source("broker/client/puts.py", "import time"),
        source("broker/client/link.py", "import time\nimport broker.client.session"),
    ]
    assert [finding.path for finding in imports.purity(client)] == ["broker/client/puts.py"]


def test_a_finding_names_the_file_and_the_line() -> None:
    sample = source("broker/core/a.py", "x = 1\n\nimport time")
    assert str(next(imports.purity([sample]))).startswith("broker/core/a.py:3: ")


def test_every_rule_that_holds_the_code_has_a_bad_sample() -> None:
    proven = {rule for rule, *_ in BAD} | {imports.cycles}
    assert proven == set(RULES)
