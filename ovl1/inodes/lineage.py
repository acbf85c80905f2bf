"""How many inodes each layer's tree takes in each layout, layer upon layer, by their headers.

Layouts are told apart by who makes them, where that matters: Docker's overlay driver makes links
and special files anew in every layer, ours shares them. The ideal is no layout that a driver has:
it is what the files themselves take, for the others to be compared with.
"""

from __future__ import annotations

from typing import (
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
)

from ovl1.errors import LayerError
from ovl1.formats import tarsplit
from ovl1.formats.tarheader import TarEntry
from ovl1.inodes.layouts import DiffModel, DockerDiff, RootModel, merged
from ovl1.inodes.model import Model
from ovl1.inodes.nodes import Dir, Tally, read_tree
from ovl1.store.layerdb import LayerRecord
from ovl1.tree.view import StackView

OVERLAY, OVERLAY2, VFS, IDEAL = "overlay", "overlay2", "vfs", "ideal"
DOCKER_OVERLAY, DOCKER_OVERLAY2 = "docker-overlay", "docker-overlay2"
LAYOUTS = (OVERLAY, DOCKER_OVERLAY, OVERLAY2, DOCKER_OVERLAY2, VFS, IDEAL)
ABOUT = {
    OVERLAY: "complete trees that share files, symbolic links and special files, as ovl1 makes",
    DOCKER_OVERLAY: "complete trees that share files only, as Docker's overlay driver makes",
    OVERLAY2: "changes only, as ovl1 makes",
    DOCKER_OVERLAY2: "changes only, as Docker's overlay2 driver makes",
    VFS: "complete trees that share nothing",
    IDEAL: "one inode for each file that a layer brings, and for each directory, "
    "however many layers have it",
}

Figures = Dict[str, int]
"""By layout."""


class Version(NamedTuple):
    """A tree as a layer left it."""

    tree: Optional[Dir]
    tally: Tally


class Lineages:
    """Layers by name, each on its parent.

    Args:
        layouts: which ones are wanted.
    """

    def __init__(self, layouts: Collection[str] = LAYOUTS) -> None:
        self.refused: Dict[str, LayerError] = {}
        """Why a layout cannot hold one of the layers."""
        self._lines = [line for line in _LINES if line.layouts.keys() & set(layouts)]
        self._wanted = set(layouts)
        self._versions: Dict[Tuple[str, str], Version] = {}
        self._layers = 0

    def read(self, name: str, view: StackView, driver: str) -> None:
        """Take up a layer as it is on the disk, for the layouts that have the trees of `driver`.

        Raises:
            LayerError, OSError: it cannot be read.
        """
        self._layers += 1
        tree, tally = read_tree(view, self._layers)
        for line in self._lines:
            if line.name == driver:
                self._versions[line.name, name] = Version(tree, tally)

    def add(
        self,
        name: str,
        parent: Optional[str],
        entries: Iterable[TarEntry],
        *,
        without: Optional[str] = None,
    ) -> Figures:
        """Take up a layer of which the headers are known; the inodes of its tree, by layout.

        A layout that refuses it is left out, also from now on.

        Args:
            without: leave out the layouts that have the trees of this driver, this time.

        Raises:
            LayerError: the tar is damaged.
        """
        self._layers += 1
        making = []
        for line in self._lines:
            below = self._versions.get((line.name, parent)) if parent is not None else None
            if line.name != without and (parent is None or below is not None):
                making.append((line, below, line.begin(below, self._layers)))
        for entry in entries if making else ():
            for made in list(making):
                try:
                    made[2].add(entry)
                except LayerError as err:
                    self._refuse(made[0], err)
                    making.remove(made)
        figures: Figures = {}
        for line, below, model in making:
            lower = below.tree if below is not None else None
            self._versions[line.name, name] = Version(line.end(lower, model), model.tally)
            figures.update(self._figures(line, model.tally))
        return figures

    def tree(self, layout: str, name: str) -> Optional[Version]:
        """A layer's whole tree in a layout; None if that refused it."""
        (line,) = (line for line in _LINES if layout in line.layouts)
        return self._versions.get((line.name, name))

    def refuse_others(self, driver: str, err: LayerError) -> None:
        """Leave out all layouts from now on but those that have the trees of `driver`."""
        for line in self._lines:
            if line.name != driver:
                self._refuse(line, err)

    def _refuse(self, line: _Line, err: LayerError) -> None:
        for layout in self._wanted & line.layouts.keys():
            self.refused.setdefault(layout, err)

    def _figures(self, line: _Line, tally: Tally) -> Figures:
        return {
            layout: figure(tally)
            for layout, figure in line.layouts.items()
            if layout in self._wanted
        }


class _Line(NamedTuple):
    """Layers made in one way, of which several layouts can be counted."""

    name: str
    """The layout of which these are the trees. Those of Docker's overlay are taken for vfs's: in a
    store of that layout the links may be either's."""
    layouts: Dict[str, Callable[[Tally], int]]
    begin: Callable[[Optional[Version], int], Model]
    end: Callable[[Optional[Dir], Model], Optional[Dir]]


def _root(below: Optional[Version], layer: int, *, docker: bool) -> Model:
    if below is None or below.tree is None:
        root, tally = Dir(layer), Tally(layer)
        tally.add(root)
        return RootModel(root, tally, docker=docker)
    return RootModel(below.tree.version(layer), below.tally.next(layer), docker=docker)


def in_full(tally: Tally) -> int:
    """Inodes of a tree that shares none with another."""
    return tally.directories + tally.files + tally.others - tally.further


_LINES: List[_Line] = [
    _Line(
        OVERLAY,
        {
            OVERLAY: lambda tally: tally.directories + tally.born,
            IDEAL: lambda tally: tally.born_directories + tally.born,
        },
        lambda below, layer: _root(below, layer, docker=False),
        lambda _, model: model.root,
    ),
    _Line(
        VFS,
        {
            DOCKER_OVERLAY: lambda tally: (
                tally.directories + tally.born_files + tally.others - tally.further
            ),
            VFS: in_full,
        },
        lambda below, layer: _root(below, layer, docker=True),
        lambda _, model: model.root,
    ),
    _Line(
        OVERLAY2,
        {OVERLAY2: lambda tally: tally.directories + tally.born},
        lambda below, layer: DiffModel(below.tree if below else None, Tally(layer)),
        lambda lower, model: merged(lower, model.root, model.layer),
    ),
    _Line(
        DOCKER_OVERLAY2,
        {DOCKER_OVERLAY2: lambda tally: tally.directories + tally.born},
        lambda _, layer: DockerDiff(Tally(layer)),
        lambda _, __: None,
    ),
]


def recorded(record: LayerRecord) -> Iterator[TarEntry]:
    """The headers of a layer's tar, by the store's record of it.

    Raises:
        LayerError: there is none, or it is damaged.
    """
    if record.tar_split is None:
        raise LayerError(f"layer {record.chain_id.short} has no record of its tar")
    with record.tar_split.open("rb") as file:
        yield from tarsplit.headers(tarsplit.read(file))
