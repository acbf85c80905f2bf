"""Where the members of a tar archive lie, so that each can be read in any order.

For archives of images (``docker save``, OCI layouts), whose manifest may come last. Contents are
sought over, not read. Limits: the archive is a seekable file, uncompressed, and has at most
`MOST_MEMBERS` members.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Dict, NamedTuple

from ovl1.errors import ArchiveError, LayerError
from ovl1.formats.tarheader import HeaderParser
from ovl1.formats.tarstream import read_full
from ovl1.formats.whiteouts import clean

MOST_MEMBERS = 200_000
"""An image has at most 125 layers, and an archive a few members for each."""


class Member(NamedTuple):
    """One member of the archive; the last of a name counts."""

    kind: str
    """The type flag, see `ovl1.formats.tarheader`."""
    offset: int
    """Where its content begins, in bytes."""
    size: int
    linkname: bytes


def index(fileobj: BinaryIO) -> Dict[bytes, Member]:
    """The members of the archive that begins where `fileobj` stands, by their cleaned names.

    Raises:
        ArchiveError: it is no tar archive, is cut short, or has too many members.
    """
    start = fileobj.tell()
    end = fileobj.seek(0, os.SEEK_END)
    fileobj.seek(start)
    found: Dict[bytes, Member] = {}
    parser = HeaderParser(lambda size: read_full(fileobj, size))
    try:
        while True:
            entry = parser.next()
            if entry is None:
                return found
            content = start + parser.offset
            parser.offset += entry.stored + entry.padding
            if content + entry.stored > end:
                raise ArchiveError(
                    f"the archive is cut short within {os.fsdecode(entry.name)!r}",
                    resolution="Copy or make it again.",
                )
            if len(found) == MOST_MEMBERS:
                raise ArchiveError(f"the archive has more than {MOST_MEMBERS} members")
            found[clean(entry.name)] = Member(entry.kind, content, entry.stored, entry.linkname)
            fileobj.seek(start + parser.offset)
    except LayerError as err:
        raise ArchiveError(
            f"this is no archive of images: {err.brief}",
            details=err.details,
            resolution="Give a file that `docker save` wrote, or an OCI image layout.",
        ) from err
