"""The same removals by ``docker rmi`` and by ovl1, on copies of one store, leave the same store."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import pytest

from ovl1.images.verify import verify_layer
from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2, Layout
from ovl1.store.store import Store
from tests.docker import nasty
from tests.docker.daemon import Daemon, DockerError
from tests.docker.nasty_layers import AFTER, BEFORE, Image, image_archive
from tests.docker.ovl1 import REFUSED, ovl1
from tests.support.capabilities import probe

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

DIGEST = "@sha256:" + "d" * 64
STEPS = f"""\
FROM {nasty.BASE}
RUN mkdir /d && echo 1 > /d/f
LABEL empty=yes
RUN echo 2 > /d/g && ln /d/f /d/f2
"""
SHARED = (Image(("lower:1",), (BEFORE,)), Image(("upper:1", "upper:2"), (BEFORE, AFTER)))

# What to remove, in this order; an id is given by the name of its image, with an equals sign.
REMOVALS: list[tuple[str, ...]] = [
    ("nothing:1",),
    ("upper:1",),
    ("upper:1",),
    ("docker.io/library/upper:2",),
    ("=several:1",),
    ("several:1", "registry.example:5000/team/several"),
    ("--force", "=many:1"),
    (nasty.BASE,),
    ("=step",),
    ("--force", "=step"),
    ("built:1",),
    ("used:1",),
    ("=used:1",),
    ("--force", "used:1"),
    ("--no-prune", "kept-steps:1"),
    ("=with-digest:1",),
    (f"with-two{DIGEST}",),
    ("with-two:1",),
    (f"with-two{DIGEST}",),
    (f"other{DIGEST}",),
    ("committed:1", "lower:1"),
    ("by-buildkit:1",),
]
# When their turn comes.
NOT_THERE = [("nothing:1",), ("upper:1",), (f"with-two{DIGEST}",)]
if not probe("buildkit").available:
    NOT_THERE.append(("by-buildkit:1",))
WRONG = 2


class Copies(NamedTuple):
    """Two copies of one store: one for a daemon, the other for ovl1."""

    work: Path
    driver: str
    disk: Path
    ids: dict[str, str]

    def layout(self, who: str) -> Layout:
        return Layout((self.disk / who).resolve(), self.driver)

    def daemon(self, who: str) -> Daemon:
        return Daemon(self.disk / who, self.driver, self.work / who)

    def arguments(self, removal: tuple[str, ...]) -> list[str]:
        return [self.ids[text[1:]] if text[0] == "=" else text for text in removal]


@pytest.fixture(params=[OVERLAY, OVERLAY2])
def copies(request: pytest.FixtureRequest, full: bool) -> Iterator[Copies]:
    if request.param != OVERLAY and not full:
        pytest.skip("the other driver in the full form")
    with tempfile.TemporaryDirectory(prefix="d-") as name, loop_file_system(
        "ext4", Path(name)
    ) as disk:
        made = Copies(Path(name), request.param, disk, {})
        with made.daemon("docker") as daemon:
            fill(daemon)
            for tag in daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split():
                if "<none>" not in tag:
                    made.ids[tag] = daemon.docker("inspect", "-f", "{{.Id}}", tag)
            step = daemon.docker("inspect", "-f", "{{.Parent}}", "kept-steps:1")
            made.ids["step"] = step
        add_digests(made)
        subprocess.run(["cp", "-a", str(disk / "docker"), str(disk / "ovl1")], check=True)
        yield made


def fill(daemon: Daemon) -> None:
    daemon.docker("import", "-", nasty.BASE, stdin=nasty.base())
    for image in SHARED:
        daemon.docker("load", stdin=image_archive(image, nasty.base()))
    daemon.build("built:1", STEPS)
    for name in ("several", "many", "used", "kept-steps", "with-digest", "with-two"):
        daemon.build(f"{name}:1", f"{STEPS}RUN echo {name} > /name\nENV NAME={name}\n")
    daemon.docker("tag", "several:1", "several:2")
    daemon.docker("tag", "several:1", "registry.example:5000/team/several:latest")
    daemon.docker("tag", "many:1", "elsewhere/many:2")
    for name, tag in (("user", "used:1"), ("changer", "lower:1"), ("stays", "several:1")):
        run = ("run", "--network=none", "--name", name, tag)
        daemon.docker(*run, "sh", "-c", "echo x > /x; rm -rf /gone")
    daemon.docker("commit", "changer", "committed:1")
    daemon.docker("rm", "changer")
    if probe("buildkit").available:
        daemon.build("by-buildkit:1", f"{STEPS}RUN echo 3 > /d/h\n", buildkit=True)


def add_digests(copies: Copies) -> None:
    """As a pull leaves them; there is no registry here."""
    path = copies.layout("docker").repositories
    known = json.loads(path.read_text())
    for name in ("with-digest", "with-two"):
        known["Repositories"][name][f"{name}{DIGEST}"] = copies.ids[f"{name}:1"]
    known["Repositories"]["other"] = {f"other{DIGEST}": copies.ids["with-two:1"]}
    path.write_text(json.dumps(known))


def paths(layout: Layout) -> set[str]:
    """Every file of the metadata, and the directories and links of the driver."""
    found = {os.fspath(path.relative_to(layout.data_root)) for path in layout.image.rglob("*")}
    found |= {f"{layout.driver}/{name}" for name in os.listdir(layout.home)}
    if layout.driver == OVERLAY2:
        found |= {f"l/{name}" for name in os.listdir(layout.links)}
    return {name for name in found if "/layerdb/tmp" not in name}


def state(layout: Layout) -> tuple[set[str], Any]:
    return paths(layout), json.loads(layout.repositories.read_text())


def free_inodes(disk: Path) -> int:
    os.sync()
    return os.statvfs(disk).f_ffree


def by_docker(copies: Copies) -> list[tuple[bool, tuple[set[str], Any]]]:
    """Whether each removal was done, and what the store was then."""
    outcomes = []
    with copies.daemon("docker") as daemon:
        for removal in REMOVALS:
            try:
                daemon.docker("rmi", *copies.arguments(removal))
            except DockerError:
                outcomes.append((False, state(copies.layout("docker"))))
            else:
                outcomes.append((True, state(copies.layout("docker"))))
    return outcomes


def by_ovl1(copies: Copies, removal: tuple[str, ...], *, is_done: bool) -> None:
    """Remove the same; what it says came free is what came free."""
    layout = copies.layout("ovl1")
    before = free_inodes(copies.disk)
    arguments = ["--driver", copies.driver, "image", "rm", *copies.arguments(removal)]
    if not is_done:
        code = WRONG if removal in NOT_THERE else REFUSED
        ovl1(layout.data_root, *arguments, expect=code)
        assert free_inodes(copies.disk) == before
        return
    said = json.loads(ovl1(layout.data_root, *arguments, "--json"))
    assert said["inodes"] == free_inodes(copies.disk) - before, removal


def test_the_same_is_left(copies: Copies) -> None:
    outcomes = by_docker(copies)
    assert {is_done for is_done, _ in outcomes} == {True, False}
    for removal, (is_done, expected) in zip(REMOVALS, outcomes):
        by_ovl1(copies, removal, is_done=is_done)
        found = state(copies.layout("ovl1"))
        assert found[1] == expected[1], removal
        assert found[0] ^ expected[0] == set(), removal
    store = Store.of(copies.layout("ovl1"))
    assert store.errors == []
    assert all(verify_layer(store, record).ok for record in store.layers.values())
    assert shown(copies, "ovl1") == shown(copies, "docker")


def shown(copies: Copies, who: str) -> dict[str, str]:
    """What a daemon says of the store, and what its images and containers do."""
    with copies.daemon(who) as daemon:
        columns = "{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}} {{.CreatedAt}} {{.Size}}"
        images = daemon.docker("images", "-a", "--no-trunc", "--format", columns)
        # Of the same second, they come in any order.
        said = {"images": "\n".join(sorted(images.splitlines()))}
        for image in sorted(set(daemon.docker("images", "-q", "--no-trunc").split())):
            run = ("run", "--rm", "--network=none", image, "sh", "-c", "ls -l /d; cat /name")
            said[image] = daemon.docker(*run, check=False)
            said[f"save {image}"] = str(len(daemon.docker("save", image)))
        for container in ("user", "stays"):
            said[container] = daemon.docker("start", "-a", container)
        assert len(said) > 5
        return said
