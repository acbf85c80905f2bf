"""Layer tars that no ordinary build makes, and the ``docker load`` archives that carry them.

The tables say what is in each layer; all else here turns a table into bytes. Names are text in
which bytes that are not UTF-8 are lone surrogates, as everywhere in Python.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, Dict, NamedTuple, Sequence, Tuple

Xattrs = Dict[str, bytes]


class Entry(NamedTuple):
    """One header of a layer tar, and its content."""

    name: str
    kind: bytes = tarfile.REGTYPE
    content: bytes = b""
    mode: int = 0o644
    owner: Tuple[int, int] = (0, 0)
    mtime: str = "1600000000"
    target: str = ""
    device: Tuple[int, int] = (0, 0)
    xattrs: Xattrs = {}  # noqa: RUF012  (never changed)


class Image(NamedTuple):
    """An image as ``docker load`` takes it; its lowest layer is the busybox base."""

    tags: Tuple[str, ...]
    layers: Tuple[Tuple[Entry, ...], ...]


def directory(name: str, mode: int = 0o755, **more: Any) -> Entry:
    return Entry(f"{name}/", tarfile.DIRTYPE, mode=mode)._replace(**more)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, tarfile.SYMTYPE, mode=0o777, target=target)


def hardlink(name: str, target: str, mode: int = 0o644) -> Entry:
    return Entry(name, tarfile.LNKTYPE, mode=mode, target=target)


def whiteout(name: str) -> Entry:
    path = PurePosixPath(name)
    return Entry(str(path.with_name(f".wh.{path.name}")), mode=0o600)


def opaque(name: str) -> Entry:
    return Entry(f"{name}/.wh..wh..opq", mode=0o600)


CAP_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # linux/capability.h, revision 2

BEFORE = (
    *(directory(name) for name in ("gone", "gone/sub", "opaque", "opaque/sub", "marked-last")),
    *(directory(name) for name in ("marked-only", "reborn", "reborn/sub", "reborn-empty", "meta")),
    *(directory(name) for name in ("dir-to-file", "dir-to-link", "hard", "deep", "deep/a")),
    directory("meta/dir", mode=0o700, owner=(1000, 1000), mtime="1500000000"),
    Entry("gone/file", content=b"gone"),
    Entry("gone/sub/file", content=b"gone as well"),
    Entry("gone-file", content=b"gone"),
    Entry("opaque/hidden", content=b"hidden"),
    Entry("opaque/sub/hidden", content=b"hidden"),
    Entry("opaque/again", content=b"old"),
    Entry("marked-last/hidden", content=b"hidden"),
    Entry("marked-only/hidden", content=b"hidden"),
    Entry("reborn/old", content=b"old"),
    Entry("reborn/sub/old", content=b"old"),
    Entry("reborn-empty/old", content=b"old"),
    Entry("reborn-file", content=b"same"),
    Entry("dir-to-file/x", content=b"x"),
    Entry("dir-to-link/x", content=b"x"),
    Entry("file-to-dir", content=b"file"),
    Entry("file-to-link", content=b"file"),
    Entry("file-to-fifo", content=b"file"),
    symlink("link-to-dir", "opaque"),
    symlink("link-to-link", "gone"),
    Entry("meta/mode", content=b"mode"),
    Entry("meta/owner", content=b"owner"),
    Entry("meta/mtime", content=b"mtime"),
    Entry("meta/same", content=b"same"),
    Entry("deep/a/file", content=b"deep"),
    Entry("hard/one", content=b"hard"),
    hardlink("hard/two", "hard/one"),
    hardlink("hard/three", "hard/one"),
    symlink("hard/link-a", "one"),
    hardlink("hard/link-b", "hard/link-a", mode=0o777),
)

AFTER = (
    whiteout("gone"),
    whiteout("gone-file"),
    whiteout("never-there"),
    directory("opaque", mode=0o750),
    opaque("opaque"),
    Entry("opaque/again", content=b"new"),
    Entry("opaque/new", content=b"new"),
    directory("marked-last"),
    Entry("marked-last/new", content=b"new"),
    opaque("marked-last"),
    opaque("marked-only"),
    whiteout("reborn"),
    directory("reborn"),
    Entry("reborn/new", content=b"new"),
    whiteout("reborn-empty"),
    directory("reborn-empty"),
    whiteout("reborn-file"),
    Entry("reborn-file", content=b"same"),
    Entry("dir-to-file", content=b"file"),
    symlink("dir-to-link", "opaque"),
    directory("file-to-dir"),
    Entry("file-to-dir/x", content=b"x"),
    symlink("file-to-link", "opaque/new"),
    Entry("file-to-fifo", tarfile.FIFOTYPE),
    directory("link-to-dir"),
    Entry("link-to-dir/x", content=b"x"),
    symlink("link-to-link", "opaque"),
    Entry("meta/mode", content=b"mode", mode=0o4711),
    Entry("meta/owner", content=b"owner", owner=(7, 8)),
    Entry("meta/mtime", content=b"mtime", mtime="1600000000.5"),
    Entry("meta/same", content=b"same"),
    Entry("deep/a/file", content=b"changed, no directory is listed"),
    Entry("hard/two", content=b"no longer linked"),
)

ODD = (
    *(directory(name) for name in ("names", "times", "owners", "modes", "links", "xattrs")),
    Entry("names/not-utf8-\udcff\udcfe", content=b"bytes"),
    directory("names/dir-\udce9"),
    Entry("names/dir-\udce9/caf\u00e9", content=b"composed"),
    Entry("names/dir-\udce9/cafe\u0301", content=b"decomposed"),
    Entry("names/" + "n" * 255, content=b"long"),
    *(Entry(f"names/{name}") for name in ("new\nline", "sp ace", "quo'te\"", "back\\slash")),
    *(Entry(f"names/{name}") for name in ("-rf", "*", "tab\t", ".wh", "...", "a:b,c=d", "#x")),
    Entry("names/" + "/".join(["d" * 99] * 9) + "/far", content=b"far"),
    *(Entry(f"owners/{uid}", owner=(uid, uid + 1)) for uid in (1000, 65534, 2147483646)),
    Entry("times/1969", mtime="-86400"),
    Entry("times/epoch", mtime="0"),
    Entry("times/2100", mtime="4102444800"),
    Entry("times/nanoseconds", mtime="1600000000.123456789"),
    directory("times/dir-2100", mtime="4102444800.000000001"),
    *(Entry(f"modes/{mode:04o}", mode=mode) for mode in (0, 0o4755, 0o2755, 0o1644, 0o7777)),
    directory("modes/sticky", mode=0o1777),
    directory("modes/setgid", mode=0o2775, owner=(0, 50)),
    Entry("fifo", tarfile.FIFOTYPE, mode=0o622),
    Entry("null", tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
    Entry("big-minor", tarfile.CHRTYPE, mode=0o600, device=(259, 1048575)),
    Entry("loop", tarfile.BLKTYPE, mode=0o660, owner=(0, 6), device=(7, 0)),
    symlink("links/dangling", "/no/such/thing"),
    symlink("links/loop", "loop"),
    symlink("links/long", "/".join(["x" * 100] * 10)),
    symlink("links/up", "../names"),
    symlink("links/\udcff", "\udcfe"),
    hardlink("links/up-too", "links/up", mode=0o777),
    Entry("xattrs/ping", content=b"#!", mode=0o755, xattrs={"security.capability": CAP_NET_RAW}),
    Entry("xattrs/file", xattrs={"user.note": b"a\0b\xff", "trusted.note": b"t"}),
    directory("xattrs/dir", xattrs={"user.note": b"on a directory", "trusted.note": b"t"}),
    Entry("no/parent/listed", content=b"orphan"),
    Entry("large", content=bytes(range(256)) * 1200),
)

ROOT_ENTRY = (
    directory(".", mode=0o711, owner=(12, 34), mtime="1234567890"),
    Entry("./dotted//name", content=b"odd spelling"),
)

# Docker's init layer makes files below /etc and /dev, and unlinks what is in the way.
NO_SKELETON = (
    symlink("etc", "real-etc"),
    directory("real-etc"),
    Entry("real-etc/hosts", content=b"not what /etc/hosts becomes"),
    Entry("dev", content=b"a file"),
    symlink(".dockerenv", "etc/hosts"),
)

LINK_TARGETS = (
    directory("hard"),
    Entry("hard/lower", content=b"lower", mode=0o640),
    Entry("hard/changed", content=b"changed by a link", mode=0o644),
)
LINKS_DOWN = (
    hardlink("hard/upper", "hard/lower", mode=0o640),
    # The legacy driver shares the inode, so this chmod also changes the layer below.
    hardlink("hard/changer", "hard/changed", mode=0o600),
)


def _deep_layer(number: int) -> tuple[Entry, ...]:
    """Each layer changes a file, takes back what the last one made, and flips a name's type."""
    flip = [Entry("flip"), directory("flip"), symlink("flip", "counter")][number % 3]
    gone = [whiteout(f"deep/{number - 1}")] if number else [directory("deep")]
    return (
        Entry("counter", content=str(number).encode()),
        *gone,
        Entry(f"deep/{number}", content=b"n" * number),
        Entry(f"all/{number}", content=b"kept"),
        flip,
    )


# Docker's own overlay2 cannot link to a file of a lower layer.
REFUSED_BY_OVERLAY2 = "nasty/links-down:1"

HAND_MADE = (
    Image(("nasty/replaced:1", "nasty/replaced:latest"), (BEFORE, AFTER)),
    Image(("nasty/unreplaced:1",), (BEFORE,)),
    Image(("nasty/odd:1", "nasty/odd:also", "example.com:5000/team/odd:v1"), (ODD,)),
    Image(("nasty/odd:on-top",), (ODD, (), (Entry("names/top"), whiteout("xattrs")))),
    Image(("nasty/root-entry:1",), (ROOT_ENTRY,)),
    Image(("nasty/no-skeleton:1",), (NO_SKELETON,)),
    Image(("nasty/deep:1",), tuple(map(_deep_layer, range(19)))),
    Image((REFUSED_BY_OVERLAY2,), (LINK_TARGETS, LINKS_DOWN)),
)

_APPLETS = "sh ls cat rm mkdir mv cp ln chmod chown touch sleep mkfifo mknod printf echo truncate"


def base_layer(busybox: Path) -> bytes:
    """A root file system in the manner of ``tar -C DIR -c .``: busybox and a few directories."""
    return layer_tar(
        (
            directory("."),
            *(directory(f"./{name}") for name in ("bin", "etc", "dev", "proc", "sys", "root")),
            directory("./tmp", mode=0o1777),
            Entry("./bin/busybox", content=busybox.read_bytes(), mode=0o755),
            *(symlink(f"./bin/{name}", "busybox") for name in _APPLETS.split()),
            Entry("./etc/passwd", content=b"root:x:0:0:root:/root:/bin/sh\n"),
        )
    )


def layer_tar(entries: Sequence[Entry]) -> bytes:
    """The tar of `entries`, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(mode="w", fileobj=buffer, format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            header = tarfile.TarInfo(entry.name)
            header.type, header.mode = entry.kind, entry.mode
            header.uid, header.gid = entry.owner
            header.linkname, header.size = entry.target, len(entry.content)
            header.devmajor, header.devminor = entry.device
            header.pax_headers = {
                "mtime": entry.mtime,
                **{
                    f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
                    for key, value in entry.xattrs.items()
                },
            }
            tar.addfile(header, io.BytesIO(entry.content))
    return buffer.getvalue()


def image_archive(image: Image, base: bytes) -> bytes:
    """What ``docker load`` reads to get `image`."""
    return layers_archive([base, *map(layer_tar, image.layers)], image.tags)


def layers_archive(
    layers: Sequence[bytes], tags: Sequence[str], plain: Sequence[bytes] = ()
) -> bytes:
    """What ``docker load`` reads to get an image of these layers, lowest first.

    Args:
        plain: the same layers uncompressed, if `layers` are compressed.
    """
    digests = [hashlib.sha256(layer).hexdigest() for layer in plain or layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "hand"} for _ in layers],
    }
    manifest = {
        "Config": "config.json",
        "RepoTags": tags,
        "Layers": [f"{number}.tar" for number in range(len(layers))],
    }
    files = {
        **{f"{number}.tar": layer for number, layer in enumerate(layers)},
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps([manifest]).encode(),
    }
    return layer_tar([Entry(name, content=content) for name, content in files.items()])
