"""The project's own Python sources, for the tests that read them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, List

ROOT = Path(__file__).resolve().parents[2]


def modules(directory: str) -> List[Path]:
    """The `.py` files below a directory of the checkout."""
    return sorted((ROOT / directory).rglob("*.py"))


def scripts() -> List[Path]:
    """Python files in tools/ that go without `.py`."""
    return [
        path
        for path in sorted((ROOT / "tools").iterdir())
        if path.is_file() and not path.suffix and b"python" in path.read_bytes().split(b"\n")[0]
    ]


def everything() -> List[Path]:
    """All Python files of the project."""
    return [ROOT / "setup.py", *modules("ovl1"), *modules("tests"), *modules("tools"), *scripts()]


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def at(path: Path, node: ast.AST) -> str:
    """`file:line`, as editors and people follow it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def dotted(node: ast.AST) -> Iterator[str]:
    """The name that an expression like `os.environ` spells, if it spells one."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        for owner in dotted(node.value):
            yield f"{owner}.{node.attr}"
