"""Hard links of a layer's tar to files that the tar does not hold: those of the layers below.

Docker's v1 driver unpacks a layer into a full tree, where such a link has something to point to;
its overlay2 driver refuses it. Memory grows with the names of one layer.
"""

from __future__ import annotations

from typing import Dict, Iterable, Set

from ovl1.formats import whiteouts
from ovl1.formats.tarheader import HARDLINK, TarEntry
from ovl1.tree.view import Parts


def older_links(entries: Iterable[TarEntry]) -> Dict[Parts, Parts]:
    """Each such link, and the path of the file in the layers below.

    Raises:
        LayerError: a name leads out of the root.
    """
    own: Set[Parts] = set()
    found: Dict[Parts, Parts] = {}
    for entry in entries:
        path = whiteouts.components(entry.name)
        found.pop(path, None)
        target = whiteouts.components(entry.linkname) if entry.kind == HARDLINK else path
        if target == path or target in own:
            own.add(path)
        else:
            found[path] = found.get(target, target)
            own.discard(path)
    return found
