"""Cloning and removing a large tree, and how much memory that takes."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Callable, Dict, Tuple

from ovl1.linux.loopback import GIB, loop_file_system
from tools.bench.measure import ONE, ROOT, TWO, Samples, Table, available, call, run, settle

_PER_DIRECTORY = 100
_NAMES_PER_INODE = 20_000
_LAYER = "0" * 64

ONE_CORE, TWO_CORES = "ovl1, one core", "ovl1, two cores"
WHOLE = "with Python's start"


def clone_and_removal(options: Namespace) -> Tuple[Table, Table]:
    """A tree is cloned and removed by everybody in turn."""
    with tempfile.TemporaryDirectory(dir=options.directory) as work, loop_file_system(
        "ext4", Path(work), 8 * GIB, inodes=3 * options.entries
    ) as disk:
        loop = Path(work, "bench_clone")
        run(["cc", "-O2", "-o", loop, ROOT / "tools/bench_clone.c"])
        source = disk / "source"
        grow(source, options.entries)
        clones, removals = Samples(), Samples()
        for _ in range(options.runs):
            for name, cloner in cloners(loop, source).items():
                target = disk / "target"
                target.mkdir()
                settle()
                cloner(name, target, clones)
                settle()
                shutil.rmtree(target)
            for name, remover in removers().items():
                (disk / "target").mkdir()
                run([loop, source, disk / "target"])
                settle()
                remover(name, disk / "target", removals)
        return clones.table(than=["cp -al", "C loop"]), removals.table(than=["rm -rf"])


Contestant = Callable[[str, Path, Samples], None]


def grow(top: Path, entries: int) -> None:
    """A tree of small directories, in three levels, of empty files and some symbolic links."""
    for number in range(-(-entries // _PER_DIRECTORY)):
        directory = top / f"part-{number % 8}" / f"package-{number // 8 % 10}" / f"of-{number}"
        directory.mkdir(parents=True)
        for index in range(min(_PER_DIRECTORY, entries - number * _PER_DIRECTORY)):
            if index % 20:
                os.mknod(directory / f"some-file-name-{index}.py")
            else:
                os.symlink("target", directory / f"link-number-{index}.so")


def cloners(loop: Path, source: Path) -> Dict[str, Contestant]:
    """Each fills an empty directory, and adds what that took."""

    def program(*command: object) -> Contestant:
        def contestant(name: str, target: Path, samples: Samples) -> None:
            samples.add(name, run([*map(str, command), f"{target}/"], cores=ONE).figures)

        return contestant

    def ours(cores: int) -> Contestant:
        def contestant(name: str, target: Path, samples: Samples) -> None:
            done = call("clone", source, target, cores, cores=cores)
            samples.add(name, done.figures)
            samples.add(f"{name}, {WHOLE}", done.whole.figures)

        return contestant

    found = {
        "C loop": program(loop, source),
        "cp -al": program("cp", "-al", f"{source}/."),
        "rsync --link-dest": program("rsync", "-a", f"--link-dest={source}", f"{source}/"),
        ONE_CORE: ours(ONE),
        TWO_CORES: ours(TWO),
    }
    if not shutil.which("rsync"):
        del found["rsync --link-dest"]
    if available() < TWO:
        del found[TWO_CORES]
    return found


def removers() -> Dict[str, Contestant]:
    """Each removes a directory, and adds what that took."""

    def program(name: str, target: Path, samples: Samples) -> None:
        samples.add(name, run(["rm", "-rf", target], cores=ONE).figures)

    def ours(cores: int) -> Contestant:
        def contestant(name: str, target: Path, samples: Samples) -> None:
            done = call("remove", target.parent, target.name, cores, cores=cores)
            samples.add(name, done.figures)
            samples.add(f"{name}, {WHOLE}", done.whole.figures)

        return contestant

    found: Dict[str, Contestant] = {"rm -rf": program, ONE_CORE: ours(ONE)}
    if available() >= TWO:
        found[TWO_CORES] = ours(TWO)
    return found


def memory(options: Namespace) -> Table:
    """Peak of the largest process for a small tree and for one of `options.many` entries."""
    samples = Samples()
    with tempfile.TemporaryDirectory(dir=options.directory) as work, loop_file_system(
        "ext4", Path(work), 16 * GIB, inodes=options.many // 10 + 50_000
    ) as disk:
        for number in (options.many // 100, options.many):
            top, tar = disk / str(number), Path(work, f"{number}.tar")
            (top / "overlay").mkdir(parents=True)
            write_tar(tar, number)
            with tar.open("rb") as stream:
                applied = call("apply", top, Path(work, "run"), _LAYER, stdin=stream)
            tar.unlink()
            done = {f"apply, {number:,} entries": applied}
            source = top / "overlay" / _LAYER / "root"
            for workers in (ONE, TWO):
                target = top / f"clone-{workers}"
                target.mkdir()
                name = f"clone, {number:,} entries, {workers} worker{'s' * (workers > 1)}"
                done[name] = call("clone", source, target, workers)
                done[name.replace("clone", "remove")] = call("remove", top, target.name, workers)
            for name, outcome in done.items():
                samples.add(name, {"MiB": outcome.peak / (1 << 20), **outcome.figures})
    return samples.table()


def write_tar(path: Path, entries: int) -> None:
    """Empty files in directories, most of them hard links, which take no inodes."""
    with path.open("wb") as file:
        for index in range(entries):
            directory = f"directory-{index // _PER_DIRECTORY}"
            if index % _PER_DIRECTORY == 0:
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            else:
                entry = tarfile.TarInfo(f"{directory}/name-{index}")
                first = index - index % _NAMES_PER_INODE + 1
                if index != first:
                    entry.type = tarfile.LNKTYPE
                    entry.linkname = f"directory-{first // _PER_DIRECTORY}/name-{first}"
            file.write(entry.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))
