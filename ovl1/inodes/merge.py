"""What several processes found in one tree, put together as if one of them had found all.

Everything comes in the order in which one process would have met it, so no figure depends on who
counted what. An inode that several of them met is listed by each, as in trees that share inodes.
"""

from __future__ import annotations

import collections
from bisect import bisect_left
from typing import Iterator, Sequence, Tuple

from ovl1.inodes.found import Found, Segment

_Piece = Tuple[int, Segment, Found, Tuple[int, int, int]]
"""A segment after what orders it, and where its inodes begin among those of its process."""


def merged(parts: Sequence[Found]) -> Found:
    """All parts of one tree; `skipped` is what the first one says."""
    if len(parts) == 1:
        return parts[0]
    whole = Found(skipped=parts[0].skipped)
    for part in parts:
        whole.blocks.update(part.blocks)
        whole.unreadable += part.unreadable
        whole.moving |= part.moving
        for inode, more in part.again.items():
            whole.again[inode] = whole.again.get(inode, 0) + more
    pieces = [piece for part in parts for piece in _pieces(part)]
    for _, segment, part, starts in sorted(pieces, key=lambda piece: piece[0]):
        _append(whole, segment, part, starts)
    if len(set(whole.files)) < len(whole.files):
        for inode, times in collections.Counter(whole.files).items():
            if times > 1:
                whole.again[inode] = whole.again.get(inode, 0) + times - 1
    return whole


def _pieces(part: Found) -> Iterator[_Piece]:
    files = symlinks = specials = 0
    for segment in part.segments:
        yield segment.order, segment, part, (files, symlinks, specials)
        files += segment.files
        symlinks += segment.symlinks
        specials += segment.specials


def _append(whole: Found, segment: Segment, part: Found, starts: Tuple[int, int, int]) -> None:
    files, symlinks, specials = starts
    whole.segments.append(segment)
    if segment.files:
        end = files + segment.files
        origins, shift = part.origins, len(whole.files) - files
        first, last = bisect_left(origins.starts, files), bisect_left(origins.starts, end)
        whole.origins.starts.extend(start + shift for start in origins.starts[first:last])
        whole.origins.paths += origins.paths[first:last]
        whole.files += part.files[files:end]
    if segment.symlinks:
        whole.symlinks += part.symlinks[symlinks : symlinks + segment.symlinks]
    if segment.specials:
        whole.specials += part.specials[specials : specials + segment.specials]
