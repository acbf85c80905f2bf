"""What must hold before a migration may begin; a refusal says what to do, and touches nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Sequence

from ovl1.driver.convert import Conversion
from ovl1.driver.overlay2 import MAX_LOWERS
from ovl1.errors import BrokenStore, NotPossibleHere, Refused, listed
from ovl1.linux.probe import probe
from ovl1.migrate.journal import Journal
from ovl1.migrate.plan import Plan
from ovl1.store.store import Store

_NEEDED = ("hardlinks", "trusted_xattr", "mknod")


def refuse_if_in_progress(data_root: Path, journal_path: Path) -> None:
    """There may be no other migration.

    Raises:
        Refused: there is one; says in which state.
    """
    journal = Journal.read(journal_path)
    if journal is not None:
        raise Refused(
            f"{data_root} already has a migration: {journal.words}",
            resolution=journal.resolution,
        )


def check_store(store: Store, *, strict: bool = False, in_place: bool = False) -> None:
    """The store must be readable; broken parts of it are left out later.

    Args:
        strict: it must have no broken part either.
        in_place: nor may it then, as the records stay where they are.

    Raises:
        BrokenStore: lists what is broken.
    """
    layout = store.layout
    needed = (layout.home, layout.layers, layout.image_configs, layout.mounts, layout.containers)
    found = [problem for problem in store.errors if strict or in_place or problem.where in needed]
    if found:
        problems = [f"{problem.where}: {problem.what}. {problem.resolution}" for problem in found]
        raise BrokenStore(
            f"the store has {len(problems)} broken part(s)"
            if len(problems) > 1
            else "the store has a broken part",
            details=listed(problems),
            resolution="Mend or remove what is broken with the Docker version that wrote the "
            "store, then run this again. Nothing was changed."
            + (" Without --in-place they would be left out." if in_place and not strict else ""),
        )


def check_target(source: Path, target: Path) -> None:
    """A data-root that is to be made must be a place for one, apart from the old one.

    Raises:
        Refused: it is not.
    """
    if source in (target, *target.parents) or target in source.parents:
        raise Refused(f"{target} and {source} lie in each other", resolution="Choose another one.")
    if not target.parent.is_dir():
        raise Refused(f"there is no directory {target.parent}", resolution="Make it first.")
    if os.path.lexists(target) and not target.is_dir():
        raise Refused(f"{target} is no directory", resolution="Choose another one.")


def check_empty(target: Path) -> None:
    """A data-root that is to be made must be empty, or missing.

    Raises:
        Refused: it is not.
    """
    found = sorted(set(os.listdir(target)) - {"lost+found"}) if target.is_dir() else []
    if found:
        raise Refused(
            f"{target} is not empty",
            details=listed(found),
            resolution="Choose an empty directory, or one that does not exist yet.",
        )


def check_plan(conversions: Sequence[Conversion], plan: Plan) -> None:
    """The new store must be possible, if there is room for it.

    Raises:
        Refused: names are taken, or a chain is too long.
    """
    area = plan.area
    aside = {area.data_root / name for name in plan.aside}
    for path in (area.target.home, area.target.image, area.old.home, area.old.image, area.home):
        if os.path.lexists(path) and path not in aside:
            raise Refused(
                f"{path} exists already",
                details="The data-root holds a store of both drivers, or what is left of one.",
                resolution="Move it away if it is not needed: Docker refuses to start with both.",
            )
    long = [c for c in conversions if len(c.lowers) > MAX_LOWERS]
    if long:
        raise Refused(
            f"{len(long)} layer(s) have more than {MAX_LOWERS} layers below them",
            details=listed([f"{c.kind} {c.of}: {len(c.lowers)}" for c in long]),
            resolution="overlay2 cannot mount them. Unless it is in place, `--squash` makes one "
            "layer of their lowest ones. Or flatten these images with a Docker that still runs the "
            "overlay driver (docker export | docker import).",
        )


def check_abilities(scratch: Path) -> None:
    """The file system must keep what overlay2 layers are made of.

    Args:
        scratch: a directory in the migration's own area: trying changes it, and a process that is
            killed meanwhile leaves something there.

    Raises:
        NotPossibleHere: says what does not work.
    """
    abilities = probe(scratch, _NEEDED)
    missing = [f"{name}: {abilities[name].reason}" for name in _NEEDED if not abilities[name].works]
    if missing:
        raise NotPossibleHere(
            "this file system or this user lacks what overlay2 layers need",
            details=listed(missing),
            resolution="Run as root, on a file system such as ext4 or xfs.",
        )
