"""Reading small metadata files from directories that may hold anything.

A `Folder` is reached from the data-root component by component without following links, and its
files are read only if they are regular, not empty and of a sane size. What is wrong is raised as
`BrokenStore`, so that a reader can turn it into a `Problem` and go on with the next record.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar

from ovl1.closing import Closing
from ovl1.errors import BrokenStore, NotPossibleHere, OvlError
from ovl1.linux.beneath import Directory, Name
from ovl1.store.problem import Problem

Key = TypeVar("Key")
Record = TypeVar("Record")

_LIMIT = 64 << 20
"""Bytes; no configuration that a daemon wrote comes near it."""

_RESTORE = "Restore it from a backup, or remove the image or container it belongs to."


class Folder(Closing):
    """An open directory of the store and its path; a context manager."""

    def __init__(self, directory: Directory, path: Path) -> None:
        self.directory = directory
        self.path = path

    @classmethod
    def open(cls, data_root: Path, path: Path) -> Folder:
        """Open `path`, which lies below `data_root`; no component of it may be a link.

        Raises:
            BrokenStore: it is missing, a symbolic link or no directory.
            NotPossibleHere: this user may not read it.
        """
        parts = [os.fsencode(part) for part in path.relative_to(data_root).parts]
        try:
            with Directory.open(data_root) as root:
                return cls(root.descend(parts), path)
        except OSError as error:
            raise explained(error, path, os.fspath(path.relative_to(data_root))) from error

    @classmethod
    def find(cls, data_root: Path, path: Path) -> Optional[Folder]:
        """`open`, but None if there is no such path: for directories that Docker makes late."""
        try:
            return cls.open(data_root, path)
        except BrokenStore as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def close(self) -> None:
        """Close what it has opened; idempotent."""
        self.directory.close()

    def child(self, name: str) -> Folder:
        """Open a sub-directory; raises as `open`."""
        try:
            return Folder(self.directory.child(os.fsencode(name)), self.path / name)
        except OSError as error:
            raise explained(error, self.path / name) from error

    def names(self) -> List[Name]:
        """The entries, sorted by name."""
        return sorted(self.directory.names())

    def exists(self, name: str) -> bool:
        """Whether there is an entry `name`, of whatever kind."""
        return self.directory.exists(os.fsencode(name))

    def read(self, name: str, *, empty: bool = False) -> bytes:
        """The content of a small regular file.

        Args:
            empty: whether a file of no length is fine.

        Raises:
            BrokenStore: it is missing, empty, huge or no regular file.
            NotPossibleHere: this user may not read it.
        """
        path = self.path / name
        try:
            with self.directory.reading(os.fsencode(name)) as fd, open(
                fd, "rb", closefd=False
            ) as f:
                content = f.read(_LIMIT + 1)
        except OSError as error:
            raise explained(error, path) from error
        if len(content) > _LIMIT:
            raise BrokenStore(f"{name} is larger than {_LIMIT >> 20} MiB", details=str(path))
        if not content and not empty:
            raise BrokenStore(f"{name} is empty", details=str(path), resolution=_RESTORE)
        return content

    def text(self, name: str) -> str:
        """The content of a small text file, without surrounding white space; raises as `read`."""
        return self.read(name).decode("utf-8", "backslashreplace").strip()

    def json(self, name: str) -> Dict[str, Any]:
        """The JSON object that a file holds; raises as `read`, and for anything else in it."""
        return json_object(self.read(name), self.path / name)


def read_each(
    data_root: Path,
    path: Path,
    parse: Callable[[str], Key],
    read: Callable[[Folder, Key], Record],
    problems: List[Problem],
) -> Dict[Key, Record]:
    """A record for each sub-directory of `path`; what is wrong with one does not stop the others.

    Args:
        path: may be missing, then there are none.
        parse: makes a key of a sub-directory's name, or raises `BrokenStore`.
        read: makes the record.
        problems: what is wrong is added to it.
    """
    found: Dict[Key, Record] = {}
    try:
        folder = Folder.find(data_root, path)
    except BrokenStore as error:
        problems.append(Problem.of(path, error))
        return found
    if folder is None:
        return found
    with folder:
        for name in folder.names():
            text = name.name.decode("utf-8", "surrogateescape")
            try:
                key = parse(text)
                with folder.child(text) as entry:
                    found[key] = read(entry, key)
            except BrokenStore as error:
                problems.append(Problem.of(folder.path / text, error))
    return found


def json_object(content: bytes, where: Path) -> Dict[str, Any]:
    """Parse a JSON object that somebody else wrote.

    Raises:
        BrokenStore: it is no JSON, or no object.
    """
    try:
        # As Go does: bytes that are not UTF-8 do not make it unreadable.
        value = json.loads(content.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise BrokenStore(
            f"{where.name} is not JSON: {error}", details=str(where), resolution=_RESTORE
        ) from error
    if not isinstance(value, dict):
        raise BrokenStore(
            f"{where.name} is not a JSON object", details=str(where), resolution=_RESTORE
        )
    return value


def explained(error: OSError, path: Path, name: str = "") -> OvlError:
    """What a failed system call on `path` means for a store; `name` is what to call it."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPossibleHere(
            f"{path} may not be read by this user",
            details="Only root may read a data-root.",
            resolution="Run the command again as root.",
        )
    what = {
        errno.ENOENT: "is missing",
        errno.ELOOP: "is a symbolic link; links are not followed",
        errno.ENOTDIR: "is not a directory, or below something else (links are not followed)",
        errno.EINVAL: "is not a regular file",
        errno.ENXIO: "is not a regular file",
    }.get(error.errno or 0, f"cannot be read: {os.strerror(error.errno or 0)}")
    return BrokenStore(f"{name or path.name} {what}", details=str(path), resolution=_RESTORE)
