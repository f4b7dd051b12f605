"""The measures and habits of single files: lengths, names, docstrings, forbidden calls.

Each rule takes parsed sources and yields findings; none of them reads a file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from statistics import median

from tests.tidy.source import Finding, Source, line_count

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_MEDIAN_MAX = 15
LINE_CHARACTERS_MAX = 100

SHIPPED = ("broker/", "patterns/")
#: The one place where tests may pause: between two looks at a condition with a deadline.
WAITING = "tests/support/"
CODE_THAT_RUNS_DATA = frozenset({"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"})
EMPTY_CLASS_NAMES = re.compile(r"(Manager|Helpers?|Impl|Base|Utils?)$|^Base[A-Z]")
EMPTY_MODULE_NAMES = re.compile(r"(^|_)(utils?|helpers?|misc|common|manager|base|impl)$")


def file_lengths(sources: Iterable[Source]) -> Iterator[Finding]:
    for source in sources:
        count = len(source.text.splitlines())
        if count > FILE_LINES_MAX:
            yield source.find(FILE_LINES_MAX + 1, f"{count} lines; {FILE_LINES_MAX} at most")


def line_lengths(sources: Iterable[Source]) -> Iterator[Finding]:
    for source in sources:
        for number, line in enumerate(source.text.splitlines(), 1):
            if len(line) > LINE_CHARACTERS_MAX:
                yield source.find(number, f"{len(line)} characters; {LINE_CHARACTERS_MAX} at most")


def function_lengths(sources: Iterable[Source]) -> Iterator[Finding]:
    for source in sources:
        for function in source.functions():
            count = line_count(function)
            if count > FUNCTION_LINES_MAX:
                text = f"{function.name} has {count} lines; {FUNCTION_LINES_MAX} at most"
                yield source.find(function.lineno, text)


def function_median(sources: Iterable[Source]) -> Iterator[Finding]:
    """The typical function of what is shipped is small, whatever its longest may be."""
    counts = [
        line_count(function)
        for source in sources
        if source.path.startswith(SHIPPED)
        for function in source.functions()
    ]
    if counts and median(counts) > FUNCTION_LINES_MEDIAN_MAX:
        text = (
            f"the median function has {median(counts)} lines; {FUNCTION_LINES_MEDIAN_MAX} at most"
        )
        yield Finding(SHIPPED[0], 0, text)


def module_docstrings(sources: Iterable[Source]) -> Iterator[Finding]:
    for source in sources:
        if source.tree.body and not ast.get_docstring(source.tree):
            yield source.find(1, "no docstring: say what the module owns and what it never does")


def empty_names(sources: Iterable[Source]) -> Iterator[Finding]:
    """Names that say nothing about what a thing is."""
    for source in sources:
        stem = source.module.rpartition(".")[2]
        if EMPTY_MODULE_NAMES.search(stem):
            yield source.find(1, f"the module's name {stem!r} says nothing about what it owns")
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and EMPTY_CLASS_NAMES.search(node.name):
                yield source.find(node.lineno, f"the name {node.name} says nothing")


def slotted_model(sources: Iterable[Source]) -> Iterator[Finding]:
    """A value of the model has its own fields and no others."""
    for source in sources:
        if not source.path.startswith("broker/model/"):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and not _is_slotted(node):
                yield source.find(
                    node.lineno, f"{node.name}: a dataclass of the model has slots=True"
                )


def _is_slotted(node: ast.ClassDef) -> bool:
    """True for a class that is no dataclass, too."""
    for decorator in node.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(call) in {"dataclass", "dataclasses.dataclass"}:
            words = decorator.keywords if isinstance(decorator, ast.Call) else []
            return any(word.arg == "slots" and ast.unparse(word.value) == "True" for word in words)
    return True


def code_in_data(sources: Iterable[Source]) -> Iterator[Finding]:
    """Formats whose reading can run code have no place beside a network."""
    for source in sources:
        for node in ast.walk(source.tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if name.split(".")[0] in CODE_THAT_RUNS_DATA:
                    assert isinstance(node, ast.Import | ast.ImportFrom)
                    yield source.find(node.lineno, f"{name} runs code that data names: use msgpack")


def hash_calls(sources: Iterable[Source]) -> Iterator[Finding]:
    """``hash()`` of text differs from process to process, so nothing may depend on it."""
    for source in sources:
        own = {
            id(call)
            for function in source.functions()
            if function.name == "__hash__"
            for call in ast.walk(function)
        }
        for call in source.calls():
            if isinstance(call.func, ast.Name) and call.func.id == "hash" and id(call) not in own:
                yield source.find(call.lineno, "hash() changes with the process: use zlib.crc32")


def sleeping_tests(sources: Iterable[Source]) -> Iterator[Finding]:
    """A test waits for a condition with a deadline, never for an amount of time."""
    for source in sources:
        if not source.path.startswith("tests/") or source.path.startswith(WAITING):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                if any(alias.name == "sleep" for alias in node.names):
                    yield source.find(node.lineno, "a test must not sleep to wait")
            elif isinstance(node, ast.Call) and _is_sleep(node):
                yield source.find(node.lineno, "a test must not sleep to wait")


def _is_sleep(call: ast.Call) -> bool:
    """``asyncio.sleep(0)`` waits for nothing: it lets others run."""
    name = ast.unparse(call.func)
    if name == "asyncio.sleep":
        return not (call.args and ast.unparse(call.args[0]) == "0")
    return name == "time.sleep"


def swallowed_errors(sources: Iterable[Source]) -> Iterator[Finding]:
    """Nothing silent: what is shipped never drops an error of every kind without a word."""
    for source in sources:
        if not source.path.startswith(SHIPPED):
            continue
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            kind = ast.unparse(node.type) if node.type else "BaseException"
            if kind in {"Exception", "BaseException"} and _does_nothing(node.body):
                yield source.find(node.lineno, f"except {kind} drops every error without a word")


def _does_nothing(body: list[ast.stmt]) -> bool:
    return all(isinstance(statement, ast.Pass | ast.Continue) for statement in body)
