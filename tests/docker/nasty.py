"""A nasty store: everything that images and containers are known to do to a storage driver.

`build` makes it on a running daemon. What a recording of it must contain is not said here; the
tests compare the store with itself.
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from tests.docker.daemon import Daemon
from tests.docker.nasty_containers import make_containers
from tests.docker.nasty_layers import HAND_MADE, REFUSED_BY_OVERLAY2, base_layer, image_archive
from tests.support.capabilities import probe

BASE = "nasty/base:1"

# Each RUN line is a layer: what is made here is deleted, replaced, and made again.
_STEPS = f"""\
FROM {BASE} AS first
ENV STAGE=first
RUN mkdir -p /d/sub /e && echo 1 > /d/f && echo 2 > /d/sub/g && echo 3 > /e/f && ln -s d /link
RUN rm -rf /d && mkdir /d && echo 4 > /d/h
LABEL empty=yes
RUN true
RUN ln /d/h /d/h2 && mkfifo /p && mknod /c c 1 5 && chmod 4755 /d/h && chown 1000:1000 /e
RUN rm /link /e/f && mkdir /link && echo 5 > /link/in && rm -r /d && echo 6 > /d && touch /e/f
RUN rm -r /link && ln -s e /link && rm /d && ln -s /e/f /d && truncate -s 1M /sparse
"""

_SECOND_STAGE = f"""\
FROM {BASE}
COPY --from=first /e /copied
COPY --from=first --chown=7:8 /sparse /copied/sparse
RUN rm -rf /copied && mkdir /copied && echo 7 > /copied/new
RUN touch -d '2001-02-03 04:05:06' /copied/new && chmod 0700 /root
CMD ["sleep", "1000"]
"""


@functools.lru_cache(maxsize=None)
def base() -> bytes:
    """The layer that all images stand on."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "the base image needs a static busybox"
    return base_layer(Path(busybox))


def archive_of(tag: str) -> bytes:
    """The ``docker load`` archive of one hand-made image."""
    (image,) = (image for image in HAND_MADE if tag in image.tags)
    return image_archive(image, base())


def build(daemon: Daemon) -> None:
    """Fill the store of `daemon`, which is to be empty."""
    daemon.docker("import", "-", BASE, stdin=base())
    for image in HAND_MADE:
        if REFUSED_BY_OVERLAY2 not in image.tags or daemon.driver == "overlay":
            daemon.docker("load", stdin=image_archive(image, base()))
    daemon.build("nasty/built:1", _STEPS)
    daemon.build("nasty/built:2", _STEPS + "RUN echo 8 > /eight\n")
    daemon.build("nasty/stages:1", _STEPS + _SECOND_STAGE)
    daemon.build("nasty/scratch:1", f"{_STEPS}FROM scratch\nCOPY --from=first /e /\n")
    # An image without any layer: its containers stand on nothing.
    daemon.build("nasty/no-layer:1", "FROM scratch\nENV nothing=1\n")
    if probe("buildkit").available:
        daemon.build("nasty/buildkit:1", _STEPS + _SECOND_STAGE, buildkit=True)
        daemon.build("nasty/buildkit:2", _STEPS + "RUN echo 9 > /nine\n", buildkit=True)
    make_containers(daemon)
