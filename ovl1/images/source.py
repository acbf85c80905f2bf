"""Where an archive of images comes from: a file, a directory, or a stream that can be read once.

The layers of an archive are not in the order in which they are needed, so a stream, and a tar that
is compressed as a whole, is first written to a file without a name.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import BinaryIO, Iterator

from ovl1.errors import ArchiveError, LayerError
from ovl1.formats import compressed
from ovl1.images.archive import limited
from ovl1.images.blobs import Blobs, DirectoryBlobs, TarBlobs

_MAGIC = 10


@contextlib.contextmanager
def open_directory(path: Path) -> Iterator[Blobs]:
    """The files of an OCI layout that is a directory.

    Raises:
        OSError: it cannot be read.
    """
    with DirectoryBlobs(path) as blobs:
        yield blobs


@contextlib.contextmanager
def open_tar(file: BinaryIO, scratch: Path, *, max_bytes: int) -> Iterator[Blobs]:
    """The files of an archive that is a tar: plain, gzip, bzip2, xz or zstd.

    Args:
        file: stays the caller's, and must stay open.
        scratch: a directory with room for all of it, where nothing is left.
        max_bytes: how much a stream may be, decompressed.

    Raises:
        ArchiveError: it is no archive, is damaged, or unpacks to too much.
    """
    if file.seekable():
        start = file.read(_MAGIC)
        file.seek(0)
        if not compressed.is_compressed(start):
            with TarBlobs(file) as blobs:
                yield blobs
            return
    with tempfile.TemporaryFile(dir=scratch) as spool:
        try:
            chunks = compressed.decompressed(file)
            spool.writelines(limited(chunks, max_bytes, "the archive"))
        except LayerError as err:
            raise ArchiveError(
                "the compressed archive is damaged or cut short",
                details=err.brief,
                resolution="Copy or make it again.",
            ) from err
        spool.seek(0)
        with TarBlobs(spool) as blobs:
            yield blobs
