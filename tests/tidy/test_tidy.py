"""The text of the code keeps the project's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.tidy import imports, shape
from tests.tidy.source import Finding, Source, load_sources

Rule = Callable[[Iterable[Source]], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    imports.floors,
    imports.purity,
    imports.cycles,
    shape.file_lengths,
    shape.line_lengths,
    shape.function_lengths,
    shape.function_median,
    shape.module_docstrings,
    shape.empty_names,
    shape.slotted_model,
    shape.code_in_data,
    shape.hash_calls,
    shape.sleeping_tests,
    shape.swallowed_errors,
)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return load_sources()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rule(rule: Rule, sources: list[Source]) -> None:
    findings = list(rule(sources))
    if findings:
        pytest.fail("\n".join(map(str, findings)), pytrace=False)
