"""What a container has changed: the same list and the same tar as from a real daemon, or more."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import struct
import tarfile
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from ovl1.formats import tarheader, tarwriter
from ovl1.formats.tarheader import BLOCK, HeaderParser
from ovl1.layer.changes import changes, changes_size
from ovl1.layer.diff import diff, native_diff
from ovl1.linux.beneath import Directory
from ovl1.model import Change
from ovl1.store.layout import Layout
from ovl1.store.trees import read_trees
from ovl1.tree.view import StackView
from tests.docker import nasty
from tests.docker.daemon import Daemon, DockerError
from tests.docker.nasty_layers import (
    BEFORE,
    CAP_NET_RAW,
    ODD,
    Entry,
    Image,
    directory,
    hardlink,
    image_archive,
    symlink,
)

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

_CAP_IN_NAMESPACE = struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 100000)
_LONG = "n" * 255

IMAGE = Image(
    ("diff:1",),
    (
        (
            *BEFORE,
            *ODD,
            directory("sub"),
            *(Entry(f"sub/{name}", content=b"same size") for name in ("edited", "hidden", "kept")),
            *(Entry(f"sub-{name}", content=b"x") for name in ("after", "before")),
            symlink("sub/link", "kept"),
            directory("socket-dir"),
            Entry("socket-dir/below/file"),
            directory("device-dir"),
            Entry("device-dir/file"),
            Entry("pair/one", content=b"pair"),
            hardlink("pair/two", "pair/one"),
            Entry("whole", mtime="1600000000"),
            Entry(_LONG, content=b"to be deleted"),
            *(Entry(f"{'p' * 60}/{'q' * 60}/{name}") for name in ("a", "b" * 99, "c" * 101)),
        ),
    ),
)


def make_plain_changes(root: Path) -> None:
    """What every container does."""
    (root / "sub/new").write_bytes(b"new")
    (root / "sub-new").mkdir()
    (root / "sub-new/x").write_bytes(bytes(3 << 20))
    (root / "sub/edited").write_bytes(b"edited!")
    (root / "gone-file").unlink()
    shutil.rmtree(root / "gone")
    (root / _LONG).unlink()
    (root / "meta/mode").chmod(0o4711)
    os.chown(root / "meta/owner", 7, 3000000)
    os.utime(root / "meta/mtime", (1, 981173106))
    (root / "times/2100").rename(root / "times/renamed")
    (root / "empty").touch()
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o3777)
    os.symlink("x" * 300, root / "far-link")
    os.symlink("caf\u00e9", root / "odd-link")


def make_other_kinds(root: Path) -> None:
    """What is of another type than before, or no file at all."""
    shutil.rmtree(root / "dir-to-file")
    (root / "dir-to-file").write_bytes(b"file")
    (root / "file-to-dir").unlink()
    (root / "file-to-dir").mkdir()
    (root / "file-to-dir/x").touch()
    shutil.rmtree(root / "reborn")
    (root / "reborn").mkdir()
    (root / "reborn/new").write_bytes(b"new")
    (root / "reborn/old").write_bytes(b"old")
    (root / "link-to-dir").unlink()
    (root / "link-to-dir").mkdir()
    os.mkfifo(root / "pipe")
    os.mknod(root / "char", stat.S_IFCHR | 0o640, os.makedev(259, 1048575))
    os.mknod(root / "loop-too", stat.S_IFBLK | 0o640, os.makedev(7, 1))
    os.mknod(root / "socket", stat.S_IFSOCK | 0o755)


def make_false_directories(root: Path) -> None:
    """What Docker takes for directories, because their types share a bit with those."""
    for name, kind in (("socket-dir", stat.S_IFSOCK), ("device-dir", stat.S_IFBLK)):
        shutil.rmtree(root / name)
        os.mknod(root / name, kind | 0o600, os.makedev(7, 2))


def make_names(root: Path) -> None:
    """Names and paths for which a ustar header has no place."""
    for name in ("two\nlines", "\u65e5", "\udcff\udcfe", "m" * 255, " ", "-rf", "[x]"):
        (root / "names" / name).write_bytes(b"x")
        (root / "names/dir-\udce9" / name).mkdir()
    (root / "names/not-utf8-\udcff\udcfe").unlink()
    deep = root / "p" / Path(*["d" * 49] * 5)
    deep.mkdir(parents=True)
    for length in (1, 99, 100, 101, 250):
        (deep / ("e" * length)).touch()
        (deep / ("f" * length)).mkdir()
        os.symlink("t" * length, root / "p" / ("s" * length))
    for entry in (root / ("p" * 60) / ("q" * 60)).iterdir():
        entry.write_bytes(b"x")


def make_links_and_attributes(root: Path) -> None:
    """Hard links of all kinds, capabilities, and times and sizes that do not fit."""
    os.link(root / "pair/one", root / "pair/three")
    for number in range(3):
        (root / f"linked-{number}").write_bytes(b"linked")
        os.link(root / f"linked-{number}", root / f"sub/linked-{number}")
    os.link(root / "far-link", root / "sub/far-link", follow_symlinks=False)
    os.link(root / "pipe", root / "sub/pipe")
    os.link(root / "char", root / "sub/char")
    os.setxattr(root / "linked-1", "security.capability", CAP_NET_RAW)
    os.setxattr(root / "sub/new", "security.capability", _CAP_IN_NAMESPACE)
    os.setxattr(root / "xattrs/ping", "security.capability", _CAP_IN_NAMESPACE)
    os.setxattr(root / "sub-new", "user.note", b"on what is new anyway")
    (root / "p" / ("u" * 101)).touch()
    os.setxattr(root / "p" / ("u" * 101), "security.capability", CAP_NET_RAW)
    for number, seconds in enumerate((-1, 0, 8589934591, 8589934592)):
        path = root / f"time-{number}"
        path.touch()
        os.utime(path, ns=(0, seconds * 10**9 + 999999999))


def make_hidden_changes(root: Path) -> None:
    """What Docker does not see."""
    for name in ("sub/hidden", "sub/link"):
        path = root / name
        before = path.lstat()
        path.unlink()
        if name == "sub/link":
            path.symlink_to("lost")
        else:
            path.write_bytes(b"SAME SIZE")
        os.utime(path, ns=(0, before.st_mtime_ns), follow_symlinks=False)
    os.utime(root / "whole", ns=(0, 1600000000 * 10**9 + 5))
    os.utime(root / "owners", ns=(0, 5))
    os.utime(root / "loop", ns=(0, 5))
    os.setxattr(root / "meta/same", "user.note", b"new")
    os.setxattr(root / "modes", "trusted.note", b"new")


CONTAINERS = {
    "plain": (make_plain_changes,),
    "kinds": (make_other_kinds,),
    "names": (make_names,),
    "all": (
        make_plain_changes,
        make_other_kinds,
        make_names,
        make_links_and_attributes,
        make_hidden_changes,
    ),
    "false": (make_false_directories,),
    "hidden": (make_hidden_changes,),
    "untouched": (),
}


# What only the exact comparison finds in the container "hidden"; Docker finds nothing there.
HIDDEN = [
    "C /loop",
    "C /meta",
    "C /meta/same",
    "C /modes",
    "C /owners",
    "C /sub",
    "C /sub/hidden",
    "C /sub/link",
    "C /whole",
]


class Container(NamedTuple):
    """A stopped container: what the daemon says of it, and where it lies."""

    said: list[str]
    size: int
    layer: bytes
    new: list[Path]
    old: list[Path]


@pytest.mark.parametrize("driver", ["overlay", "overlay2"])
def test_changes_and_tar_are_dockers(driver: str, disk: Path, work: Path) -> None:
    with Daemon(disk / "docker", driver, work / "daemon") as daemon:
        daemon.docker("load", stdin=image_archive(IMAGE, nasty.base()))
        containers = {name: container(daemon, name) for name in CONTAINERS}
    for name, made in containers.items():
        with view(made.new) as new, view(made.old) as old:
            found = [printed(change) for change in changes(new, old, docker=True)]
            assert sorted(found) == sorted(made.said), name
            if not made.layer:
                assert driver == "overlay"
            elif driver == "overlay":
                ours = b"".join(diff(new, old, docker=True))
                assert masked(ours) == masked(made.layer), name
                assert changes_size(new, old, docker=True) == made.size, name
            else:
                ours = b"".join(native_diff(new.layers[0], docker=True))
                assert ours == masked(made.layer, times=False), name
    assert containers["hidden"].said == []
    hidden = containers["hidden"]
    with view(hidden.new) as new, view(hidden.old) as old:
        assert [printed(change) for change in changes(new, old)] == HIDDEN


def container(daemon: Daemon, name: str) -> Container:
    """Make the container and its changes, and ask the daemon for them."""
    daemon.docker("run", "-d", "--network=none", "--name", name, "diff:1", "sleep", "1000")
    merged = Path(daemon.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", name))
    for make in CONTAINERS[name]:
        make(merged)
    daemon.docker("kill", name)
    try:
        daemon.docker("commit", name, f"committed:{name}")
        layer = last_layer(daemon, f"committed:{name}")
    except DockerError:
        # Its driver has made a layer that it cannot unpack: with whiteouts below a device.
        assert (name, daemon.driver) == ("false", "overlay")
        layer = b""
    upper = Path(daemon.docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name))
    layout = Layout(daemon.data_root, str(daemon.driver))
    table = read_trees(layout).trees
    mount_id = upper.parent.name
    said = daemon.docker("diff", name)
    return Container(
        said=re.split(r"\n(?=[ACD] /)", said) if said else [],
        size=int(daemon.docker("inspect", "-s", "-f", "{{.SizeRw}}", name)),
        layer=layer,
        new=table[mount_id].paths(layout),
        old=table[f"{mount_id}-init"].paths(layout),
    )


def last_layer(daemon: Daemon, image: str) -> bytes:
    """The tar of the topmost layer; Docker gives an image none in which nothing changed."""
    with daemon.streaming("save", image) as stream:
        archive = io.BytesIO(stream.read())
    with tarfile.open(fileobj=archive) as tar:
        manifest = json.loads(content(tar, "manifest.json"))
        layers = manifest[0]["Layers"]
        return content(tar, layers[-1]) if len(layers) > 1 + len(IMAGE.layers) else tarwriter.END


def content(tar: tarfile.TarFile, name: str) -> bytes:
    file: IO[bytes] | None = tar.extractfile(name)
    assert file is not None
    return file.read()


def view(paths: list[Path]) -> StackView:
    return StackView([Directory.open(path) for path in paths])


def printed(change: Change) -> str:
    """As ``docker diff`` has it: JSON has no bytes that are not UTF-8."""
    return f"{change.kind.letter} {change.path.decode('utf-8', 'replace')}"


def masked(tar: bytes, *, times: bool = True) -> bytes:
    """The tar without what may differ: user names, and the `times` of deletions.

    Debian builds its daemon with an unpatched ``archive/tar``, which writes the host's names of
    users and groups; Docker's own releases have left them out since 19.03.1.
    """
    result = bytearray(tar)
    stream = io.BytesIO(tar)
    parser = HeaderParser(stream.read)
    while True:
        entry = parser.next()
        if entry is None:
            return bytes(result)
        at = stream.tell() - BLOCK
        block = result[at : at + BLOCK]
        block[265:329] = bytes(64)
        if times and entry.kind == tarheader.FILE and b"/.wh." in b"/" + entry.name:
            block[136:148] = bytes(12)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        result[at : at + BLOCK] = block
        stream.seek(entry.stored + entry.padding, io.SEEK_CUR)
