"""``docker`` on a daemon whose storage driver is ovl1: every command, and nothing is left of it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

from ovl1.linux import mounts
from ovl1.linux.loopback import loop_file_system
from tests.docker import nasty
from tests.docker.daemon import Daemon, DockerError
from tests.docker.nasty_layers import Entry, layer_tar, layers_archive
from tests.docker.plugged import Plugged, await_running, plugged, restart
from tests.support.capabilities import probe
from tests.support.used import plainly_counted

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]
pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")

BASE, KEEPER = "base:1", "keeper"
SHELL = ("sh", "-c")
FOREVER = ("sh", "-c", "while :; do sleep 1; done")
CHANGE = "echo new >/new; rm /etc/passwd; mkdir /dir; echo 1 >/dir/file; chmod 0700 /tmp"
CHANGED = ["A /dir", "A /dir/file", "A /new", "C /etc", "C /tmp", "D /etc/passwd"]
STEPS = f"""\
FROM {BASE}
ENV A=1
RUN mkdir /d && echo 1 >/d/one && echo 2 >/d/two
RUN rm /d/one && echo 3 >/d/three && mknod /null c 1 3
RUN rm -r /d && mkdir /d && echo 4 >/d/four
CMD ["ls", "/d"]
"""


class Used(NamedTuple):
    """What there is of the store."""

    layers: frozenset[str]
    records: int
    mounts: int
    in_home: int
    """Inodes of the driver's home."""
    inodes: int
    """Of the whole file system."""


class Host(NamedTuple):
    """A file system, and a daemon with the plugin that has it for itself."""

    disk: Path
    plugged: Plugged

    @property
    def daemon(self) -> Daemon:
        return self.plugged.daemon

    def run(self, *command: str, options: tuple[str, ...] = ()) -> str:
        return self.daemon.docker("run", "--network=none", *options, *command)

    def tidy(self) -> None:
        """Remove all but the base image, and the container that keeps it, as a user would."""
        docker = self.daemon.docker
        containers = set(docker("ps", "-a", "--format", "{{.Names}}").split()) - {KEEPER}
        if containers:
            docker("rm", "-f", *containers)
        docker("image", "prune", "-af")
        docker("builder", "prune", "-af")

    def used(self) -> Used:
        home = self.plugged.home
        names = set(os.listdir(home))
        deadline = time.monotonic() + 10
        while any(name.endswith("-removing") for name in names):
            assert time.monotonic() < deadline
            time.sleep(0.01)
            names = set(os.listdir(home))
        system = os.statvfs(self.disk)
        records = self.daemon.data_root.joinpath("image", self.plugged.name, "layerdb/sha256")
        return Used(
            layers=frozenset(names - {"l"}),
            records=len(os.listdir(records)),
            mounts=len(mounts.mounted_below(home)),
            in_home=plainly_counted(home),
            inodes=system.f_files - system.f_ffree,
        )


@contextlib.contextmanager
def hosted(*options: str) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="d-") as name, loop_file_system(
        "ext4", Path(name)
    ) as disk, plugged(disk / "docker", Path(name), *options) as both:
        host = Host(disk, both)
        both.daemon.docker("import", "-", BASE, stdin=nasty.base())
        both.daemon.docker("create", "--network=none", "--name", KEEPER, BASE, "sh")
        # What a daemon makes once is made before anything is counted.
        both.daemon.build("warm:1", f"FROM {BASE}\nRUN echo 1 >/warm\n")
        if probe("buildkit").available:
            both.daemon.build("warm:2", f"FROM {BASE}\nRUN echo 2 >/warm\n", buildkit=True)
        host.run(BASE, "sh", "-c", ":")
        host.tidy()
        yield host


@pytest.fixture(scope="module")
def served() -> Iterator[Host]:
    with hosted() as host:
        yield host


@pytest.fixture
def host(served: Host) -> Iterator[Host]:
    """Before and after each test there is one image and one container, to the inode."""
    before = served.used()
    assert (len(before.layers), before.records, before.mounts) == (3, 1, 0)
    yield served
    served.tidy()
    assert served.used() == before


def test_info(host: Host) -> None:
    shown = json.loads(host.daemon.docker("info", "-f", "{{json .}}"))
    assert shown["Driver"] == host.plugged.name
    assert shown["DriverStatus"] == [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]]


def test_a_container_is_run_looked_into_and_committed(host: Host) -> None:
    docker = host.daemon.docker
    host.run(BASE, *FOREVER, options=("-d", "--name", "one"))
    assert docker("exec", "one", *SHELL, CHANGE) == ""
    assert sorted(docker("diff", "one").split("\n")) == CHANGED
    docker("exec", "one", "sh", "-c", "echo more >>/new")
    assert docker("inspect", "-s", "-f", "{{.SizeRw}} {{.Driver}}", "one") == (
        f"11 {host.plugged.name}"
    )
    assert "merged" in docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", "one")
    source = docker("cp", "one:/new", "-")
    assert "new\nmore" in source
    docker("cp", "-", "one:/dir", stdin=layer_tar([Entry("copied", content=b"copied")]))
    assert docker("exec", "one", "cat", "/dir/copied") == "copied"
    docker("commit", "one", "committed:1")
    docker("restart", "-t", "0", "one")
    assert docker("exec", "one", "cat", "/new") == "new\nmore"
    docker("kill", "one")
    with host.daemon.streaming("export", "one") as stream:
        exported = io.BytesIO(stream.read())
    with tarfile.open(fileobj=exported) as tar:
        names = set(tar.getnames())
    assert {"dir/copied", "new", "bin/busybox"} < names
    assert "etc/passwd" not in names
    look = "cat /new /dir/file /dir/copied; ls /etc/passwd 2>/dev/null; busybox stat -c %a /tmp"
    assert host.run("committed:1", *SHELL, look, options=("--rm",)) == "new\nmore\n1\ncopied700"
    assert docker("history", "-q", "--no-trunc", "committed:1").startswith("sha256:")


def layers_of(archive: bytes) -> set[str]:
    """Digests of the layers in what ``docker save`` wrote."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as saved:
        files = [saved.extractfile(member) for member in saved if member.name.endswith("layer.tar")]
        return {hashlib.sha256(file.read()).hexdigest() for file in files if file}


def test_images_come_and_go(host: Host) -> None:
    layers = [
        nasty.base(),
        layer_tar([Entry("file", content=b"1"), Entry("gone", content=b"2")]),
        layer_tar([Entry(".wh.gone"), Entry("big", content=os.urandom(3 << 20))]),
    ]
    docker = host.daemon.docker
    docker("load", stdin=layers_archive(layers, ["loaded:1"]))
    look = "cat /file; ls /gone 2>/dev/null; busybox stat -c %s /big"
    assert host.run("loaded:1", *SHELL, look, options=("--rm",)) == "13145728"
    with host.daemon.streaming("save", "loaded:1") as stream:
        archive = stream.read()
    assert {hashlib.sha256(layer).hexdigest() for layer in layers} == layers_of(archive)
    docker("rmi", "loaded:1")
    docker("load", stdin=archive)
    with host.daemon.streaming("save", "loaded:1") as stream:
        assert hashlib.sha256(stream.read()).digest() == hashlib.sha256(archive).digest()


@pytest.mark.parametrize(
    "buildkit",
    [
        pytest.param(False, id="classic"),
        pytest.param(True, id="buildkit", marks=pytest.mark.needs("buildkit")),
    ],
)
def test_an_image_is_built(host: Host, buildkit: bool) -> None:
    host.daemon.build("built:1", STEPS, buildkit=buildkit)
    assert host.run("built:1", options=("--rm",)) == "four"
    # The cache is used.
    once = host.daemon.build("built:1", STEPS, buildkit=buildkit)
    assert once == host.daemon.build("built:2", STEPS, buildkit=buildkit)
    # On what BuildKit has made, which has no complete tree; and back again.
    host.daemon.build("next:1", "FROM built:1\nRUN rm /d/four && echo 5 >/d/five\n")
    assert host.run("next:1", options=("--rm",)) == "five"
    if probe("buildkit").available:
        more = "FROM next:1\nCOPY --from=built:1 /d/four /d/\nRUN rm /d/five\n"
        host.daemon.build("next:2", more, buildkit=True)
        assert host.run("next:2", options=("--rm",)) == "four"
    with host.daemon.streaming("save", "next:1") as stream:
        archive = stream.read()
    host.daemon.docker("rmi", "next:1")
    host.daemon.docker("load", stdin=archive)
    assert host.run("next:1", options=("--rm",)) == "five"


def test_a_squashed_build_asks_for_a_distant_parent(host: Host, full: bool) -> None:
    if not full:
        pytest.skip("in the full form")
    docker = host.daemon.docker
    options = ("-q", "--squash", "--network=none", "-t", "squashed:1")
    docker("build", *options, "-", stdin=STEPS.encode())
    shown = json.loads(docker("image", "inspect", "-f", "{{json .RootFS.Layers}}", "squashed:1"))
    assert len(shown) == 2
    assert host.run("squashed:1", options=("--rm",)) == "four"


def test_twenty_at_once(host: Host) -> None:
    def work(number: int) -> str:
        said = host.run(
            BASE, *SHELL, f"echo {number} >/x; cat /x", options=("--name", f"c{number}")
        )
        assert "A /x" in host.daemon.docker("diff", f"c{number}")
        host.daemon.docker("rm", f"c{number}")
        return said

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(work, range(20))) == [str(number) for number in range(20)]


def test_options_for_storage_are_refused(host: Host) -> None:
    with pytest.raises(DockerError, match="--storage-opt is not supported"):
        host.run(BASE, "sh", options=("--storage-opt", "size=1G"))


def test_a_disk_that_is_full(host: Host) -> None:
    """The error reaches the user as it is, and what was begun is gone."""
    usage = os.statvfs(host.disk)
    huge = usage.f_bavail * usage.f_frsize
    with tempfile.NamedTemporaryFile(dir=host.disk) as file:
        os.posix_fallocate(file.fileno(), 0, huge - (16 << 20))
        with pytest.raises(DockerError, match="no space left on device"):
            host.daemon.docker(
                *("import", "-"),
                stdin=layer_tar([Entry("big", content=os.urandom(40 << 20))]),
            )


def test_the_daemon_ends_and_comes_back(served: Host) -> None:
    """As it should; and killed, which leaves mounted what it had got."""
    daemon, before = served.daemon, served.used()
    served.run(BASE, *FOREVER, options=("-d", "--name", "always", "--restart=always"))
    daemon.docker("exec", "always", *SHELL, "echo kept >/kept")
    for number in (signal.SIGTERM, signal.SIGKILL):
        restart(daemon, number)
        await_running(daemon, "always")
        assert daemon.docker("exec", "always", "cat", "/kept") == "kept"
        assert len(mounts.mounted_below(served.plugged.home)) == 1
    served.tidy()
    # Each start of a daemon may make or remove a file of its own outside of the home.
    assert served.used()._replace(inodes=0) == before._replace(inodes=0)
