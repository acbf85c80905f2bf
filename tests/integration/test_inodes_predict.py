"""What a store would take in other layouts, against stores of these layouts."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple

import pytest

from ovl1.cli.inodes.what_if_values import PREDICT
from ovl1.inodes.free import count, going
from ovl1.inodes.predict import predict
from ovl1.linux.loopback import loop_file_system
from ovl1.store.layout import OVERLAY, OVERLAY2
from ovl1.store.writer import create_store
from tests.docker.nasty_layers import HAND_MADE, Entry, directory, image_archive, layer_tar
from tests.support.child import as_nobody, in_child, running
from tests.support.image_cli import Ovl1
from tests.support.used import plainly_counted

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

BASE = layer_tar((directory("."), directory("./etc"), Entry("./etc/passwd", content=b"root")))

IMAGES = [image for image in HAND_MADE if image.tags[0] not in ("nasty/deep:1", "nasty/odd:1")]


class Stores(NamedTuple):
    """The same images in both layouts, which ovl1 has loaded."""

    overlay: Ovl1
    overlay2: Ovl1


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    scratch = tmp_path_factory.mktemp("predict")
    paths: List[Path] = []
    for number, image in enumerate(IMAGES):
        paths.append(scratch / f"{number}.tar")
        paths[-1].write_bytes(image_archive(image, BASE))
    with loop_file_system("ext4", scratch, 512 << 20) as disk:
        made = Stores(
            *(Ovl1(disk.resolve() / name, name, scratch / "run") for name in (OVERLAY, OVERLAY2))
        )
        for store in made:
            create_store(store.layout)
            for path in paths:
                store("image", "load", str(path))
        yield made


def test_each_layout_is_what_loading_makes(stores: Stores) -> None:
    homes = [plainly_counted(store.layout.home) for store in stores]
    told = [store.json("inodes", "predict") for store in stores]
    assert [prediction["home"] for prediction in told] == homes
    for prediction in told:
        assert prediction["layouts"]["overlay"]["home"] == homes[0]
    assert told[1]["layouts"]["overlay2"]["home"] == homes[1]
    for layout in ("docker-overlay", "vfs", "ideal"):
        assert told[0]["layouts"][layout] == {
            **told[1]["layouts"][layout],
            "data_root": told[1]["layouts"][layout]["home"] + told[0]["rest"],
        }
    assert told[0]["images"] == told[1]["images"]


def test_the_whole_data_root(stores: Stores) -> None:
    told = stores.overlay.json("inodes", "predict", "--layout", "overlay")
    assert told["layouts"].keys() == {"overlay"}
    assert told["layouts"]["overlay"]["data_root"] == plainly_counted(stores.overlay.data_root)


def test_an_images_factor(stores: Stores) -> None:
    told = stores.overlay.json("inodes", "predict", "--layout", "vfs")
    for image in told["images"]:
        expected = image["inodes"]["docker-overlay"] / image["inodes"]["overlay2"]
        assert image["factor"] == pytest.approx(expected)
    (odd,) = (image for image in told["images"] if image["tags"] == ["nasty/odd:on-top"])
    assert odd["layers"] == 4


def test_a_table(stores: Stores) -> None:
    told = stores.overlay.json("inodes", "predict")
    head, *rows = stores.overlay("inodes", "predict").out.splitlines()
    assert head.split()[:4] == ["LAYOUT", "DRIVER'S", "HOME", "DATA-ROOT"]
    figures = {row.split()[0]: row.split()[1:3] for row in rows[:6]}
    assert figures.pop("present") == [str(told["home"]), str(told["home"] + told["rest"])]
    assert figures == {
        layout: [str(total["home"]), str(total["data_root"])]
        for layout, total in told["layouts"].items()
    }
    assert rows[7].startswith("Inodes of images")
    assert len(rows) == 9 + len(told["images"])


def test_the_help_has_every_key(stores: Stores) -> None:
    told = stores.overlay.json("inodes", "predict")
    assert {key for keys in PREDICT for key in keys.split(", ")} == told.keys()
    assert all(f"{keys}: " in stores.overlay("inodes", "predict", "--help").out for keys in PREDICT)


def test_nothing_is_changed(stores: Stores) -> None:
    before = stores.overlay.manifest()
    stores.overlay("inodes", "predict")
    assert stores.overlay.manifest() == before


def test_without_the_right_to_read(stores: Stores) -> None:
    ended = in_child(as_nobody(stores.overlay.action("inodes", "predict")))
    assert ended.code == 5
    assert "root" in ended.err


def test_a_layer_without_its_record(stores: Stores) -> None:
    """Migrating does without it; all else is said to be unknown."""
    ovl1 = stores.overlay
    store = ovl1.store()
    record = store.chain(store.image("nasty/odd:on-top"))[0].tar_split
    assert record is not None
    aside = record.with_name("aside")
    record.rename(aside)
    try:
        layouts = ovl1.json("inodes", "predict")["layouts"]
        out = ovl1("inodes", "predict").out
    finally:
        aside.rename(record)
    assert "no record of its tar" in layouts["vfs"]["unknown"]
    assert layouts["vfs"]["home"] is None
    assert "cannot be told: " in out


def test_a_store_that_is_being_changed(stores: Stores) -> None:
    """It is said, and stops nothing."""
    store = stores.overlay.store()
    image = store.image("nasty/no-skeleton:1")
    place = store.trees[store.chain(image)[0].cache_id].paths(store.layout)[0] / "busy"
    what = going(store, [image.image_id], [])
    place.mkdir()
    with running(lambda: change(place)):
        assert soon(lambda: count(store, what).moving)
        assert soon(lambda: predict(store, ["vfs"]).moving)
    shutil.rmtree(place)
    assert not count(store, what).moving


def change(place: Path) -> int:
    """Directories with files come and go, until this is killed."""
    while True:
        for number in range(20):
            (place / f"{number}").mkdir()
            (place / f"{number}" / "file").touch()
        for path in place.iterdir():
            shutil.rmtree(path)


def soon(is_so: Callable[[], bool]) -> bool:
    """Whether it is, at one of many looks."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if is_so():
            return True
    return False
