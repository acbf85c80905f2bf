"""Images of more layers than Docker takes, squashed by a migration, are used by a real daemon."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import List

import pytest

from ovl1.migrate.squash import cut
from ovl1.store.layout import OVERLAY, OVERLAY2
from tests.docker.daemon import Daemon
from tests.docker.ovl1 import REFUSED
from tests.support.child import command, in_child
from tests.support.deep_stores import deep_store

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4", "busybox"),
    pytest.mark.timeout(300),
]

FEW_LAYERS = 4
"""The limit in the quick form."""
RUN = ("run", "--rm", "--network=none")


def said(layers: int, counter: str = "") -> str:
    shown = ["again", "kept", "noted", "null", "pipe", str(layers - 1)]
    return "\n".join([counter or str(layers - 1), "/data:", *sorted(shown), "", "/opt:", "new"])


def saved(daemon: Daemon, image: str) -> bytes:
    with daemon.streaming("save", image) as stream:
        return stream.read()


def layers_in(archive: bytes) -> List[str]:
    """The digests of the tars of layers, lowest first."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        content = {member.name: tar.extractfile(member) for member in tar if member.isreg()}
        files = {name: file.read() for name, file in content.items() if file is not None}
    (image,) = json.loads(files["manifest.json"])
    config = json.loads(files[image["Config"]])
    found = ["sha256:" + hashlib.sha256(files[name]).hexdigest() for name in image["Layers"]]
    assert found == config["rootfs"]["diff_ids"]
    return found


def migrate(root: Path, *arguments: str, expect: int = 0) -> None:
    """In a child, which has our limit."""
    ended = in_child(command(root, "migrate", *arguments))
    assert ended.code == expect, ended


def test_a_daemon_uses_them(
    disk: Path, work: Path, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the full form they are as deep as must be, and overlay2 could mount no container then."""
    most = cut.MOST_LAYERS if full else FEW_LAYERS
    monkeypatch.setattr(cut, "MOST_LAYERS", most)
    layers = most + 3
    store = deep_store(disk / "docker", layers, busybox=True)
    root = store.layout.data_root
    if full:
        migrate(root, "run", expect=REFUSED)
    migrate(root, "run", "--squash")
    with Daemon(root, OVERLAY2, work / "new") as daemon:
        listed = daemon.docker(
            "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
        )
        images = dict(line.split() for line in listed.split("\n"))
        assert set(images) == set(store.images)
        assert images["shallow:1"] == store.images["shallow:1"]
        assert daemon.docker("inspect", "--format", "{{.Image}}", "one") == images["deep:1"]
        assert daemon.docker("start", "-a", "one") == said(layers, "changed")
        assert "A /mine" in daemon.docker("diff", "one").split("\n")
        assert len(daemon.docker("history", "-q", "deep:1").split("\n")) == layers + 1
        archive = saved(daemon, "deeper:1")
        assert len(layers_in(archive)) == most
        daemon.docker("rmi", "deeper:1")
        (work / "saved.tar").write_bytes(archive)
        daemon.docker("load", "-i", str(work / "saved.tar"))
        assert daemon.docker("images", "-q", "--no-trunc", "deeper:1") == images["deeper:1"]
        assert daemon.docker(*RUN, "deeper:1") == said(layers + 2)
    if full:
        migrate(root, "rollback", "--discard-new")
        with Daemon(root, OVERLAY, work / "old") as daemon:
            assert daemon.docker("start", "-a", "one") == said(layers, "changed")
            there = daemon.docker("images", "-q", "--no-trunc", "deeper:1")
            assert there == store.images["deeper:1"]
            assert daemon.docker(*RUN, "deeper:1") == said(layers + 2)
