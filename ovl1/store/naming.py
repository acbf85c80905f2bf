"""Giving names to images and taking them away: ``repositories.json``, replaced as a whole.

One writer at a time, which the caller sees to. All of it is durable when a function returns.
"""

from __future__ import annotations

import contextlib
import copy
import re
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping

from ovl1.errors import BrokenStore, WrongUsage
from ovl1.formats import gojson
from ovl1.linux import durable
from ovl1.model import ImageId
from ovl1.store.folder import Folder
from ovl1.store.layout import Layout
from ovl1.store.references import familiar, split_name

_REPOSITORIES = "Repositories"

# The grammar of github.com/docker/distribution/reference, of familiar names.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:(?=[^/]*[.:]|localhost/)[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?"
_NAME = re.compile(rf"{_DOMAIN}{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def tag_image(layout: Layout, image_id: ImageId, reference: str) -> str:
    """Give an image a name, which another image may have had; other names are kept.

    Args:
        reference: ``name:tag``, or ``name`` for ``name:latest``.

    Returns:
        The name in Docker's familiar form, as it was entered.

    Raises:
        WrongUsage: Docker would not accept the name.
        BrokenStore: ``repositories.json`` is not readable.
    """
    return tag_images(layout, {reference: image_id})[0]


def tag_images(layout: Layout, images: Mapping[str, ImageId]) -> List[str]:
    """Give images their names, all in one step; idempotent, otherwise as `tag_image`."""
    entered = {valid_name(reference): image_id for reference, image_id in images.items()}
    with _repositories(layout) as repositories:
        for name, image_id in entered.items():
            repositories.setdefault(split_name(name)[0], {})[name] = image_id
    return list(entered)


def write_names(path: Path, names: Mapping[str, ImageId]) -> None:
    """Write a ``repositories.json`` with these names, tags and digests alike; durable.

    Args:
        path: where; what is there is replaced.
    """
    repositories: Dict[str, Dict[str, str]] = {}
    for name, image_id in names.items():
        repositories.setdefault(split_name(name)[0], {})[name] = image_id
    durable.write_file(path, gojson.encoded({_REPOSITORIES: repositories}), mode=0o600)


def untag_images(layout: Layout, references: Iterable[str]) -> None:
    """Take names away, all in one step; idempotent.

    Args:
        references: ``name:tag`` or ``name@digest``, as ``repositories.json`` has them.

    Raises:
        BrokenStore: ``repositories.json`` is not readable.
    """
    with _repositories(layout) as repositories:
        for name in references:
            known = repositories.get(split_name(name)[0], {})
            known.pop(name, None)
            if not known:
                repositories.pop(split_name(name)[0], None)


@contextlib.contextmanager
def _repositories(layout: Layout) -> Iterator[Dict[str, Any]]:
    """The names by repository, written back durably if the block has changed them."""
    name = layout.repositories.name
    with Folder.open(layout.data_root, layout.image) as folder:
        # Without the file, no image has a name.
        known = folder.json(name) if folder.exists(name) else {}
    repositories = known.get(_REPOSITORIES) or {}
    tables = repositories.values() if isinstance(repositories, dict) else [None]
    if not all(isinstance(names, dict) for names in tables):
        raise BrokenStore("the list of names is not readable", details=str(layout.repositories))
    before = copy.deepcopy(repositories)
    yield repositories
    if repositories != before:
        _write_repositories(layout, {**known, _REPOSITORIES: repositories})


def check_names(layout: Layout) -> None:
    """Make sure that names can be given and taken away.

    Raises:
        BrokenStore: ``repositories.json`` is not readable.
    """
    with _repositories(layout):
        pass


def valid_name(reference: str) -> str:
    """The familiar form of a name that Docker accepts for an image.

    Raises:
        WrongUsage: it does not.
    """
    name = familiar(reference)
    repository, tag, digest = split_name(name)
    valid = _NAME.fullmatch(repository) and _TAG.fullmatch(tag) and not reference.endswith(":")
    if digest or not valid:
        raise WrongUsage(
            f"{reference!r} is no name for an image",
            resolution="A name is lower case, such as app:1 or registry.example:5000/team/app:1.",
        )
    return name


def _write_repositories(layout: Layout, value: Dict[str, Any]) -> None:
    durable.write_file(layout.repositories, gojson.encoded(value), mode=0o600)
