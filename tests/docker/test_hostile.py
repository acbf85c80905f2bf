"""The catalogue of odd and hostile layers, given to a real daemon.

Every tree that it makes is compared with what the catalogue says, which is what we make of the same
tar. Where it is another one, or one of us refuses the layer, `tests.support.hostile_docker` says
so, and why; all of that is held. overlay2's layers are looked at through a mount. Limits: what
Docker chokes on is not given to it, what both refuse is refused by one of its drivers only, and
without ``--full`` it is asked for only a part of what it deals with as we do.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

import pytest

from ovl1.layer.apply import apply_to_root
from ovl1.linux import mounts
from ovl1.linux.beneath import Directory
from ovl1.linux.loopback import loop_file_system
from ovl1.model import DiffId, Mount
from ovl1.store.imagedb import chain_ids
from tests.docker.daemon import Daemon, DockerError
from tests.support.archives import config_of, digest, packed
from tests.support.hostile import CASES
from tests.support.hostile_case import (
    IMPLIED,
    NOW,
    Refused,
    Shows,
    Tree,
    differences,
    expected,
    tree,
    ungrouped,
    without_inodes,
)
from tests.support.hostile_docker import (
    ACCEPTS,
    DIFFERS,
    NOT_ASKED,
    REFUSES,
    SAME,
    Docker,
    of,
    patterns,
)
from tests.support.hostile_tar import END
from tests.support.hostile_view import mounted

pytestmark = [
    pytest.mark.needs("root", "dockerd", "docker", "loop", "mkfs.ext4"),
    pytest.mark.timeout(300),
]

GZIP = b"\x1f\x8b"
IMPLIED_MODE = {"overlay": 0o600, "overlay2": 0o755}
"""Of directories that no header lists."""
UNPACKING = {"overlay": "ApplyLayer", "overlay2": "Error processing tar file"}
"""What an error begins with that comes from a layer's content."""


class Loaded(NamedTuple):
    """The trees that Docker has made of a case: with its layer, and without."""

    top: Tree
    below: Tree


Made = Union[Loaded, str]
"""What Docker made of a case, or what it said when it refused."""


def ours(name: str, driver: str) -> Union[Refused, Shows]:
    """What we do with a case in such a store."""
    case = CASES[name]
    return (case.diff if driver == "overlay2" else None) or case.expected


def is_accepted(name: str, driver: str) -> bool:
    """Whether Docker is known to take the layer."""
    verdict = of(name, driver).verdict
    shows = isinstance(ours(name, driver), Shows)
    return verdict in (ACCEPTS, DIFFERS) or (verdict == SAME and shows)


def asked(driver: str) -> List[str]:
    """The cases that are worth a question."""
    return [
        name
        for name in CASES
        if of(name, driver).verdict != NOT_ASKED
        and (
            driver == "overlay"
            or is_accepted(name, driver)
            or of(name, driver) != of(name, "overlay")
        )
    ]


def in_short(names: Sequence[str], driver: str) -> List[str]:
    """Of what Docker deals with as we do every fourth, and all of the rest."""
    same = [name for name in names if of(name, driver).verdict == SAME]
    left_out = set(same) - set(same[::4])
    return [name for name in names if name not in left_out]


def layers(name: str, driver: str) -> List[bytes]:
    """The tars of a case, lowest first."""
    case = CASES[name]
    # What Docker has already is not read again: below what it is to refuse lies something new.
    below = case.parent or (() if is_accepted(name, driver) else (END,))
    # And it changes lower layers: each case gets its own, by other bytes behind the end.
    return [*(layer + name.encode() for layer in below), case.made()]


def uncompressed(layer: bytes) -> bytes:
    """What gzip makes of it, as far as it goes; anything else as it is."""
    if not layer.startswith(GZIP):
        return layer
    out, rest = b"", layer
    while rest.startswith(GZIP):
        # Headers of ten bytes; checksums of eight, which nobody looks at.
        inner = zlib.decompressobj(-zlib.MAX_WBITS)
        with contextlib.suppress(zlib.error):
            out += inner.decompress(rest[10:])
        rest = inner.unused_data[8:]
    return out


def archive(names: Sequence[str], driver: str) -> bytes:
    """What ``docker load`` reads to get an image of each case."""
    files: Dict[str, bytes] = {}
    manifest: List[Dict[str, Any]] = []
    for name in names:
        tars = layers(name, driver)
        config = config_of([uncompressed(layer) for layer in tars])
        files[f"{digest(config)}.json"] = config
        files.update({f"{digest(layer)}.tar": layer for layer in tars})
        paths = [f"{digest(layer)}.tar" for layer in tars]
        manifest.append({"Config": f"{digest(config)}.json", "RepoTags": [], "Layers": paths})
    return packed({**files, "manifest.json": json.dumps(manifest).encode()})


class Store:
    """A running daemon's, with some cases of the catalogue in it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.driver = str(daemon.driver)

    def ask(self, names: Sequence[str]) -> Dict[str, Made]:
        """Load one archive of all cases that will be accepted, and each of the rest alone."""
        alone = [name for name in names if not is_accepted(name, self.driver)]
        if self._refused([name for name in names if name not in alone]):
            alone = list(names)
        with ThreadPoolExecutor(4) as pool:
            said = dict(zip(alone, pool.map(lambda name: self._refused([name]), alone)))
        return {name: said.get(name) or self._loaded(name) for name in names}

    def _refused(self, names: Sequence[str]) -> str:
        """Load the cases; what Docker says if it refuses."""
        try:
            self.daemon.docker("load", stdin=archive(names, self.driver))
        except DockerError as err:
            # Anything else would be our fault.
            if UNPACKING[self.driver] not in err.stderr:
                raise
            return err.stderr
        return ""

    def _loaded(self, name: str) -> Loaded:
        diff_ids = tuple(DiffId(digest(uncompressed(layer))) for layer in layers(name, self.driver))
        places = [self._layer(chain) for chain in chain_ids(diff_ids)]
        # What we refuse may be what no mount can show.
        shows = isinstance(ours(name, self.driver), Shows)
        return Loaded(
            self._shown(places) if shows else {},
            self._shown(places[:-1]) if places[1:] else {},
        )

    def _layer(self, chain: str) -> Path:
        """The directory of a layer's tree, or with overlay2, of its changes."""
        image = self.daemon.data_root / "image" / self.driver
        cache_id = (image / "layerdb" / chain.replace(":", "/") / "cache-id").read_text()
        part = "root" if self.driver == "overlay" else "diff"
        return self.daemon.data_root / self.driver / cache_id / part

    def _shown(self, places: Sequence[Path]) -> Tree:
        if self.driver == "overlay":
            return tree(places[-1])
        return mounted(places[::-1], self.daemon.data_root.parent)


Answers = Tuple[str, Dict[str, Made]]


@pytest.fixture(scope="module", params=IMPLIED_MODE)
def answers(request: pytest.FixtureRequest, full: bool) -> Iterator[Answers]:
    """A driver, and what Docker makes of each case with it."""
    if request.param != "overlay" and not full:
        pytest.skip("the other driver in the full form")
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="d-")))
        # In memory, because Docker waits for the disk several times for each layer.
        stack.enter_context(mounts.mounted(Mount("tmpfs", "tmpfs"), work))
        disk = stack.enter_context(loop_file_system("ext4", work))
        daemon = stack.enter_context(Daemon(disk / "docker", request.param, work / "daemon"))
        names = asked(request.param)
        yield request.param, Store(daemon).ask(names if full else in_short(names, request.param))


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Dict[bytes, Tree]:
    """Our trees of the layers that lie below some cases."""
    made = {}
    for number, layer in enumerate({layer for case in CASES.values() for layer in case.parent}):
        place = tmp_path_factory.mktemp(str(number)) / "root"
        place.mkdir(mode=0o755)
        with Directory.open(place) as directory:
            apply_to_root(io.BytesIO(layer), None, directory)
        made[layer] = without_inodes(tree(place))
        made[layer][b""] = made[layer][b""]._replace(mtime_ns=NOW)
    return made


def as_docker(wanted: Tree, shows: Shows, driver: str) -> Tree:
    """The tree, with the mode that Docker gives to directories that no header lists."""
    return {
        path: node._replace(mode=IMPLIED_MODE[driver])
        if shows.changes.get(path) == IMPLIED
        else node
        for path, node in wanted.items()
    }


def found_out(name: str, driver: str, made: Made, below: Tree) -> Docker:
    """How Docker has dealt with a case, in the words of the table."""
    should = ours(name, driver)
    if isinstance(made, str):
        return Docker(SAME if isinstance(should, Refused) else REFUSES)
    changed = frozenset(differences(below, made.below)) if made.below else frozenset()
    if isinstance(should, Refused):
        return Docker(ACCEPTS, below=changed)
    found = without_inodes(made.top)
    wanted = as_docker(expected(below, should), should, driver)
    if driver == "overlay2":
        wanted = ungrouped(wanted, found)
    differ = frozenset(differences(wanted, found))
    return Docker(DIFFERS if differ else SAME, differ=differ, below=changed)


def test_docker_does_with_each_case_what_is_said(
    answers: Answers, harmless: Dict[bytes, Tree]
) -> None:
    driver, made = answers
    empty = {b"": IMPLIED}
    wrong = {}
    for name, made_of_it in made.items():
        parent = CASES[name].parent
        found = found_out(name, driver, made_of_it, harmless[parent[-1]] if parent else empty)
        said = of(name, driver)
        if found != said._replace(cases=(), reason=""):
            wrong[name] = (said, found, made_of_it if isinstance(made_of_it, str) else "")
    assert wrong == {}


def test_every_line_of_the_table_is_about_a_case() -> None:
    assert [pattern for pattern, count in patterns().items() if not count] == []
