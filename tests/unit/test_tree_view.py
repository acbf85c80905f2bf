"""Merged views and their comparison: the kernel is asked first, then the view must agree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from ovl1.tree.compare import view_differences
from ovl1.tree.marks import OPAQUE
from ovl1.tree.view import Cursor, StackView

pytestmark = pytest.mark.needs("root", "overlay")


def view(*paths: Path) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{root.name} {path}")


def whiteout(path: Path) -> None:
    os.mknod(path, 0o20000, os.makedev(0, 0))


@pytest.fixture
def layers(tmp_path: Path) -> List[Path]:
    """Four layers, topmost first, in which everything that can hide something does."""
    made = [tmp_path / name for name in ("top", "third", "second", "base")]
    top, third, second, base = made
    put(base, "keep", "dir/a", "dir/b", "gone/x", "flip/x", "opaque/old", "deep/1/2/3", "file")
    put(second, "dir/c", "flip", "opaque/mid", "deep/1/2/4", "file")
    put(third, "flip/new", "dir/a")
    put(top, "opaque/new", "deep/1/5")
    whiteout(third / "gone")
    (top / "dir").mkdir()
    whiteout(top / "dir/b")
    whiteout(base / "hidden")
    os.setxattr(top / "opaque", OPAQUE, b"y")
    # At the root of a layer the kernel does not ask; Docker's overlay2 leaves such roots.
    os.setxattr(second, OPAQUE, b"y")
    os.setxattr(top, OPAQUE, b"y")
    return made


def plain_walk(root: Path) -> Dict[str, str]:
    found = {}
    for directory, _, files in os.walk(root):
        found[os.path.relpath(directory, root)] = ""
        for name in files:
            path = Path(directory, name)
            found[os.path.relpath(path, root)] = path.read_text()
    return found


def view_walk(of: StackView) -> Dict[str, str]:
    found = {}
    with Cursor(of) as cursor:
        for parts, here in of.walk():
            directory = b"/".join(parts).decode() or "."
            found[directory] = ""
            for name, entry in here.entries.items():
                if entry.kind == "file":
                    fd = cursor.open((*parts, name))
                    text = os.read(fd, 1000).decode()
                    os.close(fd)
                    found[os.path.normpath(f"{directory}/{name.decode()}")] = text
    return found


def test_the_view_is_what_the_kernel_shows(layers: List[Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    for number in range(2, len(layers) + 1):
        with mounts.mounted(mounts.overlay(layers[-number:]), merged):
            expected = plain_walk(merged)
        with view(*layers[-number:]) as shown:
            assert view_walk(shown) == expected
    assert "hidden" not in expected
    assert expected["flip/new"] == "third flip/new"
    assert "opaque/old" not in expected


def test_a_file_behind_a_link_or_a_whiteout_is_not_opened(layers: List[Path]) -> None:
    (layers[0] / "link").symlink_to("keep")
    (layers[0] / "alias").symlink_to("dir")
    with view(*layers) as shown, Cursor(shown) as cursor:
        for path in ((b"link",), (b"gone", b"x"), (b"dir", b"b"), (b"alias", b"a"), (b"dir",)):
            with pytest.raises(FileNotFoundError):
                cursor.open(path)
        fd = cursor.open((b"dir", b"a"))
        assert os.read(fd, 100) == b"third dir/a"
        os.close(fd)


def touch_dir(root: Path) -> None:
    os.utime(root / "dir", ns=(0, 1))


def swap_link(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("b")
    os.utime(root / "link", ns=(0, 0), follow_symlinks=False)


def edit_in_place(root: Path) -> None:
    (root / "dir/file").write_text("ONE")
    os.utime(root / "dir/file", ns=(0, 0))


def unlink_pair(root: Path) -> None:
    (root / "second").unlink()
    (root / "second").write_text("pair")
    os.utime(root / "second", ns=(0, 0))


def retype(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").mkdir()


CHANGES: List[Tuple[str, Callable[[Path], None], str]] = [
    ("dir", touch_dir, "modification time"),
    ("dir/file", lambda root: os.chmod(root / "dir/file", 0o600), "mode"),
    ("dir", lambda root: os.chmod(root / "dir", 0o1777), "mode"),
    ("dir/file", lambda root: os.chown(root / "dir/file", 5, 0), "owner"),
    ("dir/file", lambda root: os.setxattr(root / "dir/file", "user.x", b""), "extended attributes"),
    ("dir", lambda root: os.setxattr(root / "dir", "trusted.x", b"1"), "extended attributes"),
    ("dir/file", edit_in_place, "content"),
    ("dir/file", lambda root: os.truncate(root / "dir/file", 9), "size"),
    ("link", swap_link, "link target"),
    ("link", retype, "type"),
    ("dir/file", lambda root: os.unlink(root / "dir/file"), "missing in the new view"),
    ("extra", lambda root: put(root, "extra"), "only in the new view"),
    ("second", unlink_pair, "hard links"),
]


@pytest.mark.parametrize(
    ("path", "alter", "what"), CHANGES, ids=[f"{c[0]}-{c[2]}" for c in CHANGES]
)
def test_every_difference_is_found(
    tmp_path: Path, path: str, alter: Callable[[Path], None], what: str
) -> None:
    roots = [tmp_path / "old", tmp_path / "new"]
    for root in roots:
        (root / "dir").mkdir(parents=True)
        (root / "dir/file").write_text("one")
        (root / "first").write_text("pair")
        os.link(root / "first", root / "second")
        (root / "link").symlink_to("a")
        for entry in sorted(root.rglob("*"), reverse=True):
            os.utime(entry, ns=(0, 0), follow_symlinks=False)
        os.utime(root, ns=(0, 0))
    with view(roots[0]) as old, view(roots[1]) as new:
        assert list(view_differences(old, new)) == []
    alter(roots[1])
    with view(roots[0]) as old, view(roots[1]) as new:
        found = list(view_differences(old, new))
    assert (path, what) in [(b"/".join(each.path).decode(), each.what) for each in found] or (
        what == "hard links" and any(what in each.what for each in found)
    )
