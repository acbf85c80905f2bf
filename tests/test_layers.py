"""Imports go downwards only, and features do not know each other.

Reads every import statement of the package, also those inside functions and below TYPE_CHECKING;
imports made from strings at run time are not seen.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, NamedTuple, Optional

import pytest

from tests.support.sources import ROOT, modules

# The levels from the bottom up. What shares a line does not import each other, except model,
# whose parsers raise the errors.
LEVELS = (
    ("errors",),
    ("model", "closing"),
    ("sorter", "numberset"),
    ("linux",),
    ("formats",),
    ("tree",),
    ("layer",),
    ("store",),
    ("driver",),
    ("images", "inodes", "migrate", "doctor", "plugin"),
    ("bench",),
    ("cli",),
    ("__main__",),
)
LEVEL_OF: Dict[str, int] = {name: level for level, names in enumerate(LEVELS) for name in names}

# Bytes in, values out: a format must be testable, and trustworthy, without a kernel.
NARROW: Dict[str, FrozenSet[str]] = {"formats": frozenset({"errors", "model", "closing", "sorter"})}


class Import(NamedTuple):
    """One package of ours that a file imports."""

    line: int
    target: str


def imports(source: str, module: str) -> Iterator[Import]:
    """Our packages that `source` imports; `module` is its dotted name, for relative imports.

    The module name of an `__init__.py` ends in `.__init__`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "ovl1" and rest and not rest.startswith("__version__"):
                yield Import(node.lineno, rest.split(".")[0])


def objection(importer: str, target: str) -> Optional[str]:
    """Why package `importer` must not import package `target`, if it must not."""
    if importer == target:
        return None
    if importer == "__init__":
        return "the package itself imports nothing, so that its parts stay apart"
    for name in (importer, target):
        if name not in LEVEL_OF:
            return f"{name} has no level yet: give it one in tests/test_layers.py"
    if importer in NARROW and target not in NARROW[importer]:
        return f"{importer} may import only {', '.join(sorted(NARROW[importer]))}, not {target}"
    if LEVEL_OF[target] == LEVEL_OF[importer]:
        return f"{importer} and {target} are features side by side: put what they share below"
    if LEVEL_OF[target] > LEVEL_OF[importer]:
        return f"{importer} may not import {target}, which is above it"
    return None


def complaints(source: str, path: Path) -> Iterator[str]:
    """Every forbidden import of a file, as `file:line: why`; `path` is relative to the checkout."""
    parts = path.with_suffix("").parts
    for found in imports(source, ".".join(parts)):
        why = objection(parts[1], found.target)
        if why:
            yield f"{path}:{found.line}: {why}"


def test_imports_go_downwards_only() -> None:
    found = [
        complaint
        for path in modules("ovl1")
        for complaint in complaints(path.read_text(encoding="utf-8"), path.relative_to(ROOT))
    ]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


BAD = """\
import os
import ovl1.driver.overlay1
from ovl1 import errors, store
from ..linux import mounts
from . import scan
from ovl1.nowhere import thing
def later() -> None:
    from ovl1.cli.main import main
"""


def test_a_bad_file_is_seen() -> None:
    assert list(complaints(BAD, Path("ovl1/tree/bad.py"))) == [
        "ovl1/tree/bad.py:2: tree may not import driver, which is above it",
        "ovl1/tree/bad.py:3: tree may not import store, which is above it",
        "ovl1/tree/bad.py:6: nowhere has no level yet: give it one in tests/test_layers.py",
        "ovl1/tree/bad.py:8: tree may not import cli, which is above it",
    ]


@pytest.mark.parametrize(
    ("path", "line", "word"),
    [
        ("ovl1/formats/tar.py", "from ovl1.linux import xattrs", "only closing, errors, model"),
        ("ovl1/migrate/plan.py", "from ovl1 import inodes", "side by side"),
        ("ovl1/migrate/__init__.py", "from ..inodes import scan", "side by side"),
        ("ovl1/errors.py", "from ovl1.model import LayerId", "above"),
        ("ovl1/__init__.py", "from ovl1.errors import OvlError", "itself imports nothing"),
    ],
)
def test_each_rule_bites(path: str, line: str, word: str) -> None:
    (complaint,) = complaints(line, Path(path))
    assert word in complaint


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("ovl1/model.py", "from ovl1.errors import BrokenStore"),
        ("ovl1/migrate/plan.py", "from .journal import Journal"),
        ("ovl1/migrate/__init__.py", "from . import plan"),
        ("ovl1/migrate/plan.py", "from ovl1.migrate import journal"),
        ("ovl1/cli/main.py", "from ovl1 import __version__"),
        ("ovl1/__main__.py", "from ovl1.cli.main import main"),
    ],
)
def test_good_imports_pass(path: str, line: str) -> None:
    assert not list(complaints(line, Path(path)))
