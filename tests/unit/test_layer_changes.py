"""Changes between views made by hand; tests/docker compares them with a daemon's."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Set

import pytest

from ovl1.layer.changes import changes, changes_size
from ovl1.linux.beneath import Directory, Name
from ovl1.tree.marks import OPAQUE
from ovl1.tree.view import MergedDir, StackView

pytestmark = pytest.mark.needs("root")


class Layers(NamedTuple):
    """An image's tree and, over it, the uppers of a container and of its init layer."""

    root: Path
    init: Path
    upper: Path

    def listed(self, *, docker: bool = False) -> List[str]:
        return listed([self.upper, self.root], [self.init, self.root], docker=docker)

    def edit(self, name: str) -> Path:
        """Copy a file of the image up, all its metadata too; its path for further changes."""
        target = self.upper / name
        for directory in reversed(Path(name).parents[:-1]):
            if not (self.upper / directory).exists():
                (self.upper / directory).mkdir()
                shutil.copystat(self.root / directory, self.upper / directory)
        shutil.copy2(self.root / name, target, follow_symlinks=False)
        for directory in Path(name).parents[:-1]:
            shutil.copystat(self.root / directory, self.upper / directory)
        return target

    def whiteout(self, name: str) -> None:
        os.mknod(self.upper / name, stat.S_IFCHR)


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    made = Layers(*(tmp_path / name for name in ("root", "init", "upper")))
    for directory in (*made, made.root / "dir/sub", made.root / "dir-2"):
        directory.mkdir(parents=True)
    for name in ("file", "dir/file", "dir/sub/file", "dir-2/file"):
        (made.root / name).write_text("same")
    (made.root / "link").symlink_to("file")
    os.mknod(made.root / "device", stat.S_IFBLK | 0o600, os.makedev(7, 7))
    for path in sorted(made.root.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1600000000 * 10**9), follow_symlinks=False)
    return made


def view(paths: List[Path]) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def listed(new: List[Path], old: List[Path], *, docker: bool = False) -> List[str]:
    with view(new) as after, view(old) as before:
        found = changes(after, before if old else None, docker=docker)
        return [f"{change.kind.letter} {change.path.decode()}" for change in found]


def keep_time(path: Path) -> None:
    os.utime(path, ns=(0, 1600000000 * 10**9), follow_symlinks=False)


def content(layers: Layers) -> None:
    layers.edit("file").write_text("SAME")
    keep_time(layers.upper / "file")


def size(layers: Layers) -> None:
    layers.edit("file").write_text("longer")
    keep_time(layers.upper / "file")


def target(layers: Layers) -> None:
    path = layers.edit("link")
    path.unlink()
    path.symlink_to("fil2")
    keep_time(path)


def nothing(layers: Layers) -> None:
    for name in ("file", "link", "dir/sub/file"):
        layers.edit(name)


def at(ns: int) -> Callable[[Layers], None]:
    def touch(layers: Layers) -> None:
        os.utime(layers.edit("file"), ns=(0, 1600000000 * 10**9 + ns))

    return touch


def directory_time(layers: Layers) -> None:
    layers.edit("dir/file")
    os.utime(layers.upper / "dir", ns=(0, 5))


def directory_mode(layers: Layers) -> None:
    layers.edit("dir/file")
    (layers.upper / "dir").chmod(0o700)


def directory_attribute(layers: Layers) -> None:
    layers.edit("dir/file")
    os.setxattr(layers.upper / "dir", "user.x", b"1")


def attribute(layers: Layers) -> None:
    os.setxattr(layers.edit("dir/file"), "trusted.x", b"1")


def capability(layers: Layers) -> None:
    os.setxattr(layers.edit("dir/file"), "security.capability", b"\0\0\0\2" + bytes(16))


def device_time(layers: Layers) -> None:
    os.mknod(layers.upper / "device", stat.S_IFBLK | 0o600, os.makedev(7, 7))


def device_number(layers: Layers) -> None:
    os.mknod(layers.upper / "device", stat.S_IFBLK | 0o600, os.makedev(7, 8))
    keep_time(layers.upper / "device")


def removed(layers: Layers) -> None:
    layers.whiteout("dir")
    layers.whiteout("link")
    layers.whiteout("never-there")


def opaque(layers: Layers) -> None:
    (layers.upper / "dir").mkdir()
    (layers.upper / "dir/new").mkdir()
    (layers.upper / "dir/new/file").touch()
    shutil.copystat(layers.root / "dir", layers.upper / "dir")
    os.setxattr(layers.upper / "dir", OPAQUE, b"y")


def to_file(layers: Layers) -> None:
    (layers.upper / "dir").touch()


def to_socket(layers: Layers) -> None:
    os.mknod(layers.upper / "dir", stat.S_IFSOCK | 0o600)


def to_directory(layers: Layers) -> None:
    (layers.upper / "file").mkdir()
    (layers.upper / "file/x").touch()


def owner(layers: Layers) -> None:
    os.chown(layers.edit("link"), 1, 2, follow_symlinks=False)


# What was done; what Docker sees; what else there is.
TABLE: List[tuple[Callable[[Layers], None], List[str], List[str]]] = [
    (nothing, [], []),
    (size, ["C /file"], []),
    (content, [], ["C /file"]),
    (target, [], ["C /link"]),
    (owner, ["C /link"], []),
    (at(5), [], ["C /file"]),
    (at(-5), ["C /file"], []),
    (directory_time, [], ["C /dir"]),
    (directory_mode, ["C /dir"], []),
    (directory_attribute, [], ["C /dir"]),
    (attribute, [], ["C /dir", "C /dir/file"]),
    (capability, ["C /dir", "C /dir/file"], []),
    (device_time, [], ["C /device"]),
    (device_number, ["C /device"], []),
    (removed, ["D /dir", "D /link"], []),
    (opaque, ["C /dir", "A /dir/new", "A /dir/new/file", "D /dir/file", "D /dir/sub"], []),
    (to_file, ["C /dir"], []),
    (to_directory, ["C /file", "A /file/x"], []),
]


@pytest.mark.parametrize(
    ("make", "seen", "missed"), TABLE, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_kind_of_change(
    layers: Layers, make: Callable[[Layers], None], seen: List[str], missed: List[str]
) -> None:
    make(layers)
    assert set(layers.listed(docker=True)) == set(seen)
    assert set(layers.listed()) == {*seen, *missed}


def test_docker_takes_a_socket_for_a_directory(layers: Layers) -> None:
    to_socket(layers)
    assert layers.listed() == ["C /dir"]
    assert layers.listed(docker=True) == ["C /dir", "D /dir/file", "D /dir/sub"]


def test_they_are_sorted_by_path_and_parents_are_listed(layers: Layers) -> None:
    layers.edit("dir-2/file").write_text("x")
    layers.edit("dir/sub/file").write_text("x")
    assert layers.listed() == [
        "C /dir",
        "C /dir-2",
        "C /dir-2/file",
        "C /dir/sub",
        "C /dir/sub/file",
    ]


def test_without_a_parent_everything_is_added(layers: Layers) -> None:
    (layers.upper / "new").touch()
    layers.whiteout("dir")
    assert listed([layers.upper, layers.root], []) == [
        *("A /device", "A /dir-2", "A /dir-2/file", "A /file", "A /link", "A /new")
    ]


def test_what_the_init_layer_did_is_no_change_of_the_container(layers: Layers) -> None:
    for upper in (layers.init, layers.upper):
        (upper / "etc").mkdir()
        (upper / "etc/hosts").touch()
        for path in (upper / "etc/hosts", upper / "etc"):
            os.utime(path, ns=(0, 0))
    assert layers.listed() == []
    (layers.init / "gone").touch()
    layers.upper.joinpath("mine").touch()
    assert layers.listed() == ["D /gone", "A /mine"]
    assert listed([layers.init, layers.root], [layers.root])[0] == "A /etc"


def test_image_layers_are_compared_by_inode_first(layers: Layers, tmp_path: Path) -> None:
    child = tmp_path / "child"
    shutil.copytree(layers.root, child, copy_function=link, symlinks=True)
    assert listed([child], [layers.root], docker=True) == []
    (child / "dir/file").unlink()
    (child / "dir/sub/more").touch()
    assert listed([child], [layers.root], docker=True) == [
        *("C /dir", "D /dir/file", "C /dir/sub", "A /dir/sub/more")
    ]


def link(source: str, target: str) -> None:
    os.link(source, target, follow_symlinks=False)


def test_a_stack_of_many_over_what_its_parent_stands_on(layers: Layers) -> None:
    layers.edit("dir/file").write_text("1")
    (layers.init / "dir").mkdir()
    os.setxattr(layers.init / "dir", OPAQUE, b"y")
    (layers.init / "dir/file").write_text("2")
    stack = [layers.upper, layers.init, layers.root]
    assert "C /dir/file" in listed(stack, stack[1:])
    assert not [line for line in listed(stack, stack[1:]) if "/dir/sub" in line]
    assert "D /dir/sub" in listed(stack, stack[2:])


def test_a_file_that_got_a_new_link_is_listed_with_it(layers: Layers) -> None:
    path = layers.edit("file")
    layers.edit("dir/file")
    assert layers.listed() == []
    os.link(path, layers.upper / "linked")
    assert layers.listed() == ["C /file", "A /linked"]
    assert layers.listed(docker=True) == ["A /linked"]


def test_unchanged_files_that_became_links_of_each_other_are_listed(layers: Layers) -> None:
    path = layers.edit("file")
    layers.edit("dir/file").unlink()
    os.link(path, layers.upper / "dir/file")
    shutil.copystat(layers.root / "dir", layers.upper / "dir")
    assert layers.listed() == ["C /dir", "C /dir/file", "C /file"]


def test_lower_directories_are_never_listed(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the cost would grow with the image."""
    content(layers)
    removed(layers)
    layers.edit("dir-2/file")
    opaque_sub = layers.upper / "new"
    opaque_sub.mkdir()
    os.setxattr(opaque_sub, OPAQUE, b"y")
    lower = {path.stat().st_ino for path in (layers.root, *layers.root.rglob("*"))}
    names = Directory.names
    seen: Set[int] = set()

    def noting(self: Directory) -> List[Name]:
        seen.add(self.stat().st_ino)
        return names(self)

    monkeypatch.setattr(Directory, "names", noting)
    for docker in (False, True):
        assert layers.listed(docker=docker)
    assert layers.upper.stat().st_ino in seen
    assert not lower & seen


def test_a_single_name_is_found_as_a_listing_has_it(layers: Layers) -> None:
    layers.edit("file")
    layers.whiteout("link")
    (layers.init / "dir").mkdir()
    layers.whiteout("device")
    with view([layers.upper, layers.init, layers.root]) as stack:
        for listed_one, asked in zip(stack.walk(), stack.walk()):
            entries, here = listed_one[1].entries, asked[1]
            for name in (*entries, b"dir", b"link", b"never-there", b"n" * 300):
                fresh = MergedDir(here.stack, here.layers, stack.layers)
                assert fresh.find(name) == entries.get(name)


def test_the_size_counts_each_inode_once(layers: Layers) -> None:
    layers.edit("file").write_bytes(bytes(1000))
    os.link(layers.upper / "file", layers.upper / "again")
    (layers.upper / "dangling").symlink_to("12345")
    (layers.upper / "dir").mkdir()
    layers.whiteout("link")
    with view([layers.upper, layers.root]) as new, view([layers.init, layers.root]) as old:
        assert changes_size(new, old) == changes_size(new, old, docker=True) == 1005
        assert changes_size(old, None) == 4 * len("same") + len("file")


def test_many_levels(tmp_path: Path) -> None:
    """Deeper than Python's own stack; each level holds a descriptor of each layer."""
    made: Dict[str, Path] = {name: tmp_path / name for name in ("root", "upper")}
    for path in made.values():
        path.mkdir()
        fd = os.open(path, os.O_RDONLY)
        for _ in range(400):
            os.mkdir("d", dir_fd=fd)
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.utime(below, ns=(0, 0))
            os.close(fd)
            fd = below
        if path.name == "upper":
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
    found = listed([made["upper"], made["root"]], [made["root"]], docker=True)
    assert (len(found), found[-1]) == (401, "A " + "/d" * 400 + "/file")
