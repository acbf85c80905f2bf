"""What `ovl1 demo` does and says, step by step; each claim is checked when it is made.

The functions that are called are those behind the commands that it names.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import click

from ovl1.cli.context import Context
from ovl1.cli.demo.sample import APP, README, REMOVED_FILE, sample_layers
from ovl1.cli.inodes.command import show
from ovl1.driver import overlay1, overlay2
from ovl1.driver.base import Driver
from ovl1.driver.opening import open_driver
from ovl1.errors import CheckFailed, HalfDone, NotPossibleHere
from ovl1.images.build import build_image, create_container
from ovl1.images.verify import layers_of, verify_layer
from ovl1.inodes.attribute import report
from ovl1.linux import durable, mounts
from ovl1.linux.probe import probe
from ovl1.migrate import engine, finish
from ovl1.model import ContainerId, ImageId, LayerId, Mount
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from ovl1.store.writer import create_store

_NAME = "demo:1"
_CREATED = "2020-01-01T00:00:00Z"
_NEEDED = ("overlay", "overlay_multiple_lowers", "hardlinks", "trusted_xattr", "mknod")
_ADDED, _TEXT = "root-of-the-container", "written by the container\n"
_REPORT = (
    "This is a fault of ovl1, or something else used the file system: please report it with "
    "what is above."
)
_LINE = "A line that the container appended.\n"


class Story:
    """Tells it, and keeps the figures.

    Args:
        check: called now and then, where it may raise.
    """

    def __init__(self, context: Context, check: Callable[[], None]) -> None:
        self.figures: Dict[str, Any] = {}
        self.claims: List[Dict[str, Any]] = []
        self._context = context
        self._check = check
        self._step = 0
        self._root = Path()
        self._image = ImageId()
        self._container = ContainerId()

    def tell(self, disk: Path) -> None:
        """Do it all on an empty file system.

        Raises:
            CheckFailed: a claim does not hold; says which.
            NotPossibleHere: this kernel has no overlay.
        """
        self._root = disk / "docker"
        self._begin(disk)
        self._make_image()
        self._run_container()
        self._account()
        self._verify()
        self._migrate()
        self._purge()
        self._run_again()

    def say(self, text: str) -> None:
        """Text for people; beside JSON it goes to standard error."""
        self._check()
        if not self._context.quiet:
            click.echo(text, err=self._context.as_json)

    def _tell_step(self, what: str, command: str = "") -> None:
        self._step += 1
        self.say(f"\n{self._step}. {what}")
        if command:
            root = f"--data-root {self._root} " if command.startswith("ovl1 ") else ""
            self.say(f"   $ {command.replace('ovl1 ', f'ovl1 {root}', 1)}")

    def _claim(self, what: str, holds: object) -> None:
        """Something that is so, or is not."""
        self.claims.append({"what": what, "holds": bool(holds)})
        if not holds:
            raise CheckFailed(f"the demo's claim does not hold: {what}", resolution=_REPORT)
        self.say(f"   ok: {what}")

    def _equal(self, what: str, found: object, expected: object) -> None:
        """A figure that is another one."""
        self._claim(
            f"{what}: {found} {'==' if found == expected else '!='} {expected}", found == expected
        )

    def _progress(self, _phase: str, _done: int, _total: int) -> None:
        self._check()

    def _used(self) -> int:
        """Inodes in use, as ``df -i`` has them."""
        durable.sync_file_system(self._root.parent)
        status = os.statvfs(self._root.parent)
        return status.f_files - status.f_ffree

    def _begin(self, disk: Path) -> None:
        self._tell_step(
            f"An empty file system in a file, so that the figures are nobody else's: {disk}",
            f"df -i {disk}",
        )
        abilities = probe(disk)
        for name in _NEEDED:
            if not abilities[name].works:
                raise NotPossibleHere(
                    f"this kernel or this user cannot do it: {name}: {abilities[name].reason}",
                    resolution="Run it as root on a machine of its own, not in a container.",
                )
        self.figures["inodes_empty"] = self._used()
        self.say(f"   {self.figures['inodes_empty']} inodes are in use.")
        create_store(Layout(self._root, OVERLAY))

    def _make_image(self) -> None:
        self._tell_step(
            "An image of five layers, stored as Docker's overlay driver does: each layer is the "
            "whole tree again. Files are hardlinks, but each directory takes another inode.",
            "ovl1 layer ls",
        )
        made = self.figures["layers"] = []

        def tars() -> Iterator[Any]:
            for layer in sample_layers():
                before = self._used()
                yield layer.tar
                taken = self._used() - before
                made.append({"what": layer.what, "entries": layer.entries, "inodes": taken})

        config = {
            "architecture": os.uname().machine.replace("x86_64", "amd64"),
            "os": "linux",
            "created": _CREATED,
            "config": {"Cmd": ["/bin/sh"]},
        }
        self._image = build_image(self._driver(), tars(), _NAME, config)
        for number, layer in enumerate(made, 1):
            self.say(
                f"   layer {number} {layer['what'] + ',':28} {layer['entries']:5} entries in its "
                f"tar, {layer['inodes']:5} inodes"
            )
        self._equal("problems that `ovl1 info` finds in it", len(self._store(OVERLAY).problems), 0)

    def _driver(self) -> Driver:
        return open_driver(self._root, OVERLAY, sync=False)

    def _run_container(self) -> None:
        self._tell_step(
            "A container on it: over the image's tree, the kernel mounts what the container "
            "changes. It writes a file, appends to one, deletes one.",
            "mount -t overlay overlay -o lowerdir=IMAGE/root,upperdir=upper,workdir=work merged",
        )
        layout = Layout(self._root, OVERLAY)
        self._container = create_container(self._driver(), self._image, "demo", created=_CREATED)
        mount_id = self._mount_id(layout)
        with _mounted(layout, mount_id, overlay1.mount_of(layout, mount_id)) as merged:
            (merged / _ADDED).write_text(_TEXT)
            with (merged / README).open("a") as file:
                file.write(_LINE)
            (merged / REMOVED_FILE).unlink()
        whiteout = (layout.upper(mount_id) / REMOVED_FILE).lstat()
        self._claim(
            "the deleted file is a whiteout in the container's own layer",
            stat.S_ISCHR(whiteout.st_mode) and whiteout.st_rdev == 0,
        )
        store = self._store(OVERLAY)
        top = store.chain(store.images[self._image])[0]
        root = layout.root(top.cache_id)
        self._claim("the image itself still has it", (root / REMOVED_FILE).is_file())

    def _account(self) -> None:
        self._tell_step("Where the inodes are, to the inode.", "ovl1 inodes report")
        made = report(self._store(OVERLAY), progress=self._progress)
        if not (self._context.as_json or self._context.quiet):
            click.echo()
            show(made)
            click.echo()
        used = self._used()
        self._equal(
            "inodes that ovl1 counts, with the file system's own, are those that df -i shows",
            made.total + made.file_system.own,
            used,
        )
        assert made.total_as_overlay2 is not None
        self.figures["inodes"] = {
            "used_before": used,
            "overlay": made.total,
            "predicted_overlay2": made.total_as_overlay2,
        }
        self.say(
            f"   As overlay2 it will take {made.total_as_overlay2} inodes instead of {made.total}."
        )

    def _verify(self) -> None:
        self._tell_step(
            "Is every layer what its id promises? Its tar is put together again and hashed.",
            "ovl1 image verify --all",
        )
        self._equal("layers whose tar hashes to its DiffID", self._proved(OVERLAY), 5)

    def _migrate(self) -> None:
        self._tell_step(
            "Convert it to overlay2: layers made beside the old ones from hardlinks, proved, and "
            "put into place by renames.",
            "ovl1 migrate run",
        )
        try:
            outcome = engine.run(self._root, progress=self._progress)
        except HalfDone as err:
            # Nobody needs to go on with it: the file system goes with the demo.
            if isinstance(err.__cause__, KeyboardInterrupt):
                raise err.__cause__ from None
            raise
        self.say(f"   {outcome.built.linked} entries linked, {outcome.built.copied} copied.")
        self._tell_step(
            "Prove it once more, in place. Up to here `ovl1 migrate rollback` leads back.",
            "ovl1 migrate verify",
        )
        proof = finish.verify(self._root, self._progress)
        self._equal("layers whose tar hashes to its DiffID", proof.diff_ids, 5)
        self._equal("differences between the old and the new store", len(proof.differences), 0)

    def _purge(self) -> None:
        self._tell_step("Delete the old store, and get its inodes back.", "ovl1 migrate purge")
        finish.purge(self._root, progress=self._progress)
        figures = self.figures["inodes"]
        now = report(self._store(OVERLAY2)).total
        used = figures["used_after"] = self._used()
        figures["overlay2"] = now
        self._equal("inodes as predicted", now, figures["predicted_overlay2"])
        freed = figures["used_before"] - used
        self._equal(
            "inodes that df -i got back are what the prediction said",
            freed,
            figures["overlay"] - figures["predicted_overlay2"],
        )
        self._claim(f"they are fewer: {now} instead of {figures['overlay']}", freed > 0)

    def _run_again(self) -> None:
        self._tell_step(
            "The same image and the same container, from overlay2: what it did is still done.",
            "mount -t overlay overlay -o lowerdir=l/A:l/B:...,upperdir=diff,workdir=work merged",
        )
        store = self._store(OVERLAY2)
        self._claim("the name leads to the same image", store.image(_NAME).image_id == self._image)
        self._equal("layers whose tar hashes to its DiffID", self._proved(OVERLAY2), 5)
        self._claim("the container is there", self._container in store.containers)
        layout = store.layout
        mount_id = self._mount_id(layout)
        with _mounted(layout, mount_id, overlay2.mount_of(layout, mount_id)) as merged:
            self._claim("the file that it wrote is there", (merged / _ADDED).read_text() == _TEXT)
            self._claim("the line is appended", (merged / README).read_text().endswith(_LINE))
            self._claim("the deleted file is gone", not (merged / REMOVED_FILE).exists())
            self._claim("its neighbours are there", (merged / APP / "static" / "new.css").exists())

    def _store(self, driver: str) -> Store:
        return Store.open(self._root, driver)

    def _mount_id(self, layout: Layout) -> LayerId:
        return self._store(layout.driver).mounts[self._container].mount_id

    def _proved(self, driver: str) -> int:
        store = self._store(driver)
        layers = layers_of(store, [store.images[self._image]])
        return sum(1 for layer in layers if verify_layer(store, layer).ok)


@contextlib.contextmanager
def _mounted(layout: Layout, layer_id: LayerId, what: Mount) -> Iterator[Path]:
    """Mount a container where Docker does, for the time of the block."""
    merged = layout.merged(layer_id)
    merged.mkdir(0o700)
    with mounts.mounted(what, merged):
        yield merged
    merged.rmdir()
