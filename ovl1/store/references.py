"""Names of images: ``repositories.json``, and what people type instead of an id.

Names are kept as the file has them, in Docker's *familiar* form: ``docker.io/library/app`` is
``app``. Whatever is not a name is taken for the beginning of an image id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple

from ovl1.errors import BrokenStore, WrongUsage
from ovl1.model import ImageId
from ovl1.store.folder import Folder
from ovl1.store.layout import Layout
from ovl1.store.lookup import candidates, pick
from ovl1.store.problem import Problem

_HUB = ("docker.io", "index.docker.io")
_ID = re.compile(r"(sha256:)?[0-9a-f]{1,64}", re.IGNORECASE)


@dataclass(frozen=True)
class References:
    """All names of a store, to images and back."""

    tags: Dict[str, ImageId] = field(default_factory=dict)
    """``name:tag`` to image."""
    digests: Dict[str, ImageId] = field(default_factory=dict)
    """``name@sha256:...`` to image."""
    problems: List[Problem] = field(default_factory=list)

    def tags_of(self, image_id: ImageId) -> List[str]:
        """The ``name:tag`` forms of an image, sorted."""
        return sorted(name for name, target in self.tags.items() if target == image_id)

    def digests_of(self, image_id: ImageId) -> List[str]:
        """The ``name@digest`` forms of an image, sorted."""
        return sorted(name for name, target in self.digests.items() if target == image_id)

    def resolve(self, text: str, images: Iterable[ImageId]) -> ImageId:
        """The image that `text` means.

        Args:
            text: ``name``, ``name:tag``, ``name@digest``, an image id or the beginning of one.
            images: the ids that may be meant by an id.

        Raises:
            WrongUsage: nothing of that name, or several; the candidates are listed.
        """
        name = familiar(text)
        for table in (self.digests, self.tags):
            if name in table:
                return table[name]
        if _ID.fullmatch(text):
            return pick(text, ((image_id, image_id) for image_id in images), "image")
        repository = split_name(name)[0]
        similar = [known for known in self.tags if split_name(known)[0] == repository]
        raise WrongUsage(
            f"there is no image {text!r}",
            details="There are:\n" + candidates(similar) if similar else "",
            resolution="`ovl1 image ls` lists what there is.",
        )


def read_references(layout: Layout) -> References:
    """Read ``repositories.json``; without one, no image has a name.

    Raises:
        NotPossibleHere: this user may not read it.
    """
    found = References()
    where = layout.repositories
    try:
        with Folder.open(layout.data_root, where.parent) as folder:
            if not folder.exists(where.name):
                found.problems.append(Problem.note(where, "there is none: no image has a name"))
                return found
            repositories = folder.json(where.name).get("Repositories") or {}
        if not isinstance(repositories, dict):
            raise BrokenStore(f"{where.name} has no readable list of names")
        for names in repositories.values():
            _read_names(names, where, found)
    except BrokenStore as error:
        found.problems.append(Problem.of(where, error))
    return found


def familiar(text: str) -> str:
    """A reference in Docker's shortest form, with ``:latest`` if it has no tag.

    ``docker.io/library/app`` is ``app:latest``; with a digest the tag counts for nothing.
    """
    name, tag, digest = split_name(text.strip())
    domain, slash, rest = name.partition("/")
    if slash and domain in _HUB:
        name = rest
        domain, slash, rest = name.partition("/")
    if slash and domain == "library" and "/" not in rest:
        name = rest
    return f"{name}@{digest}" if digest else f"{name}:{tag or 'latest'}"


def full_name(text: str) -> str:
    """A reference whole: ``app`` is ``docker.io/library/app:latest``."""
    name = familiar(text)
    domain, slash, _ = name.partition("/")
    if slash and (domain == "localhost" or "." in domain or ":" in domain):
        return name
    return f"{_HUB[0]}/{name}" if slash else f"{_HUB[0]}/library/{name}"


def split_name(text: str) -> Tuple[str, str, str]:
    """The repository, tag and digest of a reference; what it does not have is empty."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # The colon of a registry's port.
        return name, "", digest
    return head, tag, digest


def _read_names(names: Any, where: Path, found: References) -> None:
    if not isinstance(names, dict):
        found.problems.append(Problem(where, "the names of a repository are not readable"))
        return
    for name, target in names.items():
        try:
            image_id = ImageId.parse(target if isinstance(target, str) else repr(target))
        except BrokenStore as error:
            found.problems.append(
                Problem(where, f"{name!r}: {error.brief}", "Tag the image again.")
            )
            continue
        (found.digests if "@" in name else found.tags)[name] = image_id
