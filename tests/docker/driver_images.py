"""Images that share layers, and containers that have changed theirs: a store to be made anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ovl1.store.layout import OVERLAY2
from tests.docker import nasty
from tests.docker.daemon import Daemon
from tests.docker.nasty_layers import (
    HAND_MADE,
    ODD,
    REFUSED_BY_OVERLAY2,
    Entry,
    Image,
    directory,
    image_archive,
    whiteout,
)

NAMES = Image(
    ("store/names:1",),
    (
        ODD,
        (
            whiteout("names/new\nline"),
            whiteout("names/not-utf8-\udcff\udcfe"),
            whiteout("names/dir-\udce9"),
            Entry("names/dir-\udce9", content=b"a file now"),
            Entry("xattrs/ping", content=b"#!", mode=0o755),
            directory("xattrs/dir", mode=0o700, xattrs={"user.other": b"o"}),
            Entry("owners/1000", mode=0o4750, owner=(1000, 1001)),
        ),
    ),
)
STEPS = f"""\
FROM {nasty.BASE}
RUN mkdir -p /d/sub && echo 1 > /d/f && echo 2 > /d/sub/g && ln -s d /link && ln /d/f /d/f2
RUN rm -rf /d/sub && echo 3 > /d/h && mkfifo /p && mknod /c c 1 5 && chmod 4755 /d/f2
RUN ln /d/h /d/h2 && chown 7:8 /d/h && rm /link && mkdir /link && echo 4 > /link/in
"""
BUILT = f"""{STEPS}\
RUN rm -r /d && mkdir -m 0700 /d && echo 5 > /d/new && touch -d '2001-02-03 04:05:06' /d/new
CMD ["cat", "/d/new", "/link/in"]
"""
BESIDE = f"{STEPS}RUN rm -r /link && ln -s d /link && chmod 0600 /d/h\n"

# On images whose tars list each directory that they change: for others, see `differences`.
CONTAINERS = {
    "edited": (
        "nasty/unreplaced:1",
        "echo new >/new; rm -r /gone /gone-file /hard/one; echo more >>/meta/same;"
        "chmod 4711 /meta/mode; chown 7:8 /meta/owner; mv /opaque /moved; ln /hard/two /hard/four",
    ),
    "retyped": (
        "nasty/unreplaced:1",
        "rm -r /reborn && mkdir /reborn && echo x >/reborn/y; rm -r /dir-to-file;"
        "echo x >/dir-to-file; rm /link-to-dir; mkdir /link-to-dir; rm /meta/mode; chmod 0 /deep",
    ),
    "on-built": ("store/built:1", "rm -r /d; rm /p; echo x >/d; chmod 0600 /link"),
    "on-beside": ("store/beside:1", "rm /link; echo x >>/d/h2; mkdir /d/sub; mknod /n c 1 3"),
    "untouched": ("store/beside:1", "true"),
    "untouched-too": ("nasty/unreplaced:1", "true"),
}
# A second start finds the work done, and changes nothing.
SCRIPT = "[ -e /done ] && exec cat /done; {script}; echo {name} >/done"


def furnish(daemon: Daemon) -> None:
    """Fill the store of `daemon`, which is to be empty."""
    daemon.docker("import", "-", nasty.BASE, stdin=nasty.base())
    for image in (*HAND_MADE, NAMES):
        refused = daemon.driver == OVERLAY2 and REFUSED_BY_OVERLAY2 in image.tags
        if len(image.layers) < 5 and not refused:
            daemon.docker("load", stdin=image_archive(image, nasty.base()))
    daemon.build("store/built:1", BUILT)
    daemon.build("store/beside:1", BESIDE)

    def make(name: str) -> None:
        image, script = CONTAINERS[name]
        command = SCRIPT.format(script=script, name=name)
        daemon.docker("run", "--network=none", "--name", name, image, "sh", "-c", command)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(make, CONTAINERS))
