"""What Docker 20.10.24 makes of the catalogue, where that is not what we do: by reason.

A line names its cases with shell patterns. What no line names, Docker treats as we do: the same
tree but for the mode of directories that no header lists, or refused by both. What the lines for
overlay say holds for overlay2, too, where that has no line of its own.
"""

from __future__ import annotations

import fnmatch
from typing import Dict, FrozenSet, NamedTuple, Sequence

from tests.support.hostile import CASES

SAME, REFUSES, ACCEPTS, DIFFERS, NOT_ASKED = "same", "refuses", "accepts", "differs", "not asked"
"""It does what we do; it refuses what we accept; it accepts what we refuse; both accept, but its
tree differs; it would fill the disk or hang."""


class Docker(NamedTuple):
    """What Docker does."""

    verdict: str
    cases: Sequence[str] = ()
    reason: str = ""
    differ: FrozenSet[bytes] = frozenset()
    """For `DIFFERS`: all paths at which its tree is not ours."""
    below: FrozenSet[bytes] = frozenset()
    """The paths at which it has changed the layer below."""


def _paths(*paths: bytes) -> FrozenSet[bytes]:
    return frozenset(paths)


OVERLAY = (
    Docker(
        NOT_ASKED,
        ("* bomb *", "* the limit"),
        "It has no limit.",
    ),
    Docker(NOT_ASKED, ("sparse: a PiB of nothing",), "It writes all the zeros."),
    Docker(
        NOT_ASKED,
        ("whiteout over the lower pipe",),
        "It opens the fifo, waits for a writer, and never comes back.",
    ),
    # What it refuses, and we do not.
    Docker(
        REFUSES,
        ("twice: *", "swapped while it is used"),
        "tar-split cannot record a name twice; all other programs let the last one win.",
    ),
    Docker(REFUSES, ("path of 4095",), "It puts a slash before the path, which is one too many."),
    Docker(
        REFUSES,
        ("whiteout of what this layer made", "whiteout after it was made again"),
        "It sets the times of all directories at the end, also of those that are gone.",
    ),
    Docker(REFUSES, ("zstd", "zstd in two frames"), "20.10 does not know Zstandard."),
    Docker(
        REFUSES,
        ("gzip, then zeros",),
        "Go's gzip takes the zeros for the next member; gzip itself ignores them.",
    ),
    # What it takes, because it can do no harm in its chroot or because it does not look.
    Docker(
        ACCEPTS,
        (
            "up: ../?*",
            "up: a/*",
            "up: ./*",
            "up: folder *",
            "GNU long name that leads up",
            "pax path that leads up",
            "ustar prefix that leads up",
            "AUFS's name, and up",
            "plnk with a hostile name",
        ),
        "In its chroot .. stops at the root; but nobody means such a name.",
    ),
    Docker(
        ACCEPTS,
        ("whiteout over a link to ../canary", "whiteout over the lower dangling"),
        "Nothing is there to be removed; we refuse each path over a link to nothing.",
    ),
    Docker(
        ACCEPTS,
        ("opaque in a file", "opaque over the lower file", "opaque over the lower pipe"),
        "It does nothing then; we refuse each path over what is no directory.",
    ),
    Docker(
        ACCEPTS,
        ("whiteout data/*",),
        "It removes the directory above, followed literally.",
    ),
    Docker(
        ACCEPTS,
        (
            "whiteout folder .wh./x",
            "folder named as a whiteout, with content",
            "opaque that is a folder with content",
        ),
        "It makes a directory that is a whiteout when the layer is saved again.",
    ),
    Docker(
        ACCEPTS,
        ("device *:*",),
        "It drops the bits that do not fit, and makes another device.",
    ),
    Docker(
        ACCEPTS,
        ("char 0:0*", "trusted.overlay.* on a *"),
        "It lets the layer speak to overlayfs: hide, redirect, break the mount.",
    ),
    Docker(
        ACCEPTS,
        ("attribute with a name that is not UTF-8",),
        "It takes any bytes; we could not read such a layer again.",
    ),
    Docker(
        ACCEPTS,
        ("impossible owner *", "impossible group *"),
        "It cuts the number to 32 bits: root's, or -1, with which chown leaves the owner as it is.",
    ),
    Docker(
        ACCEPTS,
        ("sparse: PAX *", "sparse: a name that leads up"),
        "It can load sparse files, but never save them.",
    ),
    Docker(
        ACCEPTS,
        ("negative size of a folder",),
        "It takes the number off the layer's size.",
    ),
    # What comes out otherwise.
    Docker(
        DIFFERS,
        ("plnk", "plnk unused"),
        "It leaves the directory that AUFS had for hard links.",
        _paths(b".wh..wh.plnk"),
    ),
    Docker(
        DIFFERS,
        ("AUFS's own files",),
        "It leaves the directory that AUFS had for orphans.",
        _paths(b".wh..wh.orph"),
    ),
    Docker(
        DIFFERS,
        ("root as ./", "root as .", "root as /", "root as a/.."),
        "It removes its own temporary directory after it has set the time.",
        _paths(b""),
    ),
    Docker(
        DIFFERS,
        ("hard link to one of two inherited names, other mode",),
        "It changes the inode of all three names, in this layer and below.",
        _paths(b"file", b"hard", b"x"),
        below=_paths(b"file", b"hard"),
    ),
    Docker(
        SAME,
        ("hard link to an inherited file, other *",),
        "It changes the inode that the layer below has, too.",
        below=_paths(b"etc/passwd"),
    ),
)

OVERLAY2 = (
    Docker(
        SAME,
        (
            "whiteout over a link to ../canary",
            "whiteout data/*",
            "hard link over the lower file",
            "hard link over the lower pipe",
            "root as /",
        ),
    ),
    Docker(
        REFUSES,
        (
            "* over a link to data*",
            "* over a link in a folder to *",
            "* over a link to [.][.]/data",
            "* over a link to /data",
            "opaque over a link to ../canary",
            "opaque over a link to [cflt]*",
            "hard link over a link to /",
            "hard link over a link to .",
            "hard link over a link to ../../..",
            "hard link over the lower [!fp]*",
            "hard link in place of an inherited folder",
            "hard link to an inherited *",
            "hard link to one of two inherited names, other mode",
            "absolute hard link to an inherited file",
            "link over a folder, then a file in it",
        ),
        "It unpacks a layer without seeing those below.",
    ),
    Docker(
        REFUSES,
        (
            "whiteout of what this layer made",
            "whiteout after it was made again",
            "target replaced afterwards",
        ),
        "It cannot make a whiteout where the layer has something.",
    ),
    Docker(
        ACCEPTS,
        ("f* over the lower file", "f* over the lower pipe", "whiteout over the lower file"),
        "It does not see the file below, and puts a directory in its place.",
    ),
    Docker(
        ACCEPTS,
        (
            "whiteout over the lower pipe",
            "opaque in a file",
            "opaque over the lower [fp]*",
            "whiteout in a file",
        ),
        "It does not see the file below, and puts a directory in its place.",
    ),
    Docker(
        ACCEPTS,
        ("hard link to what a whiteout removed",),
        "It makes a second name for the whiteout.",
    ),
    Docker(
        ACCEPTS,
        ("no name", "root as a [!f]*", "root as a file"),
        "It ignores all entries for the root.",
    ),
    Docker(
        ACCEPTS,
        ("plnk that is a link",),
        "It takes what AUFS has left for files and directories.",
    ),
    Docker(
        DIFFERS,
        ("plnk",),
        "It takes what AUFS has left for files and directories.",
        _paths(b".wh..wh.plnk", b".wh..wh.plnk/1.2", b"a", b"b"),
    ),
    Docker(
        DIFFERS,
        ("plnk unused",),
        "It takes what AUFS has left for files and directories.",
        _paths(b".wh..wh.plnk", b".wh..wh.plnk/1.2"),
    ),
    Docker(
        DIFFERS,
        ("AUFS's own files",),
        "It takes what AUFS has left for files and directories.",
        _paths(b".wh..wh.orph", b".wh..wh.orph/x"),
    ),
    Docker(
        DIFFERS,
        ("root as ./", "root as .", "root as a/.."),
        "It ignores all entries for the root.",
        _paths(b""),
    ),
    Docker(
        DIFFERS,
        ("whiteouts of all kinds",),
        "It makes a directory that no header lists root's and 0755, whatever it is below.",
        _paths(b"etc"),
    ),
    *(
        Docker(
            DIFFERS,
            (name,),
            "It makes whiteouts also where there is nothing below; overlayfs lists their names.",
            _paths(path),
        )
        for name, path in (
            ("whiteout over the lower to-dir", b"to-dir/old"),
            ("whiteout over the lower chain", b"chain/old"),
            ("whiteout over the lower absolute", b"absolute/old"),
            ("whiteout over the lower inside", b"inside/old"),
            ("whiteout over the lower loop", b"loop/old"),
            ("whiteout over the lower dangling", b"dangling/old"),
            ("whiteout over the lower to-file", b"to-file/old"),
            ("whiteout in a missing folder", b"no/such/x"),
            ("AUFS's name in a folder", b"d/.wh.foo"),
        )
    ),
    Docker(
        DIFFERS,
        ("opaque top",),
        "It marks the root opaque, which overlayfs does not look at.",
        _paths(
            *(b"absolute", b"chain", b"dangling", b"data", b"data/old", b"data/sub"),
            *(b"data/sub/deep", b"etc", b"etc/passwd", b"file", b"hard", b"inside", b"loop"),
            *(b"pipe", b"to-dir", b"to-file"),
        ),
    ),
    Docker(
        DIFFERS,
        ("whiteout, then made again",),
        "It forgets to make the new directory opaque.",
        _paths(b"data/old", b"data/sub", b"data/sub/deep"),
    ),
    Docker(
        DIFFERS,
        ("opaque forgets what was implied",),
        "It hides what is below, and keeps all that the layer has.",
        _paths(b"data/a", b"data/a/b"),
    ),
    Docker(
        DIFFERS,
        ("opaque twice and in each other",),
        "It hides what is below, and keeps all that the layer has.",
        _paths(b"data/sub", b"data/sub/x"),
    ),
)


def of(name: str, driver: str) -> Docker:
    """What Docker with `driver` does with a case of the catalogue."""
    lines = (*(OVERLAY2 if driver == "overlay2" else ()), *OVERLAY)
    for line in lines:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in line.cases):
            return line
    return Docker(SAME)


def patterns() -> Dict[str, int]:
    """How many cases each pattern names."""
    return {
        pattern: len(fnmatch.filter(CASES, pattern))
        for line in (*OVERLAY, *OVERLAY2)
        for pattern in line.cases
    }
