"""Images taken apart into steps, and the work that child processes do for the benchmark."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import Iterator, List

import pytest

from ovl1.bench import archive, child, disk
from ovl1.bench.child import in_child
from ovl1.bench.disk import Need
from ovl1.bench.steps import Source, last_names, steps
from ovl1.bench.synthetic import Image, Shape
from ovl1.errors import NotPossibleHere, OvlError, WrongUsage
from ovl1.images.blobs import TarBlobs
from ovl1.images.load import read_images
from ovl1.images.ocilayout import Platform


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[List[Source]]:
    """Two images that are the same, but for the second one's third layer."""
    shape = Shape(layers=3, files=5, directories=2, symlinks=1)
    with (tmp_path / "image.tar").open("w+b") as file:
        archive.write_archive(Image(shape), file)
        file.seek(0)
        with TarBlobs(file) as blobs:
            (image,) = read_images(blobs, Platform("linux", "amd64"))
            other = image.layers[:2]
            config = archive.config_of([layer.diff_id for layer in other])
            short = type(image)(config, ("short:1",), other)
            yield [Source("one", blobs, image), Source("two", blobs, short)]


def test_a_step_for_each_layer(sources: List[Source]) -> None:
    found = steps(sources)
    assert [(step.source, step.layers, step.layers_in_store) for step in found] == [
        (0, 1, 1),
        (0, 2, 2),
        (0, 3, 3),
        (1, 1, 3),
        (1, 2, 3),
    ]
    assert [step.replaces for step in found] == [
        "",
        "ovl1-bench/0:1",
        "ovl1-bench/0:2",
        "",
        "ovl1-bench/1:1",
    ]
    assert last_names(found) == ["ovl1-bench/0:3", "ovl1-bench/1:2"]
    assert len({step.image.config for step in found}) == len(found)
    assert found[2].image.config == sources[0].image.config


def test_chosen_layers_and_the_last(sources: List[Source]) -> None:
    assert [step.layers for step in steps(sources, {2, 99})] == [2, 3, 2]


def test_nothing_to_build(sources: List[Source]) -> None:
    empty = type(sources[0].image)(archive.config_of([]), (), ())
    with pytest.raises(WrongUsage, match="nothing to build"):
        steps([sources[0]._replace(image=empty)])


def test_a_stream_is_a_tar() -> None:
    opened: List[io.BytesIO] = []

    def opener() -> io.BytesIO:
        opened.append(io.BytesIO(b"x" * 3000))
        return opened[-1]

    content = b"".join(archive.stream([("a/b", opener), ("empty", io.BytesIO)]))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert [(member.name, member.size) for member in tar] == [("a/b", 3000), ("empty", 0)]
    assert all(file.closed for file in opened)


def nothing(*_: object) -> None:
    """Neither told nor checked."""


def test_a_child_tells_and_answers() -> None:
    told: List[int] = []

    def work(tell: child.Tell) -> int:
        for number in range(3):
            tell(number)
        return os.getpid()

    outcome = in_child(work, told.append, nothing)
    assert told == [0, 1, 2]
    assert outcome.value != os.getpid()


def test_memory_of_a_child_and_of_its_children() -> None:
    def work(more: int) -> child.Outcome:
        return in_child(lambda _: len(b"x" * more), nothing, nothing)

    def deeper(more: int) -> child.Outcome:
        return in_child(lambda _: work(more).value, nothing, nothing)

    large = 100 << 20
    for measured in (work, deeper):
        assert large * 0.9 < measured(large).peak - measured(1).peak < large * 1.5


def test_an_error_of_a_child() -> None:
    def work(_: child.Tell) -> None:
        raise WrongUsage("so it is")

    with pytest.raises(WrongUsage, match="so it is"):
        in_child(work, nothing, nothing)


def test_a_child_that_is_killed() -> None:
    with pytest.raises(OvlError, match="was killed"):
        in_child(lambda _: os.kill(os.getpid(), signal.SIGKILL), nothing, nothing)


def test_a_child_is_gone_when_its_caller_is_stopped() -> None:
    pids: List[int] = []

    def work(tell: child.Tell) -> None:
        tell(os.getpid())
        time.sleep(60)

    def check() -> None:
        if pids:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_child(work, pids.append, check)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_too_little_space_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleHere, match="too little space"), disk.made_for(
        "ext4", Need(1, 1 << 60), tmp_path
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotPossibleHere, match=r"mkfs\.xfs"):
        disk.require(["xfs"])
