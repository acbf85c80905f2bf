"""Mistakes made on purpose: what fuzzing must find."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Callable, Dict, Iterator

from ovl1.errors import LayerError
from ovl1.formats import tarheader, tarstream
from ovl1.formats.whiteouts import clean
from tests.fuzz.apply_target import Arena
from tests.support import hostile_tar as t


class _Careless(Arena):
    """Unpacks as many programs have done: symbolic links in a name are followed, wherever."""

    def __call__(self, data: bytes) -> None:
        with self.target("root") as target, contextlib.suppress(OSError, ValueError, LayerError):
            for entry, content in tarstream.entries(io.BytesIO(data)):
                path = os.path.join(b"/proc/self/fd/%d" % target.fd, clean(b"/" + entry.name)[1:])
                if entry.kind == tarheader.SYMLINK:
                    os.symlink(entry.linkname, path)
                elif entry.kind == tarheader.FILE:
                    Path(os.fsdecode(path)).write_bytes(b"".join(content))
        self.check()


@contextlib.contextmanager
def careless(base: Path) -> Iterator[Callable[[bytes], None]]:
    yield _Careless(base)


def careless_seeds() -> Dict[str, bytes]:
    return {"a link": t.tar(t.symlink(b"up", b".."), t.member(b"canary", data=b"x"))}


@contextlib.contextmanager
def behind_the_checksum(base: Path) -> Iterator[Callable[[bytes], None]]:
    def run(data: bytes) -> None:
        with contextlib.suppress(LayerError):
            for entry, _ in tarstream.entries(io.BytesIO(data)):
                assert entry.uid != 7, "a mistake"

    yield run


def one_file() -> Dict[str, bytes]:
    return {"one": t.tar(t.member(b"x", data=b"x"))}
