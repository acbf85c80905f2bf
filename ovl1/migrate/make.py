"""Making the new store beside the old one: layers, and a copy of the metadata."""

from __future__ import annotations

import os
import re
from typing import Tuple

from ovl1.driver import overlay2
from ovl1.driver.convert import Conversion, content, naming
from ovl1.layer.build import Built, build
from ovl1.layer.delta import delta
from ovl1.linux.beneath import Directory
from ovl1.linux.workers import in_parallel
from ovl1.migrate.plan import Plan
from ovl1.model import Progress
from ovl1.store.layout import Layout
from ovl1.store.store import Store
from ovl1.tree.view import StackView

_SUB_ROOT = re.compile(r"(\d+)\.(\d+)")


def make_store(store: Store, plan: Plan, progress: Progress) -> Built:
    """Make all layers of `plan` and the metadata in its staging area; not synced yet.

    Raises:
        BrokenStore, LayerError: a layer cannot be made; what was made so far stays.
    """
    staged, source = plan.area.staged, store.layout
    home = source.home.stat()
    overlay2.create_home(staged, mode=home.st_mode & 0o7777, owner=(home.st_uid, home.st_gid))
    pair = _root_pair(source)
    built = Built()

    def make(conversion: Conversion) -> Built:
        return _make_layer(store, plan, conversion, pair)

    # A layer is made from the old store alone, so the order does not matter.
    for number, made in enumerate(in_parallel(make, plan.layers)):
        progress("making layers", number, len(plan.layers))
        built += made
    progress("making layers", len(plan.layers), len(plan.layers))
    _copy_metadata(source, staged)
    return built


def _make_layer(store: Store, plan: Plan, conversion: Conversion, pair: Tuple[int, int]) -> Built:
    staged = plan.area.staged
    status = store.layout.layer(conversion.layer_id).stat()
    overlay2.create_layer(
        staged,
        conversion.layer_id,
        conversion.lowers,
        mode=status.st_mode & 0o7777,
        owner=(status.st_uid, status.st_gid),
        root_pair=pair,
        has_children=conversion.has_children,
    )
    with naming(conversion), Directory.open(staged.diff(conversion.layer_id)) as target:
        return build(
            content(store, conversion, keep_directory_times=plan.keep_directory_times),
            target,
            own_copy=conversion.own_copy,
        )


def _copy_metadata(source: Layout, staged: Layout) -> None:
    """Copy ``image/overlay``: to hardlink it would not do, Docker writes some files in place."""
    staged.image.mkdir(parents=True)
    view = StackView([Directory.open(source.image)])
    with view, Directory.open(staged.image) as target:
        build(delta(view, None, None), target, own_copy=True)


def _root_pair(layout: Layout) -> Tuple[int, int]:
    """Owner of what root in a container owns; with user namespaces the data-root is named so."""
    match = _SUB_ROOT.fullmatch(os.path.basename(layout.data_root))
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)
