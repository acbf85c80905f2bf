"""Manifests in which any value is of any other kind: an image, or a refusal, and nothing else."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import tempfile
from typing import Any, Dict, Iterator, Tuple

from hypothesis import given
from hypothesis import strategies as st

from ovl1.errors import ArchiveError, LayerError
from ovl1.images.blobs import TarBlobs
from ovl1.images.load import read_images
from ovl1.images.ocilayout import Platform
from tests.support import archives
from tests.support.archives import Files

AMD64 = Platform("linux", "amd64")
LAYERS = archives.small_layers()

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["..", "/", "a\0", "\ud800", "sha256:" + "0" * 64, "sha256:..", "a:b", "x" * 300, "0/json"]
    ),
    st.lists(st.sampled_from([None, 1, "a", "..", {}, []]), max_size=3),
    st.dictionaries(st.sampled_from(["os", "digest", "a", "mediaType"]), st.none(), max_size=2),
)


def places(value: Any, at: Tuple[Any, ...] = ()) -> Iterator[Tuple[Any, ...]]:
    """The way to each value of a document."""
    yield at
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list):
        value = enumerate(value)
    else:
        return
    for key, inner in value:
        yield from places(inner, (*at, key))


def replaced(value: Any, at: Tuple[Any, ...], by: Any) -> Any:
    if not at:
        return by
    made = copy.copy(value)
    made[at[0]] = replaced(made[at[0]], at[1:], by)
    return made


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def docker(draw: st.DrawFn) -> Files:
    files = archives.docker_archive(LAYERS)
    name = draw(st.sampled_from(["manifest.json", "config.json"]))
    document = json.loads(files[name])
    at = draw(st.sampled_from(list(places(document))))
    return {**files, name: encoded(replaced(document, at, draw(odd)))}


@st.composite
def old(draw: st.DrawFn) -> Files:
    files = archives.old_archive(LAYERS)
    names = [name for name in files if name.endswith(("json", "repositories"))]
    name = draw(st.sampled_from(names))
    document = json.loads(files[name])
    at = draw(st.sampled_from(list(places(document))))
    return {**files, name: encoded(replaced(document, at, draw(odd)))}


@st.composite
def oci(draw: st.DrawFn) -> Files:
    """Each document is at its digest again after the change."""
    layout = archives.Layout()
    descriptor = {
        **layout.image(LAYERS, **archives.platform("linux/amd64")),
        **archives.called("app:1"),
    }
    index = {**layout.index([descriptor]), **archives.called("app:1")}
    which = draw(st.sampled_from(["index", "nested", "manifest", "config"]))
    files = layout.finished(index if which == "nested" else descriptor)
    if which == "index":
        document = json.loads(files["index.json"])
        at = draw(st.sampled_from(list(places(document))))
        return {**files, "index.json": encoded(replaced(document, at, draw(odd)))}
    digests: Dict[str, str] = {"nested": index["digest"], "manifest": descriptor["digest"]}
    return rehashed(files, digests.get(which, archives.digest(archives.config_of(LAYERS))), draw)


def rehashed(files: Files, digest: str, draw: st.DrawFn) -> Files:
    """One blob changed, and all that name it with it."""
    document = json.loads(files[path(digest)])
    at = draw(st.sampled_from(list(places(document))))
    return renamed(files, digest, encoded(replaced(document, at, draw(odd))))


def renamed(files: Files, digest: str, content: bytes) -> Files:
    made: Files = {name: data for name, data in files.items() if name != path(digest)}
    new = archives.digest(content)
    made[path(new)] = content
    for name, data in list(made.items()):
        if digest.encode() in data and data != content:
            changed = data.replace(digest.encode(), new.encode())
            made[name] = changed
            if name.startswith("blobs/"):
                return renamed({**made, name: data}, archives.digest(data), changed)
    return made


def path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def is_read_or_refused(files: Files) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(archives.packed(files))
        file.seek(0)
        with contextlib.suppress(ArchiveError, LayerError), TarBlobs(file) as blobs:
            for image in read_images(blobs, AMD64):
                assert all(blobs.exists(layer.blob) for layer in image.layers)
                assert hashlib.sha256(image.config).digest()
                assert all(isinstance(name, str) for name in image.names)


@given(docker())
def test_a_docker_archive(files: Files) -> None:
    is_read_or_refused(files)


@given(old())
def test_an_archive_of_before_1_10(files: Files) -> None:
    is_read_or_refused(files)


@given(oci())
def test_an_oci_layout(files: Files) -> None:
    is_read_or_refused(files)
