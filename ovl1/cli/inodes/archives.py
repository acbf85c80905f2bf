"""Archives of images as the accountant takes them: what would come, and how to read its layers."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO, Iterator, List, Sequence, Set

from ovl1.cli.files import STDOUT
from ovl1.errors import WrongUsage
from ovl1.formats import compressed
from ovl1.formats.tarstream import as_file
from ovl1.images import dockerarchive, oci
from ovl1.images.archive import ArchivedImage, ArchivedLayer, parse
from ovl1.images.blobs import Blobs
from ovl1.images.source import open_directory, open_tar
from ovl1.inodes.forecast import ComingImage, ComingLayer, OpenTar
from ovl1.layer.policy import Policy
from ovl1.model import ImageId
from ovl1.store.naming import valid_name


@contextlib.contextmanager
def opened(name: str, policy: Policy) -> Iterator[Blobs]:
    """An archive by the name of a file or a directory; - is standard input.

    What must be unpacked to be read is, in a temporary file: nothing is written to the data-root.

    Raises:
        WrongUsage: it cannot be read.
    """
    path = Path(name)
    if path.is_dir():
        with open_directory(path) as blobs:
            yield blobs
        return
    try:
        file = sys.stdin.buffer if name == STDOUT else path.open("rb")
    except OSError as error:
        raise WrongUsage(f"{name} cannot be read: {error.strerror}") from error
    scratch = Path(tempfile.gettempdir())
    with file, open_tar(file, scratch, max_bytes=policy.max_bytes) as blobs:
        yield blobs


def coming(blobs: Blobs, images: Sequence[ArchivedImage], policy: Policy) -> List[ComingImage]:
    """The images of an archive; `blobs` must stay open as long as they are of use.

    Raises:
        ArchiveError: its manifest is not what it must be.
        WrongUsage: an image has a name that cannot be.
    """
    ids = [ImageId("sha256:" + hashlib.sha256(image.config).hexdigest()) for image in images]
    built = _with_parent(blobs, ids)
    return [
        ComingImage(
            image_id,
            tuple(
                ComingLayer(layer.diff_id, _opener(blobs, layer, policy), layer.digest)
                for layer in image.layers
            ),
            tuple(valid_name(name) for name in image.names),
            (oci.KEPT,) if image.manifest is not None else (),
            image_id in built,
        )
        for image_id, image in zip(ids, images)
    ]


def _opener(blobs: Blobs, layer: ArchivedLayer, policy: Policy) -> OpenTar:
    @contextlib.contextmanager
    def opened() -> Iterator[BinaryIO]:
        with blobs.open(layer.blob) as file:
            yield as_file(policy.metered(compressed.decompressed(file)))

    return opened


def _with_parent(blobs: Blobs, ids: Sequence[ImageId]) -> Set[ImageId]:
    """The images whose parent Docker notes (moby image/tarexport ``validatedParentLinks``)."""
    if not blobs.exists(dockerarchive.MANIFEST):
        return set()
    listed = parse(blobs.document(dockerarchive.MANIFEST), dockerarchive.MANIFEST)
    return {
        image_id
        for image_id, about in zip(ids, listed if isinstance(listed, list) else ())
        if isinstance(about, dict) and about.get("Parent") in ids
    }
