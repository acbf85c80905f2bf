"""``ovl1 image`` and ``ovl1 container`` from an archive to an archive, as people call them."""

from __future__ import annotations

import bz2
import gzip
import importlib
import json
import lzma
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from ovl1.linux import locks
from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.support import archives
from tests.support.archive_members import LAYERS, docker, flipped, oci, packed, unpacked
from tests.support.child import Ended, in_child, running
from tests.support.image_cli import Ovl1, daemon_on
from tests.support.layers import entry, make_tar
from tests.support.manifest import differences
from tests.support.moments import KILLED, Point, killed
from tests.support.sources import ROOT

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

WRONG, FAILED, INTERRUPTED = 2, 1, 130
APP = archives.digest(archives.config_of(LAYERS))


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def ovl1(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ovl1]:
    """An empty data-root."""
    with loop_file_system("ext4", tmp_path, 128 << 20, inodes=32768) as disk:
        data_root = disk / "docker"
        data_root.mkdir()
        yield Ovl1(data_root, request.param, tmp_path / "run")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An archive of ``app:1``."""
    path = tmp_path / "app.tar"
    path.write_bytes(packed(docker()))
    return path


@pytest.fixture
def loaded(ovl1: Ovl1, app: Path) -> Ovl1:
    ovl1("image", "load", str(app))
    return ovl1


def zstd(content: bytes) -> bytes:
    compressed = importlib.import_module("zstandard").ZstdCompressor().compress(content)
    assert isinstance(compressed, bytes)
    return compressed


PACKERS: Dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_loading_what_is_compressed_as_a_whole(ovl1: Ovl1, packer: str, tmp_path: Path) -> None:
    if packer == "zstd":
        pytest.importorskip("zstandard")
    path = tmp_path / "archive"
    path.write_bytes(PACKERS[packer](packed(docker())))
    assert ovl1("image", "load", str(path)).out == "Loaded image: app:1\n"
    ovl1("image", "rm", "app:1")
    assert ovl1("-q", "image", "load", "-", stdin=path) == Ended(0, f"{APP}\n", "")
    assert in_child(piped(ovl1, path, "image", "load", "-")).code == 0
    assert ovl1("image", "verify", "--all").code == 0


def piped(ovl1: Ovl1, path: Path, *arguments: str) -> Callable[[], int]:
    """The command with `path` coming through a pipe, which nobody can seek in."""

    def action() -> int:
        with subprocess.Popen(["cat", os.fspath(path)], stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            return ovl1.action(*arguments, stdin=Path(f"/dev/fd/{cat.stdout.fileno()}"))()

    return action


def test_what_loading_says(ovl1: Ovl1, app: Path, tmp_path: Path) -> None:
    said = ovl1.json("image", "load", str(app))
    assert said["images"] == [{"id": APP, "tags": ["app:1"]}]
    assert (said["new_layers"], said["known_layers"], said["warnings"]) == (3, 0, [])
    again = ovl1("image", "load", str(app))
    assert again.out == "Loaded image: app:1\n"
    assert again.err == "0 layers (0B) are new, 3 were there.\n"
    nameless = tmp_path / "nameless.tar"
    nameless.write_bytes(packed(docker(names=[])))
    assert ovl1("image", "load", str(nameless)).out == f"Loaded image ID: {APP}\n"
    (image,) = ovl1.json("image", "ls")
    assert (image["id"], image["tags"]) == (APP, ["app:1"])


def test_the_platform_is_chosen(ovl1: Ovl1, tmp_path: Path) -> None:
    layout = archives.Layout()
    arm = layout.image(LAYERS[:1], **archives.platform("linux/arm64"))
    other = layout.image(LAYERS, **archives.platform("linux/s390x"))
    index = {**layout.index([arm, other]), **archives.called("app:1")}
    unpacked(dict(layout.finished(index)), tmp_path / "layout")
    arguments = ("image", "load", str(tmp_path / "layout"), "--platform")
    error = ovl1.error(*arguments, "linux/riscv64")
    assert error["details"] == "It has: linux/arm64, linux/s390x"
    assert "--platform" in error["resolution"]
    assert ovl1.json(*arguments, "linux/arm64")["new_layers"] == 1
    assert ovl1.json(*arguments, "linux/s390x")["new_layers"] == 2
    assert "no platform" in ovl1.error(*arguments, "arm64", code=WRONG)["brief"]


def test_an_empty_data_root_gets_a_store_only_with_images(ovl1: Ovl1, app: Path) -> None:
    for bad, code in ((app.with_name("typo.tar"), WRONG), (ROOT / "setup.cfg", 3)):
        ended = ovl1("image", "load", str(bad), code=code)
        assert os.listdir(ovl1.data_root) == []
        assert str(bad) in ended.err or "no archive of images" in ended.err
    ended = ovl1("image", "load", str(app))
    assert f"made a new {ovl1.driver} store in {ovl1.data_root}" in ended.err
    assert ovl1.store().problems == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ("image", "rm", "x"),
        ("image", "save", "x", "-o", "/dev/null"),
        ("image", "ls"),
        ("container", "ls"),
        ("container", "commit", "x"),
        ("container", "export", "x", "-o", "/dev/null"),
    ],
)
def test_where_there_is_no_store(ovl1: Ovl1, arguments: List[str]) -> None:
    error = ovl1.error(*arguments, code=WRONG)
    assert error["brief"] == f"there is no {ovl1.driver} store in {ovl1.data_root}"
    assert "--data-root" in error["resolution"]
    assert os.listdir(ovl1.data_root) == []
    ovl1.data_root.rmdir()
    assert "no " in ovl1.error(*arguments, code=WRONG)["brief"]


FORMS = ("app", "app:latest", "docker.io/library/app", "library/app:latest", APP, APP[7:19])


def test_an_image_by_all_its_names(loaded: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "latest.tar"
    path.write_bytes(packed(docker(names=["app:latest"])))
    loaded("image", "load", str(path))
    names = json.loads(loaded.layout.repositories.read_text())
    digest = f"app@sha256:{'d' * 64}"
    names["Repositories"]["app"][digest] = APP
    loaded.layout.repositories.write_text(json.dumps(names))
    for form in (*FORMS, digest, f"docker.io/library/{digest}"):
        assert loaded.json("image", "save", form, "-o", str(tmp_path / "out"))["images"] == [APP]
        assert loaded.json("image", "rm", "--dry-run", "--force", form)["untagged"]
    assert loaded.json("image", "rm", "docker.io/library/app:1")["untagged"] == ["app:1"]
    error = loaded.error("image", "rm", "app:1", code=WRONG)
    assert error["brief"] == "there is no image 'app:1'"
    assert "app:latest" in error["details"]


def test_an_ambiguous_id_lists_what_it_may_be(loaded: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "more.tar"
    for number in range(17):
        config = archives.config_of(LAYERS[:1], author=str(number))
        path.write_bytes(packed(docker(layers=LAYERS[:1], names=[], config=config)))
        loaded("image", "load", str(path))
    ids = [image["id"][7:] for image in loaded.json("image", "ls")]
    first = next(i[0] for i in ids if sum(other[0] == i[0] for other in ids) > 1)
    wanted = sorted(f"sha256:{i}" for i in ids if i[0] == first)
    before = loaded.manifest()
    for arguments in (("rm",), ("save", "-o", str(path))):
        error = loaded.error("image", *arguments, first, code=WRONG)
        assert error["brief"] == f"{first!r} is ambiguous: it fits {len(wanted)} images"
        assert error["details"].splitlines() == wanted
    assert differences(before, loaded.manifest()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("image", "load", "APP"),
        ("image", "import", "APP"),
        ("image", "rm", "app:1"),
        ("container", "commit", "c"),
    ],
)
def test_nobody_else_may_be_at_work(loaded: Ovl1, app: Path, arguments: List[str]) -> None:
    command = [str(app) if argument == "APP" else argument for argument in arguments]
    before = loaded.manifest()
    with daemon_on(loaded.data_root, app.parent):
        error = loaded.error(*command)
        assert error["brief"] == f"a daemon runs on {loaded.data_root}"
        assert "systemctl stop" in error["resolution"]
        loaded("image", "save", "app:1", "-o", "/dev/null")
        loaded("image", "rm", "--dry-run", "app:1")
    with locks.exclusive(loaded.data_root):
        assert "another ovl1 command" in loaded.error(*command)["brief"]
        loaded("image", "ls")
    assert differences(before, loaded.manifest()) == []


def test_an_interrupt_takes_back_what_was_loaded(loaded: Ovl1, tmp_path: Path) -> None:
    many = make_tar([entry(f"many/{number}", data=b"x") for number in range(15_000)]).read()
    path = tmp_path / "many.tar"
    path.write_bytes(packed(docker(layers=[*LAYERS, many], names=["many:1"])))
    before = loaded.manifest()
    trees = len(os.listdir(loaded.layout.home))
    with running(loaded.action("image", "load", str(path))) as child:
        while len(os.listdir(loaded.layout.home)) == trees:
            time.sleep(0.001)
        time.sleep(0.05)
        child.signal(signal.SIGINT)
        ended = child.wait()
    assert (ended.code, ended.err.strip()) == (INTERRUPTED, "ovl1: interrupted")
    assert differences(before, loaded.manifest()) == []
    assert loaded("image", "load", str(path)).out == "Loaded image: many:1\n"


def test_a_kill_leaves_nothing_or_all_of_an_oci_image(loaded: Ovl1, tmp_path: Path) -> None:
    """Its manifest and the digests of its packed layers are kept beside it."""
    path = tmp_path / "layout.tar"
    renamed = archives.called("new:1")
    members = oci(
        layers=[LAYERS[1], LAYERS[2]],
        pack=True,
        index=lambda known: known["manifests"][0].update(renamed),
    )
    path.write_bytes(packed(members))
    load = loaded.action("image", "load", str(path))
    for call in ("append_line", "write_file", "os.rename", "sync_directory"):
        for number in (0, 2, 4):
            before = loaded.manifest()
            assert in_child(killed(Point(call, number, "after"), load)).code in (0, KILLED)
            # Whatever comes next finishes it, or takes it back.
            loaded("image", "rm", "nothing:1", code=WRONG)
            assert loaded.store().problems == ()
            assert loaded.store().orphans() == []
            if "new:1" in loaded.store().references.tags:
                loaded("image", "verify", "new:1")
                loaded("image", "rm", "new:1")
            else:
                assert differences(before, loaded.manifest()) == []


def test_importing(ovl1: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "root.tar.gz"
    path.write_bytes(gzip.compress(LAYERS[0]))
    said = ovl1.json("image", "import", str(path), "imported", "-m", "why")
    assert said["tags"] == ["imported:latest"]
    (image,) = ovl1.json("image", "ls")
    assert (image["id"], image["layers"]) == (said["id"], [archives.digest(LAYERS[0])])
    (step,) = ovl1.json("image", "history", "imported")
    assert step["comment"] == "why"
    assert ovl1("image", "import", "-", stdin=path).out.startswith("sha256:")
    before = ovl1.manifest()
    assert "no name" in ovl1.error("image", "import", str(path), "UPPER", code=WRONG)["brief"]
    path.write_bytes(gzip.compress(LAYERS[0])[:-9])
    assert "cut short" in ovl1.error("image", "import", str(path), "bad:1")["brief"]
    path.write_bytes(flipped(LAYERS[0], 3))
    ovl1.error("image", "import", str(path), "bad:1")
    ovl1("image", "import", str(tmp_path / "no.tar"), code=WRONG)
    assert differences(before, ovl1.manifest()) == []


def test_importing_nothing(ovl1: Ovl1, tmp_path: Path) -> None:
    path = tmp_path / "empty.tar"
    path.write_bytes(bytes(1024))
    ovl1("image", "import", str(path), "empty:1")
    assert ovl1.store().problems == ()
    assert len(ovl1.store().layers) == 1
    ovl1("image", "verify", "empty:1")


def test_an_archive_comes_in_as_a_whole(loaded: Ovl1, tmp_path: Path) -> None:
    """Two images, of which the second is bad."""
    path = tmp_path / "two.tar"
    good = docker(layers=LAYERS[:2], names=["good:1"], members=["manifest.json"])
    bad = docker(names=["bad:1"], members={"2/layer.tar": b"bad"})
    members = {f"good/{name}": content for name, content in good.items()}
    listed = {"Config": "good/config.json", "RepoTags": ["good:1"]}
    listed["Layers"] = [f"good/{number}/layer.tar" for number in range(2)]
    (other,) = json.loads(bad["manifest.json"])  # type: ignore[arg-type]
    both = {"manifest.json": json.dumps([listed, other]).encode()}
    loaded("image", "rm", "app:1")
    before = loaded.manifest()
    path.write_bytes(packed({**bad, **members, **both}))
    assert "2/layer.tar" in loaded.error("image", "load", str(path))["brief"]
    assert differences(before, loaded.manifest()) == []


def test_a_full_disk_leaves_the_store_as_it_was(loaded: Ovl1, tmp_path: Path) -> None:
    many = make_tar([entry(f"many/{number}", data=b"x") for number in range(40_000)]).read()
    path = tmp_path / "many.tar"
    path.write_bytes(packed(docker(layers=[*LAYERS, many], names=["many:1"])))
    before = loaded.manifest()
    assert "No space left" in loaded.error("image", "load", str(path), code=FAILED)["brief"]
    assert differences(before, loaded.manifest()) == []
