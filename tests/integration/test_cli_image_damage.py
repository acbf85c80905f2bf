"""``ovl1 image load`` of archives that are damaged or hostile: refused, named, nothing changed."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest

from ovl1.images.verify import verify_layer
from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.store.writer import create_store
from tests.support import archive_members, bad_archives
from tests.support.archive_members import Members, docker, flipped, oci, packed, unpacked
from tests.support.bad_archives import DOCKER, LIMIT, OCI, OLD, Damage
from tests.support.image_cli import Ovl1
from tests.support.layers import entry, make_tar
from tests.support.manifest import differences

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

NO_BLOBS = ("layer: no digest", "layer: of no kind", "layer: not listed as one")
LOAD = ("image", "load", "--max-bytes", str(LIMIT))
BASE = make_tar([entry("base", data=b"base" * 1000)]).read()


@pytest.fixture(scope="module", params=[OVERLAY, OVERLAY2])
def ovl1(request: pytest.FixtureRequest) -> Iterator[Ovl1]:
    """A store with one image; no test that asks for this one changes it."""
    with store(request.param) as made:
        yield made


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def own(request: pytest.FixtureRequest) -> Iterator[Ovl1]:
    """The same, to be changed."""
    with store(request.param) as made:
        yield made


@contextlib.contextmanager
def store(driver: str) -> Iterator[Ovl1]:
    with tempfile.TemporaryDirectory() as name, loop_file_system(
        "ext4", Path(name), 64 << 20
    ) as disk:
        made = Ovl1(disk / "docker", driver, Path(name) / "run")
        create_store(made.layout)
        path = Path(name) / "before.tar"
        path.write_bytes(
            packed(docker(layers=[BASE, archive_members.LAYERS[0]], names=["before:1"]))
        )
        made("image", "load", str(path))
        yield made


def refused(ovl1: Ovl1, path: Path, damage: Damage) -> str:
    """It is, with one clear sentence; the store is as it was."""
    before = ovl1.manifest()
    error = ovl1.error(*LOAD, str(path), code=damage.code)
    brief = str(error["brief"])
    assert re.search(damage.says, brief), error
    assert len(brief) < 200, brief
    assert brief.isprintable(), brief
    assert differences(before, ovl1.manifest()) == []
    return brief


@pytest.mark.parametrize("damage", DOCKER)
def test_a_damaged_docker_archive(ovl1: Ovl1, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(packed(DOCKER[damage].make()))
    brief = refused(ovl1, path, DOCKER[damage])
    assert not damage.startswith("layer: ") or re.search(r"\d/layer\.tar", brief), brief


@pytest.mark.parametrize("damage", OLD)
def test_a_damaged_archive_of_before_1_10(ovl1: Ovl1, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(packed(OLD[damage].make()))
    refused(ovl1, path, OLD[damage])


@pytest.mark.parametrize("damage", OCI)
def test_a_damaged_oci_layout(ovl1: Ovl1, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    members = OCI[damage].make()
    path.write_bytes(packed(members))
    brief = refused(ovl1, path, OCI[damage])
    if damage.startswith("layer: ") and damage not in NO_BLOBS:
        assert re.search("blobs/sha256/[0-9a-f]{64}", brief), brief
    unpacked(members, tmp_path / "layout")
    refused(ovl1, tmp_path / "layout", OCI[damage])


@pytest.mark.parametrize("whole", [docker(), oci(), oci(pack=True)], ids=["docker", "oci", "gzip"])
def test_an_archive_cut_anywhere(ovl1: Ovl1, whole: Members, tmp_path: Path) -> None:
    content = packed(whole)
    path = tmp_path / "archive.tar"
    last = len(content.rstrip(b"\0")) - 1
    cut = Damage(lambda: whole, "cut short|no archive of images|has no ")
    for length in (0, 100, 512, 700, last // 3 // 512 * 512, last // 2, last - 600, last):
        path.write_bytes(content[:length])
        refused(ovl1, path, cut)


@pytest.mark.parametrize("packer", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_that_is_damaged(
    ovl1: Ovl1, packer: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    content = packer(packed(docker()))
    path = tmp_path / "archive.tar.packed"
    for damaged in (content[: len(content) // 2], content[:-3], flipped(content)):
        path.write_bytes(damaged)
        # A bit that was flipped may also stand for a very long run of one byte.
        refused(
            ovl1, path, Damage(docker, "compressed archive is damaged or cut short|unpacks to more")
        )


@pytest.mark.parametrize(
    "content", [b"text\n" * 300, bytes(10240), b"\x1f\x8b\x08", b"PK\3\4" * 300]
)
def test_what_is_no_archive(ovl1: Ovl1, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "something"
    path.write_bytes(content)
    refused(ovl1, path, Damage(docker, "no archive of images|damaged or cut short"))
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(ovl1, empty, Damage(docker, "no archive of images"))


def test_an_archive_that_unpacks_without_end(ovl1: Ovl1, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(20 * LIMIT), 1))
    refused(ovl1, bomb, Damage(docker, f"archive unpacks to more than {LIMIT} bytes"))
    before = ovl1.manifest()
    free = os.statvfs(ovl1.data_root).f_bfree
    for path in (bomb, Path("/dev/zero")):
        error = ovl1.error(*LOAD, "-", stdin=path)
        assert "bytes" in error["brief"] or "no archive" in error["brief"]
        assert differences(before, ovl1.manifest()) == []
    assert "unpacks to more than" in from_a_pipe(ovl1, tmp_path / "pipe")["brief"]
    assert differences(before, ovl1.manifest()) == []
    os.sync()
    assert os.statvfs(ovl1.data_root).f_bfree >= free - 100


def from_a_pipe(ovl1: Ovl1, pipe: Path) -> Dict[str, Any]:
    """What is said of zeros without an end, uncompressed."""
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"exec cat /dev/zero > {pipe}"]) as cat:
        try:
            return ovl1.error(*LOAD, "-", stdin=pipe)
        finally:
            cat.kill()


def test_the_names_of_an_archive_cannot_act_on_the_terminal(ovl1: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    for name in ("\x1b[2J", "\u202e", "\x9b", "a\nb"):
        path.write_bytes(packed(docker(manifest=bad_archives.sets(Layers=[name] * 3))))
        shown = ovl1(*LOAD, str(path), code=3).err
        assert all(line.isprintable() for line in shown.splitlines())
        assert "archive" in shown.splitlines()[0]


@pytest.mark.parametrize("whole", [docker(), oci(), oci(pack=True)], ids=["docker", "oci", "gzip"])
def test_bits_flipped_anywhere(own: Ovl1, whole: Members, full: bool, tmp_path: Path) -> None:
    """It is refused, or what was flipped does not matter: both are said without a traceback."""
    content = packed(whole)
    path = tmp_path / "archive.tar"
    chosen = random.Random(len(content))
    for _ in range(300 if full else 10):
        damaged = bytearray(content)
        # Headers and documents, rather than the contents of files, which are most of it.
        for _ in range(chosen.randint(1, 3)):
            at = chosen.randrange(len(content) // 512) * 512 + int(chosen.expovariate(1 / 100))
            damaged[at % len(content)] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        before, known = own.manifest(), set(own.store().images)
        ended = own.ended(*LOAD, str(path))
        assert ended.code in (0, 2, 3), (ended, bytes(damaged))
        if ended.code:
            assert differences(before, own.manifest()) == []
        else:
            own("image", "verify", "--all")
            own("image", "rm", "--force", *(set(own.store().images) - known))
    assert own.store().problems == ()


def test_what_is_said_is_text_or_json(ovl1: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    for damage in ("layer: bit flipped", "layer: bomb", "manifest: no JSON", "10,000 layers"):
        path.write_bytes(packed(DOCKER[damage].make()))
        error = ovl1.error(*LOAD, str(path))
        first, *more = ovl1(*LOAD, str(path), code=3).err.splitlines()
        assert first == f"ovl1: {error['brief']}"
        told = [*error["details"].splitlines(), *error["resolution"].splitlines()]
        assert more == [f"  {line}" for line in told]


def test_a_good_archive_after_bad_ones(own: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    for damage in ("layer: bit flipped", "layer: leads out", "name: UPPER:1"):
        path.write_bytes(packed(DOCKER[damage].make()))
        refused(own, path, DOCKER[damage])
    for members in (docker(names=["docker:1"]), oci(), oci(pack=True)):
        path.write_bytes(packed(members))
        own(*LOAD, str(path))
    found = own.store()
    assert found.problems == ()
    assert set(found.references.tags) == {"before:1", "docker:1", "app:1"}
    assert all(verify_layer(found, record).ok for record in found.layers.values())


def test_of_a_key_that_comes_twice_the_last_one_counts(own: Ovl1, tmp_path: Path) -> None:
    """As for Go."""
    path = tmp_path / "archive.tar"
    config = b'{"rootfs":{"diff_ids":["sha256:00"]},' + bad_archives.CONFIG[1:]
    manifest = docker(config=config)
    listed = manifest["manifest.json"]
    assert isinstance(listed, bytes)
    manifest["manifest.json"] = listed.replace(b'[{"', b'[{"Config":"/etc/passwd","')
    path.write_bytes(packed(manifest))
    own(*LOAD, str(path))
    assert len(own.store().image("app:1").diff_ids) == 3
    assert own.store().problems == ()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"Repositories":7}', '{"Repositories":{"a":7}}']
)
def test_a_list_of_names_that_is_not_readable(own: Ovl1, content: str, tmp_path: Path) -> None:
    """Nothing is begun that could not be finished."""
    path = tmp_path / "archive.tar"
    path.write_bytes(packed(docker()))
    own.layout.repositories.write_text(content)
    before = own.manifest()
    error = own.error(*LOAD, str(path))
    assert "repositories.json" in error["brief"] + error["details"]
    image_id = next(iter(own.store().images))
    own.error("image", "rm", image_id)
    assert differences(before, own.manifest()) == []
    own.layout.repositories.unlink()
    own(*LOAD, str(path))
    assert set(own.store().references.tags) == {"app:1"}
