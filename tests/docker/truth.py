"""What a daemon says about its store, as plain values that can be compared.

Two recordings of the same store, before and after whatever happened to it, must be equal.
`compare` explains a difference down to the entry of an exported tar. Containers must not run
while a recording is made (`Daemon.kill_containers`), or their State would differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Callable, Dict, Iterable, List

from tests.docker.daemon import Daemon, DockerError

Truth = Dict[str, Any]
Listing = Dict[str, List[Any]]

# Legitimately different after a restart or under another storage driver.
_VOLATILE = {
    "image": ("GraphDriver",),
    "container": (
        "GraphDriver",
        "Driver",
        "State.StartedAt",
        "State.FinishedAt",
        # A container of restart policy `always` is started anew by each daemon, with new ones;
        # and what a container had in its last run comes back when the daemon restarts.
        "NetworkSettings.SandboxID",
        "NetworkSettings.SandboxKey",
        "NetworkSettings.Networks.none.EndpointID",
    ),
}
_VOLATILE_COLUMNS = {
    "images": ("CreatedSince",),
    # A container's size: overlay sums up what has changed, overlay2 all that lies in its upper.
    "ps": ("RunningFor", "Size"),
}


def record(daemon: Daemon) -> Truth:
    """Everything that `daemon` says about images and containers."""
    daemon.kill_containers()
    images = sorted(set(daemon.docker("images", "-aq", "--no-trunc").split()))
    containers = sorted(daemon.docker("ps", "-aq", "--no-trunc").split())
    return {
        "images": _each(images, lambda image: _image(daemon, image)),
        "containers": _each(containers, lambda container: _container(daemon, container)),
        "docker images": _table(daemon, "images", "-a", "--digests"),
        "docker ps": _table(daemon, "ps", "-a"),
        "docker volume ls": daemon.docker("volume", "ls", "-q").split(),
    }


def compare(before: Truth, after: Truth) -> list[str]:
    """Readable differences between two recordings; none if they are equal."""
    return list(_differences("", before, after))


def saved(truth: Truth) -> dict[str, str]:
    """Image id -> SHA-256 of ``docker save``, without those that Docker cannot save."""
    digests = {image: str(said["save"]) for image, said in truth["images"].items()}
    return {image: digest for image, digest in digests.items() if _is_digest(digest)}


def _each(names: list[str], ask: Callable[[str], Truth]) -> dict[str, Truth]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(ask, names)))


def _image(daemon: Daemon, image: str) -> Truth:
    answer = {
        "inspect": _without(_asked(daemon, f"/images/{image}/json"), _VOLATILE["image"]),
        "history": [step["Id"] for step in _asked(daemon, f"/images/{image}/history")],
    }
    digest, listing = _stream(daemon, f"/images/get?names={image}")
    return {**answer, **_stable_save(digest, listing)}


def _container(daemon: Daemon, container: str) -> Truth:
    inspected = _asked(daemon, f"/containers/{container}/json")
    changed = _asked(daemon, f"/containers/{container}/changes") or []
    answer = {
        "name": inspected["Name"],
        "inspect": _without(inspected, _VOLATILE["container"]),
        "diff": sorted(f"{'CAD'[change['Kind']]} {change['Path']}" for change in changed),
    }
    digest, listing = _stream(daemon, f"/containers/{container}/export")
    return {**answer, "export": digest, "listing": listing}


def _asked(daemon: Daemon, path: str) -> Any:
    with daemon.asked(path) as answer:
        return json.load(answer)


def _stream(daemon: Daemon, path: str) -> tuple[str, Listing]:
    """SHA-256 and content of the tar that the API streams, or why Docker cannot make it."""
    try:
        with daemon.asked(path) as stream:
            return _digest_and_listing(stream)
    except DockerError as error:
        return kind(error), {}


def _stable_save(digest: str, listing: Listing) -> Truth:
    """The digest of a ``docker save``, and of its content where that alone is stable.

    A layer that the archive already has (an image with two empty layers) becomes a link, and
    Docker forgets to set the times of its directory: they are "now".
    """
    twice = {name[: -len("/layer.tar")] for name, entry in listing.items() if entry[0] == "2"}
    if not twice:
        return {"save": digest}
    for name, entry in listing.items():
        if name.split("/")[0] in twice:
            entry[4] = "now"
    content = hashlib.sha256(json.dumps(sorted(listing.items())).encode()).hexdigest()
    return {"save": content, "archive": listing}


def kind(error: DockerError) -> str:
    """The error without the parts that differ each time: ids and paths."""
    return "error: " + re.sub(r"\S*/\S*|[0-9a-f]{12,}", "*", error.stderr)


def _is_digest(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


class _Hashing:
    """A readable stream that hashes what passes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self.digest.update(chunk)
        return chunk


def _digest_and_listing(stream: IO[bytes]) -> tuple[str, Listing]:
    hashing = _Hashing(stream)
    listing: Listing = {}
    # A tar that ends too early is Docker's failure, and the end of the stream will tell.
    # typeshed wants an object with tell() and close(); a stream is only ever read.
    with contextlib.suppress(tarfile.ReadError), tarfile.open(
        mode="r|",
        fileobj=hashing,  # type: ignore[call-overload]
    ) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            listing[member.name] = [
                member.type.decode(),
                member.mode,
                member.uid,
                member.gid,
                member.pax_headers.get("mtime", member.mtime),
                member.linkname,
                member.size,
                [member.devmajor, member.devminor],
                hashlib.sha256(content.read()).hexdigest() if content else "",
                {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr")},
            ]
    while hashing.read(1 << 20):
        pass
    return hashing.digest.hexdigest(), listing


def _table(daemon: Daemon, command: str, *options: str) -> list[Truth]:
    """The rows of a ``docker`` table, in a fixed order."""
    listed = daemon.docker(command, *options, "--no-trunc", "--format", "{{json .}}")
    rows = [_without(json.loads(line), _VOLATILE_COLUMNS[command]) for line in listed.splitlines()]
    for row in rows:
        if "Status" in row:  # "Exited (3) 5 minutes ago"
            row["Status"] = re.sub(r"(?<=\)) .*", "", row["Status"])
        for unordered in {"Labels", "Mounts", "Networks"} & {*row}:
            row[unordered] = sorted(row[unordered].split(","))
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def _without(values: Truth, names: Iterable[str]) -> Truth:
    """`values` without the fields `names`, in which a dot goes one level down."""
    kept = dict(values)
    for name in names:
        first, _, rest = name.partition(".")
        if rest and first in kept:
            kept[first] = _without(kept[first], [rest])
        elif first in kept:
            del kept[first]
    return kept


def _differences(where: str, before: Any, after: Any) -> Iterable[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            place = f"{where} > {key[:19]!r}" if where else key
            if key not in before or key not in after:
                yield f"{place}: only {'after' if key in after else 'before'}"
            else:
                yield from _differences(place, before[key], after[key])
    elif isinstance(before, list) and isinstance(after, list) and _are_rows(before + after):
        yield from (f"{where}: gone: {row}" for row in before if row not in after)
        yield from (f"{where}: new: {row}" for row in after if row not in before)
    elif before != after:
        yield f"{where}: {before!r} became {after!r}"


def _are_rows(values: list[Any]) -> bool:
    """Lines of ``docker diff`` or rows of a table, rather than the fields of one tar entry."""
    return all(isinstance(value, (dict, str)) for value in values)
