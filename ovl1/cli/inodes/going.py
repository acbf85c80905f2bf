"""What is meant to be removed together, as people name it: images, containers and layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple

from ovl1.cli.layer.home import Home
from ovl1.driver.opening import DRIVERS
from ovl1.errors import WrongUsage
from ovl1.images.remove import plan_removal
from ovl1.inodes.free import Going, going, without
from ovl1.model import ContainerId, LayerId
from ovl1.store.references import familiar
from ovl1.store.store import Store

IMAGE, CONTAINER, LAYER = "image", "container", "layer"


@dataclass(frozen=True)
class Choice:
    """What goes, and what the user may have expected otherwise."""

    going: Going
    remarks: Tuple[str, ...]


def chosen(store: Store, targets: Sequence[str], kind: Optional[str], *, force: bool) -> Choice:
    """Find out what removing `targets` together takes out.

    Args:
        kind: what they are; None for whichever there is: an image, a container or a layer.

    Raises:
        WrongUsage: there is no such thing, or there are several.
        Refused: something that is not among them needs one of the images.
    """
    images: List[str] = []
    containers: List[ContainerId] = []
    layers: List[LayerId] = []
    for text in targets:
        found = kind or _kind(store, text)
        if found == IMAGE:
            images.append(text)
        elif found == CONTAINER:
            containers.append(store.container(text).container_id)
        else:
            layers.append(_home(store).find(text))
    removal = plan_removal(without(store, containers), images, force=force)
    what = going(store, removal.images, containers, layers)
    remarks = [*removal.kept, *_running(store, containers), *_needed(store, what)]
    if removal.names and not removal.images:
        remarks.append("only names go: " + ", ".join(removal.names))
    return Choice(what, tuple(remarks))


def _kind(store: Store, text: str) -> str:
    if familiar(text) in {**store.references.tags, **store.references.digests}:
        return IMAGE
    problem: Optional[WrongUsage] = None
    for kind, find in (
        (IMAGE, store.image),
        (CONTAINER, store.container),
        (LAYER, _home(store).find),
    ):
        try:
            find(text)
        except WrongUsage as err:
            problem = problem or err
        else:
            return kind
    raise WrongUsage(
        f"{text!r} is neither an image nor a container nor a layer",
        details=problem.brief if problem is not None else "",
        resolution="`ovl1 image ls`, `ovl1 container ls` and `ovl1 layer ls` list them.",
    )


def _home(store: Store) -> Home:
    return Home(store, DRIVERS[store.layout.driver](store.layout))


def _running(store: Store, containers: Sequence[ContainerId]) -> Iterator[str]:
    for container_id in containers:
        container = store.containers[container_id]
        if container.status == "running":
            yield f"container {container.name} is said to run, and must be stopped first"


def _needed(store: Store, what: Going) -> Iterator[str]:
    home = _home(store)
    for layer_id in what.trees:
        for user in home.needed_by(layer_id, besides=what.trees):
            yield f"layer {layer_id.short} is needed by {user}"
