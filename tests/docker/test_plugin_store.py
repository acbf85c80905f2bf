"""What the plugin keeps is Docker's own form: it goes there and back, and digests stay the same."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docker import nasty, truth
from tests.docker.conftest import NastyStore
from tests.docker.daemon import Daemon
from tests.docker.ovl1 import ovl1
from tests.docker.plugged import plugged
from tests.docker.test_captured import EXPECTED, daemon_on, unsaveable
from tests.support.captured import extracted
from tests.support.manifest import differences, manifest

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(900),
]
pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")

BASE = "base:1"
NAME = f"ovl1-{os.urandom(4).hex()}"
LAYOUTS = {"overlay": "overlay1", "overlay2": "overlay2"}

# Each step gives the same layer whenever it is made: times come from the context.
CONTEXT_STEPS = f"""\
FROM {BASE}
COPY file /copied
ADD files.tar /
COPY --chown=7:8 file /owned
ENV A=1
COPY file /etc-like
"""
STEPS = f"""\
FROM {BASE}
RUN mkdir /d && echo 1 >/d/one && ln /d/one /d/link && mkfifo /p && mknod /null c 1 3
RUN rm /d/one /etc/passwd && echo 2 >/d/two && chmod 4755 /d/link && chown 5:6 /etc
RUN rm -r /d && mkdir /d && echo 3 >/d/three && echo 3 >/d/same
"""
CHANGE = "rm /d/three; mkdir /d/sub; echo 1 >/d/sub/x; chmod 0700 /d; ln -s x /link"
# Of the same size and time: Docker overlooks it.
OVERLOOKED = "touch -r /d/same /ref; echo 4 >/d/same; touch -r /ref /d/same; rm /ref"
CHANGED = ["A /d/sub", "A /d/sub/x", "A /link", "C /d", "D /d/three"]


def context() -> bytes:
    """A build's context with old files, among them an archive of more."""

    def archive(**files: bytes) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in files.items():
                header = tarfile.TarInfo(name.replace("_", "."))
                header.size, header.mtime, header.mode = len(content), 1_500_000_000, 0o640
                tar.addfile(header, io.BytesIO(content))
        return buffer.getvalue()

    inner = archive(one=b"1" * 70_000, two=b"", copied=b"replaced")
    return archive(Dockerfile=CONTEXT_STEPS.encode(), file=b"content", files_tar=inner)


def build_context(daemon: Daemon) -> list[bytes]:
    """The layers that are built, as ``docker save`` has them."""
    options = ("-q", "--no-cache", "--network=none", "-t", "context:1")
    daemon.docker("build", *options, "-", stdin=context())
    said = daemon.docker("image", "inspect", "-f", "{{json .RootFS.Layers}}", "context:1")
    digests: list[str] = json.loads(said)
    with daemon.streaming("save", "context:1") as stream:
        saved = io.BytesIO(stream.read())
    with tarfile.open(fileobj=saved) as archive:
        files = [archive.extractfile(each) for each in archive if each.name.endswith("layer.tar")]
        found = {digest(layer): layer for layer in (file.read() for file in files if file)}
    assert set(found) == set(digests)
    return [found[each] for each in digests]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def unnamed(layer: bytes) -> bytes:
    """The same tar without names of users and groups.

    Docker's own releases write none. Debian's, with the standard library's archive/tar instead of
    Docker's, writes those that the numbers have on the host, as ``--owner-names`` does.
    """
    data = bytearray(layer)
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar:
            at = member.offset_data - 512
            data[at + 265 : at + 329] = bytes(64)
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


class Kept(NamedTuple):
    """A store of the plugin, at rest, and what the daemon said on it."""

    data_root: Path
    said: truth.Truth
    layers: list[bytes]


def said_by(daemon: Daemon, *, full: bool) -> truth.Truth:
    """What the daemon says about its store; in the quick form, digests of what it gives."""
    if full:
        return truth.record(daemon)
    streams = [("save", name) for name in ("context:1", "built:1", "committed:1")]
    streams += [("export", name) for name in ("changed", "created")]
    said: truth.Truth = {"diff": sorted(daemon.docker("diff", "changed").split("\n"))}
    for what, name in streams:
        with daemon.streaming(what, name) as stream:
            said[f"{what} {name}"] = digest(stream.read())
    return said


@pytest.fixture(params=["overlay", "overlay2"])
def kept(request: pytest.FixtureRequest, disk: Path, work: Path, full: bool) -> Kept:
    layout = str(request.param)
    if layout == "overlay2" and not full:
        pytest.skip("in the full form")
    data_root = disk / "docker"
    options = ("--layout", LAYOUTS[layout], "--owner-names")
    with plugged(data_root, work / "w", *options, name=NAME) as both:
        daemon = both.daemon
        daemon.docker("import", "-", BASE, stdin=nasty.base())
        made = build_context(daemon)
        daemon.build("built:1", STEPS)
        options = ("--network=none", "--name", "changed")
        daemon.docker("run", *options, "built:1", "sh", "-c", f"{CHANGE}; {OVERLOOKED}")
        assert sorted(daemon.docker("diff", "changed").split("\n")) == CHANGED
        daemon.docker("create", "--name", "created", "context:1", "sh", "-c", ":")
        daemon.docker("commit", "changed", "committed:1")
        look = ("run", "--rm", "--network=none", "committed:1", "cat", "/d/same", "/d/sub/x")
        assert daemon.docker(*look) == "4\n1"
        return Kept(data_root, said_by(daemon, full=full), made)


def test_dockers_own_driver_uses_it(kept: Kept, work: Path, full: bool) -> None:
    """A copy of it, and says the same; what it builds has the same digests."""
    # Under the name of the original, which containers' configurations have.
    original = kept.data_root.rename(kept.data_root.with_name("original"))
    subprocess.run(["cp", "-a", original, kept.data_root], check=True)
    ovl1(kept.data_root, "adopt", "--undo", "--name", NAME)
    driver = "overlay2" if (kept.data_root / "overlay2").exists() else "overlay"
    verified = ovl1(kept.data_root, "--driver", driver, "image", "verify", "--all")
    assert verified.count(" ok") == len(
        os.listdir(kept.data_root / f"image/{driver}/layerdb/sha256")
    )
    with Daemon(kept.data_root, driver, work / "own") as daemon:
        none_of(truth.compare(kept.said, said_by(daemon, full=full)))
        theirs, ours = build_context(daemon), kept.layers
        if [unnamed(layer) for layer in theirs] == theirs:
            ours = [unnamed(layer) for layer in ours]
        assert list(map(digest, theirs)) == list(map(digest, ours))
        assert daemon.docker("start", "-a", "created") == ""
        daemon.build("more:1", "FROM committed:1\nRUN cat /d/sub/x >/more\n")
        daemon.docker("rmi", "more:1")
        # The image that was built anew has another id, and was built later.
        daemon.docker("rm", "created", "changed")
        daemon.docker("image", "prune", "-af")
    left = [path.name for path in (kept.data_root / driver).iterdir() if path.name != "l"]
    assert left == []


def none_of(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def test_a_store_of_docker_is_adopted(
    request: pytest.FixtureRequest, work: Path, full: bool
) -> None:
    """The nasty one, and returned: the daemon says the same of it each time."""
    if not full:
        pytest.skip("in the full form")
    store: NastyStore = request.getfixturevalue("store")
    before = store.truth
    ovl1(store.data_root, "adopt", "--name", NAME)
    with plugged(store.data_root, work / "w", name=NAME) as both:
        none_of(truth.compare(before, truth.record(both.daemon)))
    ovl1(store.data_root, "adopt", "--undo", "--name", NAME)
    with store.daemon("overlay") as daemon:
        none_of(truth.compare(before, truth.record(daemon)))


@pytest.mark.parametrize("name", ["v2010-overlay", "v112-overlay"])
def test_a_captured_store_is_adopted(name: str, disk: Path, work: Path, full: bool) -> None:
    """Docker's own driver, the plugin, and Docker's own driver again."""
    if not full:
        pytest.skip("in the full form")
    data_root = extracted(name, disk)
    with daemon_on(data_root, "overlay", work) as daemon:
        daemon.docker("update", "--restart=no", *daemon.docker("ps", "-aq").split())
        before = truth.record(daemon)
    assert (len(before["images"]), len(before["containers"]), unsaveable(before)) == EXPECTED[name]
    ovl1(data_root, "adopt", "--name", NAME)
    seen = Path("/var/lib/docker")
    with plugged(data_root, work / "w", name=NAME, seen_as=seen) as both:
        none_of(truth.compare(before, truth.record(both.daemon)))
    ovl1(data_root, "adopt", "--undo", "--name", NAME)
    with daemon_on(data_root, "overlay", work) as daemon:
        none_of(truth.compare(before, truth.record(daemon)))


def test_a_captured_store_is_as_before(disk: Path) -> None:
    """But for the inodes of the containers' configurations, which are new files."""
    data_root = extracted("v2010-overlay", disk)
    before = manifest(data_root)
    ovl1(data_root, "adopt")
    assert "a plugin's, overlay" in ovl1(data_root, "info", "--no-probe")
    ovl1(data_root, "adopt", "--undo")
    lines = differences(before, manifest(data_root))
    none_of([line for line in lines if "config.v2.json: inode " not in line])
