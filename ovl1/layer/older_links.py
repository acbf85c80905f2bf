"""Hard links of a layer's tar to files that the tar does not hold: those of the layers below.

Docker's v1 driver unpacks a layer into a full tree, where such a link has something to point to;
its overlay2 driver refuses it. Memory grows with the hard links of one layer.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterable, Set

from ovl1.formats import whiteouts
from ovl1.formats.tarheader import HARDLINK, TarEntry
from ovl1.tree.view import Parts


def older_links(entries: Callable[[], Iterable[TarEntry]]) -> Dict[Parts, Parts]:
    """Each such link, and the path of the file in the layers below.

    Args:
        entries: gives those of the tar, in order, each time anew.

    Raises:
        LayerError: a name leads out of the root.
    """
    links = (entry for entry in entries() if entry.kind == HARDLINK)
    targets = {whiteouts.components(link.linkname) for link in links}
    return _found(entries(), targets) if targets else {}


def _found(entries: Iterable[TarEntry], targets: Set[Parts]) -> Dict[Parts, Parts]:
    own: Set[Parts] = set()
    found: Dict[Parts, Parts] = {}
    for entry in entries:
        path = whiteouts.components(entry.name)
        found.pop(path, None)
        target = whiteouts.components(entry.linkname) if entry.kind == HARDLINK else path
        if target == path or target in own:
            if path in targets:
                own.add(path)
        else:
            found[path] = found.get(target, target)
            own.discard(path)
    return found
