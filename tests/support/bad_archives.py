"""Archives of images that must be refused, each with what is to be said about it.

`DOCKER` holds damages of what ``docker save`` writes, `OCI` those of an OCI layout.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from typing import Any, Callable, Dict, List, NamedTuple

from tests.support import archives
from tests.support.archive_members import LAYERS, Json, Members, blob, docker, flipped, oci, special
from tests.support.archives import digest
from tests.support.layers import entry, make_tar

BOMB = make_tar([entry("zeros", data=bytes(8 << 20))]).read()
LIMIT = 4 << 20
"""Bytes that are allowed when one of these is loaded; the whole ones are far below it."""

OUTSIDE = "../../../../../../etc/passwd"


class Damage(NamedTuple):
    """What makes the archive, and a pattern for the sentence with which it is refused."""

    make: Callable[[], Members]
    says: str
    code: int = 3


def of(make: Callable[..., Members], **arguments: Any) -> Callable[[], Members]:
    return lambda: make(**arguments)


def sets(**values: Any) -> Callable[[Json], None]:
    return lambda known: known.update(values)


def first_layer(**values: Any) -> Callable[[Json], None]:
    return lambda known: known["layers"][0].update(values)


def named(*names: str) -> Callable[[], Members]:
    return lambda: docker(names=names)


def deep() -> bytes:
    return b'{"a":' * 100_000 + b"1" + b"}" * 100_000


def with_config(**more: Any) -> bytes:
    return archives.config_of(LAYERS, **more)


def diff_ids(values: List[Any]) -> bytes:
    return archives.config_of(LAYERS, rootfs={"type": "layers", "diff_ids": values})


def nested() -> Members:
    """An index of few bytes which unfolds into 200 ** 4 images."""
    layout = archives.Layout()
    listed = layout.image(())
    for _ in range(3):
        listed = layout.index([listed] * 200)
    return dict(layout.finished(*[listed] * 200))


CONFIG = archives.config_of(LAYERS)
GZIPPED = gzip.compress(LAYERS[1], mtime=0)
HOSTILE = make_tar([entry(OUTSIDE, data=b"evil")]).read()
OTHER = digest(b"something else")
SPECIAL = {
    "directory": tarfile.DIRTYPE,
    "fifo": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
}
TOO_MANY = [LAYERS[0]] * 10_000

_NO_LAYER = r"'1/layer\.tar' in the archive is no regular file"
_HASH = r"^blobs/sha256/[0-9a-f]{64} in the archive does not hash to its name"
_NOT_THE_LAYER = "1/layer.tar.* is not the layer that the image's configuration names"

DOCKER: Dict[str, Damage] = {
    "layer: bit flipped": Damage(
        of(docker, members={"1/layer.tar": flipped(LAYERS[1])}), _NOT_THE_LAYER
    ),
    "layer: bit of a header flipped": Damage(
        of(docker, members={"1/layer.tar": flipped(LAYERS[1], 3)}), "."
    ),
    "layer: gzip, bit flipped": Damage(
        of(docker, members={"1/layer.tar": flipped(GZIPPED)}), "gzip data are damaged"
    ),
    "layer: gzip, cut": Damage(
        of(docker, members={"1/layer.tar": GZIPPED[:-20]}), "cut short: its gzip data do not end"
    ),
    "layer: cut": Damage(of(docker, members={"1/layer.tar": LAYERS[1][:700]}), "cut short"),
    "layer: empty": Damage(of(docker, members={"1/layer.tar": b""}), _NOT_THE_LAYER),
    "layer: another": Damage(of(docker, members={"1/layer.tar": LAYERS[0]}), _NOT_THE_LAYER),
    "layer: bomb": Damage(
        of(docker, layers=[*LAYERS, BOMB], members={"3/layer.tar": gzip.compress(BOMB)}),
        f"more than {LIMIT} bytes",
    ),
    "layer: leads out": Damage(of(docker, layers=[*LAYERS, HOSTILE]), "leads out"),
    "layer: missing": Damage(of(docker, members=["1/layer.tar"]), r"has no '1/layer\.tar'"),
    "config: missing": Damage(of(docker, members=["config.json"]), r"has no 'config\.json'"),
    "config: bit flipped": Damage(
        of(docker, config=CONFIG.replace(b'"diff_ids"', b'"diff_idr"')), "0 layers .* and 3 by"
    ),
    "config: no JSON": Damage(of(docker, config=b"{"), "configuration is not readable"),
    "config: deep": Damage(of(docker, config=deep()), "configuration is not readable"),
    "config: UTF-16": Damage(of(docker, config=CONFIG.decode().encode("utf-16")), "not readable"),
    "config: no object": Damage(of(docker, config=b"[]"), "configuration is not a JSON object"),
    "config: layers no list": Damage(of(docker, config=diff_ids({})), "does not list its layers"),  # type: ignore[arg-type]
    "config: bad diff ids": Damage(
        of(docker, config=diff_ids(["../../x", 1, None])), r"'\.\./\.\./x' .* is not a sha256"
    ),
    "config: too big": Damage(of(docker, config=CONFIG + b" " * (17 << 20)), "too big"),
    "more layers than the config": Damage(
        of(docker, layers=LAYERS[:2], manifest=sets(Layers=["0/layer.tar"] * 3)),
        "has 2 layers by its configuration, and 3 by",
    ),
    "fewer layers than the config": Damage(
        of(docker, manifest=sets(Layers=["0/layer.tar"])),
        "has 3 layers by its configuration, and 1 by",
    ),
    "10,000 layers": Damage(
        lambda: docker(
            layers=LAYERS[:1],
            config=archives.config_of(TOO_MANY),
            manifest=sets(Layers=["0/layer.tar"] * len(TOO_MANY)),
        ),
        "has 10000 layers; Docker takes 125",
    ),
    "manifest: no JSON": Damage(of(docker, members={"manifest.json": b"["}), "not readable"),
    "manifest: deep": Damage(
        of(docker, members={"manifest.json": deep()}), r"manifest\.json is not readable"
    ),
    "manifest: no list": Damage(of(docker, members={"manifest.json": b"{}"}), "not a list of"),
    "manifest: of nothing": Damage(of(docker, members={"manifest.json": b"[7]"}), "not a list of"),
    "manifest: half a character": Damage(
        of(docker, manifest=sets(Layers=["\ud800"] * 3)), "is not the name of a file"
    ),
    "names: no list": Damage(of(docker, manifest=sets(RepoTags="app:1")), "no readable list of"),
    **{
        f"name: {name}": Damage(named("good:1", name), "is no name for an image", 2)
        for name in ("UPPER:1", "", "a b", "../../x:1", "app:", "app:.x", "-x", "a\n:1", "\x1b[2J")
    },
    **{
        f"path: {path!r}": Damage(of(docker, manifest=sets(Layers=[path] * 3)), "leads out of the")
        for path in (OUTSIDE, "/etc/passwd", "0/../../layer.tar", "..", "a\0b")
    },
    "path: config": Damage(of(docker, manifest=sets(Config=OUTSIDE)), "leads out of the"),
    **{
        f"{kind} that leads out": Damage(
            of(docker, members=special("1/layer.tar", flag, target)), r"has no '1/layer\.tar'"
        )
        for kind, flag, target in (
            ("symlink", tarfile.SYMTYPE, OUTSIDE),
            ("absolute symlink", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard link", tarfile.LNKTYPE, OUTSIDE),
            ("absolute hard link", tarfile.LNKTYPE, "/etc/passwd"),
        )
    },
    "symlink to itself": Damage(
        of(docker, members=special("1/layer.tar", tarfile.SYMTYPE, "layer.tar")), "leads nowhere"
    ),
    **{
        f"{kind} as layer": Damage(of(docker, members=special("1/layer.tar", flag)), _NO_LAYER)
        for kind, flag in SPECIAL.items()
    },
}

OCI: Dict[str, Damage] = {
    "layer: bit flipped": Damage(of(oci, members={blob(LAYERS[1]): flipped(LAYERS[1])}), "is not "),
    "layer: gzip, bit flipped": Damage(
        of(oci, pack=True, members={blob(GZIPPED): flipped(GZIPPED)}), "gzip data are damaged"
    ),
    "layer: gzip, packed again": Damage(
        of(oci, pack=True, members={blob(GZIPPED): gzip.compress(LAYERS[1], 1, mtime=0)}),
        "does not hash to its name",
    ),
    "layer: gzip, cut": Damage(
        of(oci, pack=True, members={blob(GZIPPED): GZIPPED[:-9]}), "its gzip data do not end"
    ),
    "layer: gzip, more behind": Damage(
        of(oci, pack=True, members={blob(GZIPPED): GZIPPED + b"more"}), "gzip data|hash to its"
    ),
    "layer: bomb": Damage(of(oci, layers=[*LAYERS, BOMB], pack=True), f"more than {LIMIT} bytes"),
    "layer: leads out": Damage(of(oci, layers=[*LAYERS, HOSTILE]), "leads out"),
    "layer: missing": Damage(of(oci, members=[blob(LAYERS[1])]), "has no 'blobs/sha256/"),
    "layer: another digest": Damage(of(oci, manifest=first_layer(digest=OTHER)), "has no 'blobs/"),
    "layer: no digest": Damage(
        of(oci, manifest=first_layer(digest=f"sha256:{OUTSIDE}")), "is not a sha256 digest"
    ),
    "layer: of no kind": Damage(of(oci, manifest=first_layer(mediaType="text/plain")), "no layer"),
    "layer: not listed as one": Damage(of(oci, manifest=sets(layers=["x"])), "no layer"),
    "layers: no list": Damage(
        of(oci, manifest=sets(layers=7)), "manifest of the archive has no readable list of layers"
    ),
    "config: missing": Damage(of(oci, members=[blob(CONFIG)]), "has no 'blobs/sha256/"),
    "config: bit flipped": Damage(of(oci, members={blob(CONFIG): flipped(CONFIG)}), _HASH),
    "config: no JSON": Damage(of(oci, config=b"{"), "configuration is not readable"),
    "config: deep": Damage(of(oci, config=deep()), "configuration is not readable"),
    "config: UTF-16": Damage(of(oci, config=CONFIG.decode().encode("utf-16")), "not readable"),
    "config: not named": Damage(of(oci, manifest=sets(config=None)), "is not a sha256 digest"),
    "more layers than the config": Damage(
        of(oci, config=archives.config_of(LAYERS[:2])), "has 2 layers by its conf.*, and 3 by"
    ),
    "fewer layers than the config": Damage(
        of(oci, layers=LAYERS[:1], config=CONFIG), "has 3 layers by its conf.*, and 1 by"
    ),
    "layers in another order": Damage(
        of(oci, layers=LAYERS[::-1], config=CONFIG), "is not the layer that the image's conf"
    ),
    "10,000 layers": Damage(
        lambda: oci(
            layers=LAYERS[:1],
            config=archives.config_of(TOO_MANY),
            manifest=lambda known: known.update(layers=known["layers"] * len(TOO_MANY)),
        ),
        "has 10000 layers; Docker takes 125",
    ),
    "manifest: missing": Damage(
        of(oci, index=lambda known: known["manifests"][0].update(digest=OTHER)), "has no 'blobs/"
    ),
    "manifest: no digest": Damage(
        of(oci, index=lambda known: known["manifests"][0].update(digest=f"sha256:{OUTSIDE}")),
        "is not a sha256 digest",
    ),
    "manifest: another platform": Damage(
        of(oci, index=lambda known: known["manifests"][0].update(archives.platform("plan9/mips"))),
        "has no image for linux/",
    ),
    "index: no JSON": Damage(of(oci, members={"index.json": b"["}), "index.json is not readable"),
    "index: deep": Damage(of(oci, members={"index.json": deep()}), "index.json is not readable"),
    "index: lists nothing": Damage(of(oci, index=sets(manifests=None)), "no readable list"),
    "index: empty": Damage(of(oci, index=sets(manifests=[])), "has no image for linux/"),
    "index: missing": Damage(of(oci, members=["index.json"]), "no archive of images"),
    "index: lists itself over and over": Damage(of(nested), "lists more than 10000 images"),
    **{
        f"name: {name}": Damage(
            of(
                oci,
                index=lambda known, name=name: known["manifests"][0].update(archives.called(name)),
            ),
            "is no name for an image",
            2,
        )
        for name in ("UPPER:1", "../../x:1", "a/-:1")
    },
    **{
        f"{kind} as layer": Damage(
            of(oci, members=special(blob(LAYERS[1]), flag)), "in the archive is no regular file"
        )
        for kind, flag in SPECIAL.items()
    },
    "symlink that leads out": Damage(
        of(oci, members=special(blob(LAYERS[1]), tarfile.SYMTYPE, OUTSIDE)), "has no 'blobs/"
    ),
    "symlink to itself": Damage(
        of(oci, members=special(blob(LAYERS[1]), tarfile.SYMTYPE, blob(LAYERS[1])[13:])),
        "leads nowhere|no regular file",
    ),
}


def old(**members: bytes) -> Callable[[], Members]:
    """What Docker wrote before 1.10; ``top`` and ``base`` stand for the two layers' directories."""

    def make() -> Members:
        made: Members = {}
        files = archives.old_archive(LAYERS[:2])
        base, top = (name[: -len("/json")] for name in files if name.endswith("/json"))
        for name, content in files.items():
            short = name.replace(top, "top").replace(base, "base")
            made[short] = content.replace(top.encode(), b"top").replace(base.encode(), b"base")
        for key, content in members.items():
            name = key.replace("_", "/", 1).replace("_", ".")
            if content:
                made[name] = content
            else:
                del made[name]
        return made

    return make


OLD: Dict[str, Damage] = {
    "layer: missing": Damage(old(base_layer_tar=b""), r"has no 'base/layer\.tar'"),
    "layer: cut": Damage(old(top_layer_tar=LAYERS[1][:700]), r"top/layer\.tar .*cut short"),
    "layer: gzip, cut": Damage(
        old(top_layer_tar=GZIPPED[:-20]), r"top/layer\.tar .*gzip data do not end"
    ),
    "layer: leads out": Damage(old(top_layer_tar=HOSTILE), r"top/layer\.tar .*leads out"),
    "layer: bomb": Damage(
        old(top_layer_tar=gzip.compress(BOMB)), r"top/layer\.tar unpacks to more than \d+ bytes"
    ),
    "json: missing": Damage(old(base_json=b""), "has no 'base/json'"),
    "json: none": Damage(old(top_json=b"["), "top/json is not readable"),
    "json: deep": Damage(old(top_json=deep()), "top/json is not readable"),
    "json: no object": Damage(old(top_json=b"7"), "top/json is not a JSON object"),
    "parent: leads out": Damage(
        old(top_json=json.dumps({"parent": OUTSIDE}).encode()), "leads out of the archive"
    ),
    "parent: no name": Damage(old(top_json=b'{"parent":7}'), "7 .* is not the name of a file"),
    "parent: itself": Damage(old(top_json=b'{"parent":"top"}'), "is its own parent"),
    "tags: leads out": Damage(
        old(repositories=json.dumps({"old": {"1": OUTSIDE}}).encode()), "leads out of the archive"
    ),
    "tags: none": Damage(old(repositories=b'{"old":7}'), "tags of 'old' are not readable"),
    "tags: no JSON": Damage(old(repositories=b"{"), "repositories is not readable"),
    "name": Damage(old(repositories=b'{"OLD":{"1":"top"}}'), "is no name for an image", 2),
}
