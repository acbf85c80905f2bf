"""Containers of the nasty store: created, stopped, running, and changed in every way."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Callable

from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import CAP_NET_RAW, Entry, directory, layer_tar, symlink

# name -> (image, what its shell does); all are stopped afterwards.
_SHELL = {
    "deleted": (
        "nasty/unreplaced:1",
        "rm -rf /gone /gone-file /deep/a/file /hard/one /link-to-dir",
    ),
    "rebuilt": (
        "nasty/unreplaced:1",
        "rm -rf /reborn && mkdir /reborn && echo new > /reborn/new;"
        "rm -rf /reborn-empty && mkdir /reborn-empty;"
        "rm /reborn-file && printf same > /reborn-file;"
        "rm -rf /deep && mkdir -p /deep/a && echo deep > /deep/a/file",
    ),
    "retyped": (
        "nasty/unreplaced:1",
        "rm -r /dir-to-file && echo x > /dir-to-file;"
        "rm -r /dir-to-link && ln -s opaque /dir-to-link;"
        "rm /file-to-dir && mkdir /file-to-dir && echo x > /file-to-dir/x;"
        "rm /file-to-link && ln -s opaque /file-to-link;"
        "rm /file-to-fifo && mkfifo /file-to-fifo;"
        "rm /link-to-dir && mkdir /link-to-dir && echo x > /link-to-dir/x",
    ),
    "moved": ("nasty/unreplaced:1", "mv /gone /moved; mv /moved/file /came-from-gone"),
    "moved-new": ("nasty/unreplaced:1", "mkdir /new && echo x > /new/x && mv /new /newer"),
    "attributes": (
        "nasty/unreplaced:1",
        "chmod 4711 /meta/mode; chown 7:8 /meta/owner; touch -d '2001-02-03 04:05:06' /meta/mtime;"
        "chmod 0700 /opaque; chown 9:9 /reborn; touch -d '2001-02-03 04:05:06' /deep",
    ),
    "back-and-forth": (
        "nasty/unreplaced:1",
        "chmod 0600 /meta/mode; chmod 0644 /meta/mode; touch /opaque/x; rm /opaque/x",
    ),
    "linked": (
        "nasty/unreplaced:1",
        "ln /hard/one /hard/four; echo a > /a; ln /a /b; ln /a /hard/c; ln -s a /s; ln /s /s2;"
        "echo changed > /hard/three",
    ),
    "names": (
        "nasty/odd:1",
        r'cd /names; echo 1 > "$(printf "more-\\376")"; echo 2 > "$(printf "two\nlines")";'
        r'rm "$(printf "not-utf8-\\377\\376")"; rm -- -rf "*" .wh; rm -r dir-*; touch " "',
    ),
    "special": (
        "nasty/odd:1",
        "mkfifo /pipe; mknod /char c 1 7; mknod /block b 7 1; rm /null /fifo; chmod 0 /loop;"
        "echo x > /suid; chmod 6755 /suid; mkdir -m 1777 /sticky; truncate -s 4M /sparse",
    ),
    "on-deep": ("nasty/deep:1", "echo here > /counter; rm -r /all/3 /deep; rm -rf /flip"),
    "on-replaced": ("nasty/replaced:1", "rm /opaque/new; echo x > /reborn/old; mkdir /gone"),
    "on-links-down": ("nasty/links-down:1", "echo x >> /hard/lower; rm /hard/changed"),
    "on-root-entry": ("nasty/root-entry:1", "chmod 0750 /; touch /x"),
    "on-built": ("nasty/built:1", "rm -rf /e && mkdir /e && echo x > /e/f; rm /sparse"),
    "volume": ("nasty/base:1", "echo kept > /vol/file; echo x > /beside"),
    "failing": ("nasty/base:1", "touch /tmp/x; exit 3"),
}
_OPTIONS = {"volume": ("--volume=nasty-volume:/vol",)}


def make_containers(daemon: Daemon) -> None:
    """Make them all. Nothing runs afterwards but ``always``, which is restarted by each daemon."""
    for name, (image, script) in _SHELL.items():
        _run(daemon, name, image, script)
    for name, (image, change) in _FROM_OUTSIDE.items():
        daemon.docker("run", "-d", "--network=none", "--name", name, image, "sleep", "1000")
        change(Path(daemon.docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", name)))
        daemon.docker("kill", name)
    daemon.docker("commit", "rebuilt", "nasty/committed:1")
    daemon.docker("commit", "special", "nasty/committed:2")
    _run(daemon, "on-committed", "nasty/committed:1", "rm /reborn/new; echo x > /reborn/old")
    for image in sorted(set(daemon.docker("images", "-q").split())):
        _create(daemon, f"untouched-{image}", image)
    _create(daemon, "copied-into", "nasty/unreplaced:1")
    daemon.docker("cp", "-a", "-", "copied-into:/", stdin=layer_tar(_COPIED))
    daemon.build("nasty/lost:1", "FROM nasty/base:1\nRUN echo lost > /lost\n")
    _run(daemon, "untagged", "nasty/lost:1", "echo x > /x")
    daemon.build("nasty/lost:1", "FROM nasty/base:1\nRUN echo found > /lost\n")
    always = ("--restart=always", "nasty/base:1", "sleep", "1000")
    daemon.docker("run", "-d", "--network=none", "--name", "always", *always)


def _run(daemon: Daemon, name: str, image: str, script: str) -> None:
    options = ("--network=none", "--name", name, *_OPTIONS.get(name, ()))
    # The exit code of the script is the container's business.
    daemon.docker("run", *options, image, "sh", "-c", script, check=False)


def _create(daemon: Daemon, name: str, image: str) -> None:
    daemon.docker("create", "--network=none", "--name", name, image, "sleep", "1000")


_COPIED = (
    directory("copied", mode=0o750, owner=(1000, 1000)),
    Entry("copied/file", content=b"from outside", owner=(7, 8), mtime="1500000000"),
    Entry("etc/mtab", content=b"a file where the init layer has a link"),
    symlink("etc/hosts", "/copied/file"),
    Entry("hard/one", content=b"over an inherited file"),
)


def _without_skeleton(root: Path) -> None:
    """Take back what Docker's init layer made."""
    for name in (".dockerenv", "etc/mtab", "etc/hosts", "dev/console"):
        (root / name).unlink()
    (root / "dev/shm").rmdir()
    (root / "etc/hostname").unlink()
    (root / "etc/hostname").mkdir()


def _with_new_skeleton(root: Path) -> None:
    """Replace the directories of the init layer by new ones, which are opaque then."""
    for name in ("pts", "shm", "console"):
        path = root / "dev" / name
        path.unlink() if path.is_file() else path.rmdir()
    (root / "dev").rmdir()
    (root / "dev").mkdir()
    (root / "dev/console").write_bytes(b"mine")
    (root / ".dockerenv").unlink()
    (root / ".dockerenv").write_bytes(b"")


def _with_xattrs(root: Path) -> None:
    new = root / "new"
    new.write_bytes(b"new")
    for path in (new, root / "meta/same", root / "meta", root / "opaque/hidden"):
        os.setxattr(path, "user.note", b"a\0b")
        os.setxattr(path, "trusted.note", b"t")
    for path in (new, root / "bin/busybox"):
        os.setxattr(path, "security.capability", CAP_NET_RAW)
    os.setxattr(root / "link-to-dir", "trusted.note", b"on a link", follow_symlinks=False)


def _with_oddities(root: Path) -> None:
    """What no shell of busybox can make."""
    for number, seconds in enumerate((-86400, 0, 1, 4102444800)):
        path = root / f"time-{number}"
        path.write_bytes(b"")
        os.utime(path, ns=(seconds * 10**9, seconds * 10**9 + 123456789))
    os.utime(root / "deep/a", ns=(0, 4102444800 * 10**9 + 1))
    os.link(root / "hard/link-a", root / "hard/link-c", follow_symlinks=False)
    (root / ("n" * 255)).write_bytes(b"long")
    (root / "no-mode").touch(mode=0)
    os.chown(root / "no-mode", 2147483646, 65534)
    os.mknod(root / "big", stat.S_IFCHR | 0o600, os.makedev(259, 1048575))
    with (root / "sparse").open("wb") as sparse:
        sparse.seek(4 << 20)
        sparse.write(b"end")


def _with_socket(root: Path) -> None:
    os.mknod(root / "socket", stat.S_IFSOCK | 0o755)


# name -> (image, what is done to its mounted root from outside while it runs)
_FROM_OUTSIDE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "skeleton-gone": ("nasty/unreplaced:1", _without_skeleton),
    "skeleton-new": ("nasty/unreplaced:1", _with_new_skeleton),
    "xattrs": ("nasty/unreplaced:1", _with_xattrs),
    "oddities": ("nasty/unreplaced:1", _with_oddities),
    "socket": ("nasty/base:1", _with_socket),
}
