"""Patterns: their grammar, what they match, and the trie that finds them all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import BadPattern
from broker.model.patterns import (
    PatternTrie,
    is_plain,
    matches,
    require_pattern,
    topic_of,
    topic_prefix,
)
from broker.names import is_pattern

TOKENS = st.sampled_from(["a", "b", "cc"])
NAMES = st.builds(
    lambda lead, tokens: lead + ".".join(tokens),
    st.sampled_from(["", "", "$"]),
    st.lists(TOKENS, min_size=1, max_size=5),
)
PATTERNS = st.builds(
    lambda lead, tokens, rest: lead + ".".join([*tokens, *rest]),
    st.sampled_from(["", "", "$"]),
    st.lists(st.one_of(TOKENS, st.just("*")), min_size=0, max_size=4),
    st.sampled_from([[], [">"]]),
).filter(is_pattern)


@pytest.mark.parametrize(
    "pattern", ["a", "a.b", "*", ">", "a.*", "a.>", "*.*.c", "a.*.>", "$sys.>", "$sys.*.x", "#1._-"]
)
def test_a_pattern_is_taken_as_it_is(pattern: str) -> None:
    assert require_pattern(pattern) is pattern


@pytest.mark.parametrize(
    "pattern",
    [
        *("", ".", "a.", ".a", "a..b", ">.a", "a>", "a*", "**", "a.**", "a.>.>", "$", "$*", "$>"),
        *("a b", "a.\n", "a\0", "é", "a" * 256, "a$", "a.$b", b"a", None, 3),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: object) -> None:
    with pytest.raises(BadPattern):
        require_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "is_meant"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("*.b", "a.b", True),
        (">", "a", True),
        (">", "a.b", True),
        (">", "$sys.alarm", False),
        ("*.alarm", "$sys.alarm", False),
        ("$sys.>", "$sys.alarm", True),
        ("$sys.*", "$sys.alarm", True),
    ],
)
def test_a_pattern_means_these_names(pattern: str, name: str, is_meant: bool) -> None:
    assert matches(pattern, name) is is_meant


@given(st.lists(PATTERNS, max_size=12), st.lists(st.integers(0, 11)), NAMES)
def test_the_trie_finds_what_each_pattern_by_itself_would(
    patterns: list[str], removed: list[int], name: str
) -> None:
    trie: PatternTrie[int] = PatternTrie()
    for number, pattern in enumerate(patterns):
        trie.add(pattern, number)
    left = dict(enumerate(patterns))
    for number in removed:
        if number in left:
            trie.remove(left.pop(number), number)
    wanted = [number for number, pattern in left.items() if matches(pattern, name)]
    assert sorted(trie.match(name)) == wanted
    assert bool(trie) is bool(left)


def test_a_value_that_is_not_there_cannot_be_removed() -> None:
    trie: PatternTrie[int] = PatternTrie()
    trie.add("a.b", 1)
    for pattern, value in (("a.b", 2), ("a", 1), ("a.b.c", 1)):
        with pytest.raises(KeyError):
            trie.remove(pattern, value)
    assert trie.match("a.b") == [1]


@given(PATTERNS, NAMES)
def test_every_topic_that_a_pattern_means_begins_with_its_prefix(pattern: str, name: str) -> None:
    if matches(pattern, name):
        assert topic_of(name).startswith(topic_prefix(pattern))
    assert is_plain(pattern) is (topic_prefix(pattern)[-1:] == b"\0")


def test_a_prefix_is_as_long_as_the_pattern_allows() -> None:
    assert topic_prefix("a.b") == b"a.b\0"
    assert topic_prefix("a.>") == topic_prefix("a.*.c") == b"a."
    assert topic_prefix(">") == topic_prefix("*.x") == b""
