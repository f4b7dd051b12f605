"""Which module may import which: the floors, purity, and no cycles.

Law: a module imports only from its own floor's list above it or from a lower floor.  The
table below is the one in ``docs/architecture.md``; a new package gets its row in both.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.tidy.source import Finding, Source

#: From the ground up.  Each row may import the rows above it.
FLOORS = (
    (0, "broker.errors"),
    (0, "broker.limits"),
    (0, "broker.names"),
    (1, "broker.model"),
    (2, "broker.protocol"),
    (2, "broker.cluster"),
    (2, "broker.core"),
    (3, "broker.storage"),
    (3, "broker.node"),
    (4, "broker.client"),
    (4, "broker.server"),
    (5, "broker.cli"),
    (5, "broker.testing"),
)
FLOOR_OF = {package: floor for floor, package in FLOORS}
RANK_OF = {package: rank for rank, (_, package) in enumerate(FLOORS)}

GROUND = {package for floor, package in FLOORS if floor == 0}
#: Narrower than the floors: what runs in a user's process loads no broker.
ONLY: Mapping[str, set[str]] = {
    "broker.client": GROUND | {"broker.client", "broker.model", "broker.protocol"},
    "patterns": GROUND | {"broker.client", "patterns"},
    "examples": {"patterns", "examples"},
}

#: Packages that decide and never act: the shell hands them the time and random bits.
PURE = {package for floor, package in FLOORS if floor <= 2} | {"broker.node"}
#: The simulator is pure but for generators that one seed feeds.  Its command line is a shell, and
#: so are the faces of the broker in memory.
SEEDED = "broker.testing"
SEEDED_SHELLS = {
    "broker.testing.__main__",
    "broker.testing.memory.broker",
    "broker.testing.memory.calls",
    "broker.testing.memory.passing",
}
#: The client's conversation is pure as well, with all modules of the client that it uses.
PURE_SESSION = "broker.client.session"
OUTSIDE_WORLD = frozenset(
    {
        *("asyncio", "concurrent", "datetime", "logging", "multiprocessing", "os", "pathlib"),
        *("queue", "random", "rocksdict", "secrets", "select", "selectors", "shutil", "signal"),
        *("socket", "subprocess", "sys", "tempfile", "threading", "time", "uuid", "zmq"),
    }
)


class Import(NamedTuple):
    """``importer`` names ``imported`` on ``line``; the names are dotted."""

    importer: str
    imported: str
    line: int


def imports_of(
    source: Source, known: Iterable[str] = (), *, for_types: bool = True
) -> Iterator[Import]:
    """Every import, inside functions too, and those behind TYPE_CHECKING when ``for_types``.

    ``known`` are the project's modules: ``from a import b`` names the module ``a.b`` when
    that is one, and ``a`` otherwise.
    """
    modules = set(known)
    skipped = set() if for_types else set(_type_imports(source))
    for node in ast.walk(source.tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(source.module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(source.module, full if full in modules else base, node.lineno)


def _type_imports(source: Source) -> Iterator[ast.AST]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                yield from ast.walk(statement)


def package_of(module: str) -> str:
    """The row of the table that ``module`` belongs to, or its top-level package."""
    head = ".".join(module.split(".")[:2])
    return head if head in FLOOR_OF else module.split(".", maxsplit=1)[0]


def floors(sources: Iterable[Source]) -> Iterator[Finding]:
    """Imports that climb, and imports that the client, patterns and examples may not have."""
    listed = list(sources)
    known = {source.module for source in listed} | set(FLOOR_OF)
    for source in listed:
        for found in imports_of(source, known):
            reason = _breach(package_of(source.module), package_of(found.imported), found)
            if reason:
                yield source.find(found.line, reason)


def _breach(importer: str, imported: str, found: Import) -> str:
    if importer == imported or imported not in {*FLOOR_OF, *ONLY, "tests", "bench"}:
        return ""
    if importer in {"tests", "bench"} or found.importer == "broker.__main__":
        return ""
    if importer in ONLY:
        if imported in ONLY[importer]:
            return ""
        return f"{importer} may import {', '.join(sorted(ONLY[importer]))} and not {imported}"
    if importer not in FLOOR_OF:
        return f"{importer} has no floor: give it a row in tests/tidy/imports.py"
    if imported not in FLOOR_OF or RANK_OF[imported] > RANK_OF[importer]:
        floor = FLOOR_OF[importer]
        return f"{importer} (floor {floor}) must not import {imported}, which stands above it"
    return ""


def purity(sources: Iterable[Source]) -> Iterator[Finding]:
    """Pure packages that reach for the outside world."""
    listed = list(sources)
    session = _session_modules(listed)
    for source in listed:
        forbidden = _forbidden(source.module, session)
        if not forbidden:
            continue
        for found in imports_of(source):
            if found.imported.split(".")[0] in forbidden:
                yield source.find(
                    found.line,
                    f"{source.module} is pure and must not import {found.imported}:"
                    " time, random bits and input and output come as arguments and effects",
                )
        for call in source.calls():
            if isinstance(call.func, ast.Name) and call.func.id in {"open", "print", "input"}:
                yield source.find(call.lineno, f"{source.module} is pure: no {call.func.id}()")


def _forbidden(module: str, session: set[str]) -> frozenset[str]:
    """What of the outside world the module may not import."""
    package = package_of(module)
    if package in PURE or module in session:
        return OUTSIDE_WORLD
    if package == SEEDED and module not in SEEDED_SHELLS:
        return OUTSIDE_WORLD - {"random"}
    return frozenset()


def _session_modules(sources: Sequence[Source]) -> set[str]:
    known = {source.module: source for source in sources}
    found: set[str] = set()
    left = [PURE_SESSION] if PURE_SESSION in known else []
    while left:
        module = left.pop()
        found.add(module)
        used = {item.imported for item in imports_of(known[module], known, for_types=False)}
        left += [
            name for name in (used & known.keys()) - found if name.startswith("broker.client.")
        ]
    return found


def cycles(sources: Iterable[Source]) -> Iterator[Finding]:
    """One finding for each circle of modules that import one another as they run.

    Two modules may name one another's types: that makes no order of loading.
    """
    listed = list(sources)
    known = {source.module for source in listed}
    graph = {
        source.module: sorted(
            {found.imported for found in imports_of(source, known, for_types=False)} & known
        )
        for source in listed
    }
    paths = {source.module: source.path for source in listed}
    for ring in _rings(graph):
        yield Finding(paths[ring[0]], 1, f"a cycle of imports: {' -> '.join((*ring, ring[0]))}")


def _rings(graph: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Depth-first search; a step back to a module still on the path closes a ring."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)] if start not in done else []
        while stack:
            module, index = stack.pop()
            if index == 0:
                path.append(module)
            targets = graph[module]
            if index == len(targets):
                done.add(path.pop())
                continue
            stack.append((module, index + 1))
            target = targets[index]
            if target in path:
                yield path[path.index(target) :]
            elif target not in done:
                stack.append((target, 0))
