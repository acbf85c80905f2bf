"""``ovl1 serve`` over a real store: streams, clients that go away, calls that make no sense."""

from __future__ import annotations

import json
import os
import random
import tarfile

import pytest

from ovl1.formats.tarstream import as_file
from ovl1.model import IdMaps, IdRange
from ovl1.store.layout import Layout
from tests.support.layers import entry, make_tar
from tests.support.plugin_client import Connection, PluginError, SocketDriver
from tests.support.plugin_place import (
    BIG,
    HALF,
    Place,
    big_tar,
    half_sent,
    is_empty,
    new_id,
    retried,
    soon,
)

pytestmark = [pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")]
pytest.importorskip("cheroot", reason="cheroot is not installed: pip install -e .[plugin]")

MAPS = IdMaps((IdRange(0, 100000, 65536),), (IdRange(0, 200000, 65536),))


def test_a_diff_goes_straight_into_an_apply(place: Place) -> None:
    """As docker commit does it: more than any buffer holds, one's answer the other's request."""
    base = place.layer(None, entry("file"))
    container, copy = place.container(base), new_id()
    content = random.Random(0).getrandbits(8 * BIG).to_bytes(BIG, "little")
    (place.driver.get(container) / "big").write_bytes(content)
    place.driver.put(container)
    place.driver.create(copy, base)

    diff = Connection(place.serve.path)
    body = json.dumps({"ID": container, "Parent": base})
    diff.request("POST", "/GraphDriver.Diff", body=body)
    response = diff.getresponse()
    assert response.getheader("Transfer-Encoding") == "chunked"
    apply = Connection(place.serve.path)
    chunks = iter(lambda: response.read(5000), b"")
    answer = apply.send_raw(f"GraphDriver.ApplyDiff?id={copy}&parent={base}", chunks, chunked=True)
    assert answer.values == {"Size": BIG}
    assert (place.driver.get(copy) / "big").read_bytes() == content
    # Both connections are in step.
    for connection in (diff, apply):
        assert connection.ask("GraphDriver.Status").status == 200
        connection.close()


def test_what_comes_behind_a_tar_is_read(place: Place) -> None:
    tar = make_tar([entry("file")]).read() + bytes(1 << 20)
    connection = Connection(place.serve.path)
    for chunked in (False, True):
        layer_id = new_id()
        place.driver.create(layer_id, None)
        query = f"GraphDriver.ApplyDiff?id={layer_id}&parent="
        body = iter([tar]) if chunked else tar
        assert connection.send_raw(query, body, chunked=chunked).status == 200
        assert os.listdir(place.driver.get(layer_id)) == ["file"]
    connection.close()


def test_a_client_that_drops_a_diff(place: Place) -> None:
    base = place.layer(None, entry("big", data=bytes(BIG)))
    place.ask("Status")
    before = place.open_files()
    for _ in range(5):
        diff = Connection(place.serve.path)
        diff.request("POST", "/GraphDriver.Diff", body=json.dumps({"ID": base}))
        response = diff.getresponse()
        assert response.read(100_000)
        diff.close()
        response.close()
    soon(lambda: place.open_files() <= before)
    place.driver.remove(base)


def test_a_layer_that_goes_away_while_it_is_read(place: Place) -> None:
    """The connection is cut without the last chunk: half a tar must not look like a whole one."""
    base = place.layer(None, entry("big", data=bytes(BIG)))
    chunks = place.driver.diff(base, None)
    next(chunks)
    place.driver.remove(base)
    with pytest.raises(PluginError, match="broke off"):
        list(chunks)
    with pytest.raises(PluginError, match="no layer"):
        place.driver.diff(base, None)


def test_a_client_that_breaks_off_an_apply(place: Place) -> None:
    layer_id = new_id()
    place.driver.create(layer_id, None)
    with half_sent(place, layer_id, big_tar()[:HALF]):
        pass
    soon(lambda: is_empty(place, layer_id))
    for rest in (b"", bytes(1024), make_tar([entry("else")]).read()):
        assert "broke off" in retried(place, layer_id, rest).values["Err"]
    assert is_empty(place, layer_id)
    place.driver.remove(layer_id)
    place.driver.create(layer_id, None)
    assert retried(place, layer_id).values == {"Size": 0}


def test_changes_are_those_that_docker_lists(place: Place) -> None:
    """So that ``docker diff`` says the same on any driver; a commit has them all."""
    base = place.layer(None, entry("seen"), entry("overlooked"))
    container = place.container(base)
    root = place.driver.get(container)
    (root / "seen").chmod(0o700)
    os.setxattr(root / "overlooked", "user.mine", b"value")
    place.driver.put(container)
    asked = {"ID": container, "Parent": base}
    said = place.ask("Changes", **asked).values
    assert said == {"Changes": [{"Path": "/seen", "Kind": 0}]}
    with (root.parent / "upper" / "seen").open() as file:
        assert place.ask("DiffSize", **asked).values == {"Size": len(file.read())}
    tar = as_file(place.driver.diff(container, base))
    with tarfile.open(fileobj=tar, mode="r|") as members:
        assert members.getnames() == ["overlooked", "seen"]


def test_removed_layers_are_deleted_later(place: Place) -> None:
    base = place.layer(None, *(entry(f"dir{n}/", b"5") for n in range(2000)))
    place.ask("Remove", ID=base)
    assert place.ask("Exists", ID=base).values == {"Exists": False}
    place.serve.kill()
    place.serve.start()
    soon(lambda: os.listdir(place.home) == [])
    # Also when it is told to end meanwhile.
    base = place.layer(None, *(entry(f"dir{n}/", b"5") for n in range(2000)))
    place.ask("Remove", ID=base)
    place.serve.stop()
    assert os.listdir(place.home) == []


def test_a_layer_in_use_is_not_removed(place: Place) -> None:
    container = place.container(place.layer(None, entry("file")))
    merged = place.driver.get(container)
    with (merged / "file").open():
        said = place.ask("Remove", ID=container).values["Err"]
        assert f"process {os.getpid()}" in said
        assert "\n" not in said
    place.driver.remove(container)
    assert place.mounted() == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"Home": ""}, "absolute"),
        ({"Home": "ovl1"}, "absolute"),
        ({"Home": "/"}, "absolute"),
        ({"Home": "/tmp/../etc/x"}, "absolute"),
        ({"Home": "/nowhere/at/all"}, "not a directory"),
        ({"Home": "/etc/passwd/x"}, "not a directory"),
        ({"Opts": ["overlay2.size=1G"]}, "overlay2.size=1G"),
        ({"UIDMaps": [{"ContainerID": 0}]}, "container_id"),
    ],
)
def test_an_init_that_makes_no_sense(place: Place, values: object, said: str) -> None:
    assert isinstance(values, dict)
    asked = {"Home": os.fspath(place.home), "Opts": None, "UIDMaps": None, **values}
    assert said in place.ask("Init", **asked).values["Err"]
    # What it was told before still counts.
    assert place.ask("Status").values["Status"]


def test_layouts_are_not_mixed(place: Place) -> None:
    place.layer(None, entry("file"))
    (place.home / "l").mkdir()
    assert "other layout" in place.ask("Init", Home=os.fspath(place.home)).values["Err"]


def test_options_of_containers_are_refused(place: Place) -> None:
    layer_id = new_id()
    said = place.ask("CreateReadWrite", ID=layer_id, StorageOpt={"size": "1G"}).values["Err"]
    assert "--storage-opt is not supported" in said
    assert not place.driver.exists(layer_id)


def test_user_namespaces(place: Place) -> None:
    home = place.data_root / "100000.200000"
    home.mkdir()
    driver = SocketDriver(place.serve.path, Layout(home, "ovl1"))
    driver.init(MAPS)
    base = new_id()
    driver.create(base, None)
    driver.apply_diff(base, None, make_tar([entry("file", uid=5, gid=6)]))
    place.serve.kill()
    place.serve.start()
    container = new_id()
    driver.create_read_write(container, base)
    status = (driver.get(container) / "file").stat()
    assert (status.st_uid, status.st_gid) == (100005, 200006)
    layer = driver.layout.layer(container).stat()
    assert (layer.st_mode & 0o7777, layer.st_uid, layer.st_gid) == (0o710, 0, 200000)
    driver.put(container)
