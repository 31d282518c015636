"""Arrows between the rooms of the package go one way. A room that is not placed here fails the test."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import relo_ingest

ROOT = Path(relo_ingest.__file__).parent
PACKAGE = "relo_ingest"

FOUNDATIONS = (
    *("settings", "errors", "outcomes", "telemetry", "logs"),
    *("events", "money", "lifeline", "preflight", "_fast"),
)
# From the bottom up. A room may import what stands in a lower row, and itself; rooms of one row do not know each other.
ROWS: tuple[tuple[str, ...], ...] = (
    ("foundations",),
    ("clickhouse", "clickhouse.embedded"),
    ("registry", "identity", "spool"),
    ("ingest", "worker"),
    ("explain",),
    ("supervisor", "demo", "query", "doctor", "stripe_tools", "review", "rates"),
    ("cli",),
    ("__main__",),
)
FILES_ONLY = ("pixel", "clickhouse.schema")
"""Packages of data: they import nothing, and nothing imports them."""
ROW = {room: n for n, row in enumerate(ROWS) for room in row}


def modules() -> dict[str, Path]:
    """Every Python module of the package by its dotted name, without the package's own."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def names() -> set[str]:
    """What `import relo_ingest.<name>` finds: compiled units as well."""
    compiled = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in ROOT.rglob("*.pyx")}
    return set(modules()) | compiled


def room(name: str) -> str:
    """Raises LookupError for a module that has no place yet."""
    top = name.partition(".")[0]
    if top in FOUNDATIONS or not name:  # the package itself holds its version and nothing else
        return "foundations"
    for place in (*FILES_ONLY, "clickhouse.embedded", *ROW):
        if name == place or name.startswith(f"{place}."):
            return place
    raise LookupError(f"{name}: place this module in ROWS of {Path(__file__).name}")


def imports(source: str, name: str, *, is_package: bool) -> Iterator[str]:
    """Our modules that a module names, wherever: at its top, in functions, for type checkers, relatively."""
    known = names()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = [PACKAGE, *filter(None, name.split("."))]
                here = here[: len(here) - node.level + is_package]
                base = ".".join([*here, *filter(None, [base])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            package, _, inner = target.partition(".")
            if package == PACKAGE:
                while inner and inner not in known:  # a name inside a module
                    inner = inner.rpartition(".")[0]
                yield inner


def objection(importer: str, imported: str) -> str:
    """What is wrong with this arrow; "" when nothing is."""
    start, end = room(importer), room(imported)
    if start in FILES_ONLY or end in FILES_ONLY:
        return f"{importer} → {imported}: {start if start in FILES_ONLY else end} is for data files"
    if start != end and ROW[end] >= ROW[start]:
        return f"{importer} → {imported}: {start} may not know {end}"
    return ""


def arrows() -> list[tuple[str, str]]:
    return [
        (name, imported)
        for name, path in sorted(modules().items())
        for imported in imports(path.read_text(encoding="utf-8"), name, is_package=path.name == "__init__.py")
    ]


def test_every_module_has_its_place() -> None:
    for name in names():
        room(name)


def test_arrows_go_one_way() -> None:
    found = arrows()
    assert len(found) > 100
    assert [o for o in (objection(*arrow) for arrow in found) if o] == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph: dict[str, set[str]] = {}
    for importer, imported in arrows():
        if imported and not importer.startswith(f"{imported}."):  # a package's docstring module is no detour
            graph.setdefault(importer, set()).add(imported)
    list(graphlib.TopologicalSorter(graph).static_order())


def test_compiled_units_know_only_foundations() -> None:
    for path in (*ROOT.glob("_fast/*.pyx"), *ROOT.glob("_fast/*.pxd"), *ROOT.glob("_fast/*.pyi")):
        for target in re.findall(r"^\s*(?:from|c?import)\s+(relo_ingest[\w.]*)", path.read_text(), flags=re.MULTILINE):
            assert room(target.removeprefix("relo_ingest.")) == "foundations", f"{path.name} imports {target}"


@pytest.mark.parametrize(
    ("importer", "source", "objections"),
    [
        ("settings", "from relo_ingest.errors import ConfigError", 0),
        ("settings", "import relo_ingest.clickhouse.client", 1),
        ("registry.model", "def f():\n    from relo_ingest.spool import lane", 1),
        ("registry.model", "if TYPE_CHECKING:\n    from relo_ingest.identity import Identity", 1),
        ("registry.model", "from relo_ingest import identity, settings", 1),
        ("registry.model", "from relo_ingest.clickhouse import migrate", 0),
        ("spool.lane", "from ..worker import loop", 1),
        ("spool.lane", "from . import sync", 0),
        ("worker.loop", "from relo_ingest.ingest.server import serve", 1),
        ("ingest.app", "from relo_ingest import worker", 1),
        ("clickhouse.embedded.server", "from relo_ingest.clickhouse.client import connect", 1),
        ("clickhouse.embedded.server", "from ..migrate import apply", 1),
        ("clickhouse.embedded.server", "from ...errors import ReloError", 0),
        ("clickhouse.client", "from .embedded import serve", 1),
        ("ingest.app", "import relo_ingest.cli", 1),
        ("demo", "from relo_ingest import supervisor", 1),
        ("cli", "from relo_ingest import __version__, doctor", 0),
        ("cli", "import relo_ingest.pixel", 1),
        ("cli", "import relo_ingest_other, os.path", 0),
    ],
)
def test_an_arrow_back_is_noticed(importer: str, source: str, objections: int) -> None:
    found = [objection(importer, imported) for imported in imports(source, importer, is_package=False)]
    assert len([o for o in found if o]) == objections


def test_module_without_a_place_is_noticed() -> None:
    with pytest.raises(LookupError, match="place this module"):
        room("newcomer.inside")
