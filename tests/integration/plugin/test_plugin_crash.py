"""``ovl1 serve`` ends, or is killed, and its daemon does not notice."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import List

import pytest

from ovl1.model import LayerId
from tests.support.layers import entry, make_tar
from tests.support.plugin import Serve
from tests.support.plugin_client import PluginError
from tests.support.plugin_place import (
    BIG,
    HALF,
    Place,
    big_tar,
    half_sent,
    introduced,
    new_id,
    retried,
    soon,
)
from tests.support.power import disk as disk_to_fail

pytestmark = [pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")]
pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")


def test_an_apply_in_progress_is_waited_for(place: Place) -> None:
    """By whoever repeats it, and by a plugin that is told to end."""
    layer_id = new_id()
    place.driver.create(layer_id, None)
    tar = big_tar()
    raw = half_sent(place, layer_id, tar[:HALF])
    place.serve.signal(signal.SIGTERM)
    soon(lambda: not place.serve.answers())
    rest = tar[HALF:]
    raw.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))
    answer = http.client.HTTPResponse(raw)
    answer.begin()
    assert json.loads(answer.read()) == {"Size": BIG}
    raw.close()
    assert place.serve.wait() == 0
    place.serve.start()
    assert sorted(os.listdir(place.driver.get(layer_id))) == ["big", "last"]


def test_killed_in_the_middle_of_an_apply(place: Place) -> None:
    layer_id = new_id()
    place.driver.create(layer_id, None)
    with half_sent(place, layer_id, big_tar()[:HALF]):
        place.serve.kill()
        place.serve.start()
    # Zeros are what may be left of a tar: they must not be taken for the whole of an empty one.
    for rest in (b"", bytes(1024)):
        assert "broke off" in retried(place, layer_id, rest).values["Err"]
    place.driver.remove(layer_id)
    place.driver.cleanup()
    assert os.listdir(place.home) == []


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_goes_on_after_a_restart(place: Place, end: str) -> None:
    """The daemon does not notice: no Init, and what it has got is still there and counted."""
    base = place.layer(None, entry("file"))
    container = place.container(base)
    merged = place.driver.get(container)
    assert place.driver.get(container) == merged
    with (merged / "file").open("w") as file:
        getattr(place.serve, end)()
        file.write("written meanwhile")
    assert place.mounted() == [merged]
    place.serve.start()
    assert (merged / "file").read_text() == "written meanwhile"
    assert place.driver.get(container) == merged
    for left in ([merged], [merged], []):
        place.driver.put(container)
        assert place.mounted() == left


def test_a_daemon_that_was_killed_has_put_nothing(place: Place) -> None:
    base = place.layer(None, entry("file"))
    container = place.container(base)
    for _ in range(3):
        place.driver.get(container)
    place.driver.init()
    # As a daemon does with a container that it finds running.
    place.driver.get(container)
    place.driver.put(container)
    assert len(place.mounted()) == 1
    place.driver.put(container)
    assert place.mounted() == []


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.needs(f"mkfs.{kind}")) for kind in ("ext4", "xfs")],
)
@pytest.mark.parametrize("layout", ["overlay1", "overlay2"])
def test_the_power_fails(layout: str, kind: str, tmp_path: Path, full: bool) -> None:
    """What Docker was told is there is there, whole, without its asking for it."""
    if not full and (layout, kind) in (("overlay1", "xfs"), ("overlay2", "ext4")):
        pytest.skip("in the full form")
    content = os.urandom(100_000)
    with disk_to_fail(kind, tmp_path) as failing, tempfile.TemporaryDirectory() as work:
        options = ["--layout", layout]
        with Serve(Path(work, "x.sock"), Path(work), options) as serve, introduced(
            failing.mount_point, serve
        ) as place:
            base = place.layer(None, entry("dir/", b"5"), entry("dir/file", data=content))
            over = place.layer(base, entry("dir/more", data=content))
            failing.lose_power()
            serve.kill()
            failing.restart()
            serve.start()
            root = place.driver.get(over)
            for name in ("file", "more"):
                assert (root / "dir" / name).read_bytes() == content
            place.driver.put(over)


def test_after_a_daemon_has_ended_nothing_is_remembered(place: Place) -> None:
    place.driver.cleanup()
    assert place.ask("Status").values["Status"]
    place.serve.stop()
    place.serve.start()
    assert "Init" in place.ask("Status").values["Err"]


def worked(place: Place, base: LayerId, made: List[LayerId], seed: int) -> None:
    """What a daemon does all the time, until the plugin is gone."""
    chance = random.Random(seed)
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, PluginError):
        while True:
            container, image = new_id(), new_id()
            made += [container, image]
            place.driver.create_read_write(container, base)
            root = place.driver.get(container)
            (root / "file").write_bytes(chance.getrandbits(800_000).to_bytes(100_000, "little"))
            (root / "more").mkdir()
            tar = b"".join(place.driver.diff(container, base))
            place.driver.create(image, base)
            place.driver.apply_diff(image, base, make_tar([entry("x", data=tar)]))
            place.driver.changes(container, base)
            place.driver.put(container)
            if chance.random() < 0.5:
                place.ask("Remove", ID=container)


def test_killed_again_and_again(place: Place, full: bool) -> None:
    """At any moment, with calls in several threads: each layer is whole or not there."""
    chance = random.Random(1)
    base = place.layer(None, *(entry(f"dir{n}/", b"5") for n in range(100)))
    used = os.statvfs(place.data_root)
    made: List[LayerId] = []
    for round_ in range(100 if full else 3):
        threads = [
            threading.Thread(target=worked, args=(place, base, made, round_ * 10 + number))
            for number in range(3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.05, 0.4))
        place.serve.kill()
        for thread in threads:
            thread.join()
        place.serve.start()
        for layer_id in made:
            if place.driver.exists(layer_id):
                root = place.driver.get(layer_id)
                assert (root / "dir99").is_dir()
                place.driver.put(layer_id)
                place.driver.changes(layer_id, base)
            # A hundred rounds of them have no room on the disk.
            place.driver.remove(layer_id)
        made.clear()
    place.driver.cleanup()
    assert place.mounted() == []
    assert os.listdir(place.home) == [base]
    now = os.statvfs(place.data_root)
    assert now.f_ffree == used.f_ffree
