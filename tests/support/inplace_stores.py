"""Stores for conversions in place: made at random by real overlay mounts, or of everything."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ovl1.driver.upper import copy_upper
from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from ovl1.model import ChainId, LayerId
from ovl1.store.layout import TAR_SPLIT
from ovl1.tree.copy import copy_directory_metadata, copy_entry
from tests.support.inplace import InPlace
from tests.support.layers import entry
from tests.support.store_builder import StoreBuilder, real_store
from tests.support.trees import Change, change, furnish


class Chain:
    """A v1 store whose layers are made by real overlay mounts and random changes."""

    def __init__(self, builder: StoreBuilder) -> None:
        self.builder = builder
        self.layout = self.builder.layout
        self.tops = list(builder.cache_ids)
        self._count = 0

    @property
    def top(self) -> ChainId:
        return self.tops[-1]

    def root(self, chain: ChainId) -> Path:
        return self.layout.root(self.builder.cache_ids[chain])

    @contextlib.contextmanager
    def mounted(self, lower: Path, upper: Path, work: Path) -> Iterator[Path]:
        merged = upper.with_name("merged")
        merged.mkdir()
        try:
            with mounts.mounted(mounts.overlay([lower], upper, work), merged):
                yield merged
        finally:
            merged.rmdir()

    def _registered(self, parent: Optional[ChainId]) -> Tuple[ChainId, Path]:
        """A new layer that has no tree yet, and whose tar nobody knows."""
        self._count += 1
        chain = self.builder.real_layer([entry(f"unique{self._count}")], parent)
        (self.layout.record(chain) / TAR_SPLIT).unlink()
        root = self.root(chain)
        shutil.rmtree(root)
        root.mkdir()
        self.tops.append(chain)
        return chain, root

    def add(self, todo: Sequence[Change], parent: Optional[ChainId] = None) -> ChainId:
        """An image layer over `parent`: links where nothing changed, the rest anew."""
        chain, root = self._registered(parent)
        if parent is None:
            furnish(root)
            change(root, todo)
            return chain
        upper, work = root.with_name("upper"), root.with_name("work")
        upper.mkdir()
        work.mkdir()
        with self.mounted(self.root(parent), upper, work) as merged:
            change(merged, todo)
            flatten(merged, self.root(parent), root)
        shutil.rmtree(upper)
        shutil.rmtree(work)
        return chain

    def container(self, init: Sequence[Change], todo: Sequence[Change]) -> None:
        """A container over the last layer; its upper begins as a copy of its init's."""
        image = self.builder.image(self.top, f"app:{self._count}")
        container = self.builder.container(image, self.top)
        mount = LayerId((self.layout.mount(container) / "mount-id").read_text())
        first, second = LayerId(f"{mount}-init"), mount
        for layer_id in (first, second):
            shutil.rmtree(self.layout.upper(layer_id))
        self.layout.upper(first).mkdir()
        self._change(first, init)
        self._copy_upper(first, second)
        self._change(second, todo)

    def _copy_upper(self, first: LayerId, second: LayerId) -> None:
        upper = self.layout.upper(second)
        upper.mkdir()
        with Directory.open(self.layout.upper(first)) as source, Directory.open(upper) as target:
            copy_upper(source, target)

    def _change(self, layer_id: LayerId, todo: Sequence[Change]) -> None:
        lower = self.layout.root(LayerId(self.layout.lower_id(layer_id).read_text()))
        upper, work = self.layout.upper(layer_id), self.layout.work(layer_id)
        with self.mounted(lower, upper, work) as merged:
            change(merged, todo)

    def add_step(self, todo: Sequence[Change]) -> None:
        """What BuildKit makes of a step: an upper that begins as a copy of that below it."""
        below = self.builder.cache_ids[self.top]
        self._count += 1
        chain = self.builder.layer({f"unique{self._count}": b""}, self.top, buildkit=True)
        (self.layout.record(chain) / TAR_SPLIT).unlink()
        layer_id = self.builder.cache_ids[chain]
        shutil.rmtree(self.layout.upper(layer_id))
        if self.layout.lower_id(below).exists():
            self._copy_upper(below, layer_id)
            self.layout.lower_id(layer_id).write_text(self.layout.lower_id(below).read_text())
        else:
            self.layout.upper(layer_id).mkdir()
        self._change(layer_id, todo)
        self.tops.append(chain)

    def open(self, *, keep_directory_times: bool = True) -> InPlace:
        return InPlace(self.builder.open(), keep_directory_times=keep_directory_times)


def varied_store(data_root: Path) -> InPlace:
    """A store with something of everything, the tars of some layers known and of others not."""
    data_root.mkdir()
    builder = real_store(data_root)
    for layer_id in list(builder.cache_ids.values())[1:]:
        make_anew(builder.layout.root(layer_id))
    chain = Chain(builder)
    chain.container(INIT, [("remove", b"mtab", b"", 0), ("write", b"etc/top", b"", 3), *STEP])
    chain.add_step(STEP)
    chain.add_step([("remove", b"new/x", b"", 0), ("write", b"new/z", b"", 2)])
    return chain.open()


INIT: List[Change] = [
    ("symlink", b"mtab", b"", 0),
    ("write", b"hosts", b"", 0),
    ("mkdir", b"dev", b"", 0),
    ("write", b"dev/console", b"", 0),
    ("mkdir", b"dev/pts", b"", 0),
]
STEP: List[Change] = [
    ("mkdir", b"new", b"", 0),
    ("write", b"new/x", b"", 1),
    ("write", b"new/y", b"", 2),
    ("symlink", b"new/s", b"", 2),
    ("remove", b"bin/again", b"", 0),
]


def make_anew(root: Path) -> None:
    """Give symbolic links and specials inodes of their own, as Docker does when it clones a tree.

    Also one file, as if its inode had been at its limit of links.
    """
    for here, subdirectories, files in os.walk(root):
        status = os.stat(here)
        for name in files + [name for name in subdirectories if (Path(here) / name).is_symlink()]:
            path = Path(here) / name
            if path.is_file() and not path.is_symlink() and name != "base":
                continue
            moved = path.with_name("moved")
            path.rename(moved)
            subprocess.run(["cp", "-a", "--", moved, path], check=True)
            moved.unlink()
        os.utime(here, ns=(status.st_atime_ns, status.st_mtime_ns))


def flatten(merged: Path, parent: Path, root: Path) -> None:
    """Copy `merged` to `root`; a file that is still the parent's becomes another name of it."""
    copies: Dict[int, Path] = {}
    for here, subdirectories, files in os.walk(os.fsencode(merged), topdown=False):
        relative = os.fsdecode(os.path.relpath(here, os.fsencode(merged)))
        source, target = merged / relative, root / relative
        target.mkdir(parents=True, exist_ok=True)
        links = [name for name in subdirectories if os.path.islink(os.path.join(here, name))]
        with Directory.open(source) as mine, Directory.open(target) as made:
            for name in files + links:
                text = os.fsdecode(name)
                status = (source / text).lstat()
                if _is_parents(status, parent / relative / text):
                    os.link(parent / relative / text, target / text)
                elif status.st_ino in copies:
                    os.link(copies[status.st_ino], target / text, follow_symlinks=False)
                else:
                    copies[status.st_ino] = target / text
                    copy_entry(mine, made, name)
            copy_directory_metadata(mine, made)


def _is_parents(status: os.stat_result, before: Path) -> bool:
    if not os.path.lexists(before) or not stat.S_ISREG(status.st_mode):
        return False
    known = before.lstat()
    same = ("st_ino", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns")
    return all(getattr(status, field) == getattr(known, field) for field in same)
