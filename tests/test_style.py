"""House style, held by tests: linters, sizes, docstrings, and who may touch what.

The style of the prose and the layering (tests/test_layers.py) are not checked here. Docstrings of
public names, `print` and the like are ruff's business and configured in pyproject.toml.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from tests.support.sources import ROOT, at, dotted, everything, modules, parsed, scripts

FILE_BUDGET = 350
FILE_LIMIT = 600
FUNCTION_LIMIT = 50

# Files that have earned more than the budget, each with its reason.
LONG_FILES: Tuple[str, ...] = ()

# Only the command line talks to the user, reads the environment, and ends the process.
FRONT = ("ovl1/cli/", "ovl1/__main__.py")
FRONT_ONLY = {"print", "input", "sys.exit", "os._exit", "os.environ", "os.environb", "os.getenv"}
ONE_IMPORTER = {"xattr": "ovl1/linux/xattrs.py", "psutil": "ovl1/linux/procs.py"}

# Directories that anybody may have, so that naming one says nothing about the author's machine.
COMMON_PLACES = {"/", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr/src", "/var/tmp"}


def run(*command: str) -> None:
    """Run a Python module as a check; its report is the test's failure."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if f"No module named {command[0]}" in done.stderr:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(f"{command[0]} is not installed: pip install -e .[dev]")
    if done.returncode:
        pytest.fail(f"{' '.join(command[:2])}:\n{done.stdout}{done.stderr}", pytrace=False)


def report(complaints: Iterator[str]) -> None:
    found = list(complaints)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", ".", *map(str, scripts()))


def test_format_is_ruffs() -> None:
    run("ruff", "format", "--check", "--diff", ".", *map(str, scripts()))


def test_types_are_strict() -> None:
    run("mypy", "ovl1", "tests", *(["tools"] if modules("tools") else []))
    if scripts():
        run("mypy", "--scripts-are-modules", *map(str, scripts()))


def test_types_hold_on_3_8() -> None:
    library = [path for path in modules("ovl1") if not name_of(path).startswith(FRONT)]
    run("mypy", "--python-version", "3.8", *map(str, library))


def test_every_package_is_installed() -> None:
    report(
        f"{name_of(path)}: has no __init__.py beside it, so setuptools would leave it out"
        for path in modules("ovl1")
        if not (path.parent / "__init__.py").exists()
    )


def test_files_are_short() -> None:
    def complaints() -> Iterator[str]:
        for path in everything():
            length = len(path.read_text(encoding="utf-8").splitlines())
            limit = FILE_LIMIT if name_of(path) in LONG_FILES else FILE_BUDGET
            if length > limit:
                yield f"{name_of(path)}: {length} lines, at most {limit}"

    report(complaints())


def test_functions_are_short() -> None:
    def complaints() -> Iterator[str]:
        for path in everything():
            for node in ast.walk(parsed(path)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    length = (node.end_lineno or node.lineno) - node.lineno + 1
                    if length > FUNCTION_LIMIT:
                        yield f"{at(path, node)}: {node.name} has {length} lines"

    report(complaints())


def front_only_uses(tree: ast.Module) -> Iterator[Tuple[ast.AST, str]]:
    """Where a file does what only the command line may do."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in FRONT_ONLY:
                    yield node, f"{node.module}.{alias.name}"
        elif isinstance(node, (ast.Name, ast.Attribute)):
            for name in FRONT_ONLY.intersection(dotted(node)):
                yield node, name


def imported_packages(tree: ast.Module) -> Iterator[Tuple[ast.AST, str]]:
    """The top-level packages that a file imports, with the place."""
    for node in ast.walk(tree):
        names: List[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            yield node, name.split(".")[0]


def test_only_the_command_line_talks_and_exits() -> None:
    report(
        f"{at(path, node)}: {name} belongs into ovl1/cli"
        for path in modules("ovl1")
        if not name_of(path).startswith(FRONT)
        for node, name in front_only_uses(parsed(path))
    )


def test_awkward_libraries_have_one_importer() -> None:
    report(
        f"{at(path, node)}: only {ONE_IMPORTER[package]} imports {package}"
        for path in modules("ovl1")
        for node, package in imported_packages(parsed(path))
        if ONE_IMPORTER.get(package, name_of(path)) != name_of(path)
    )


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    places = {str(ROOT), str(ROOT.parent), str(Path.home())} - COMMON_PLACES
    here = "|".join(re.escape(place) for place in sorted(places))
    pattern = re.compile(rf"(?<![\w.}}/-])(?:{here})(?![\w.-])")
    report(
        f"{name_of(path)}:{number}: names a directory of this machine"
        for path in everything()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    )


@pytest.mark.parametrize("name", ["tools/test", "tools/demo", ".ci/run"])
def test_scripts_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    shell = "bash" if b"bash" in (ROOT / name).read_bytes().split(b"\n")[0] else "sh"
    subprocess.run([shell, "-n", str(ROOT / name)], check=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import os\nos.environ['A']", {"os.environ"}),
        ("from os import environ", {"os.environ"}),
        ("print('x')", {"print"}),
        ("import sys\nsys.exit(1)", {"sys.exit"}),
        ("x.print('fine')", set()),
    ],
)
def test_the_check_itself_sees(line: str, expected: object) -> None:
    assert {name for _, name in front_only_uses(ast.parse(line))} == expected
