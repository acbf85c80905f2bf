"""Tars that come from and go to files, pipes and the terminal, which is for neither."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Optional, TypeVar

from ovl1.cli import output
from ovl1.errors import WrongUsage

F = TypeVar("F", bound=Callable[..., Any])

STDOUT = "-"

_BUFFER = 1 << 20


@contextlib.contextmanager
def tar_target(name: str) -> Iterator[BinaryIO]:
    """Where a tar goes: a file is there as a whole, or as it was before."""
    if name == STDOUT:
        if sys.stdout.isatty():
            raise WrongUsage(
                "a tar is not for the terminal",
                resolution="Give -o FILE, or redirect standard output.",
            )
        yield sys.stdout.buffer
        return
    path = Path(name).resolve()
    # What is no file, such as /dev/null, cannot be replaced by one.
    is_new = path.is_file() or not path.exists()
    written = path.with_name(f".{path.name}-{os.urandom(4).hex()}") if is_new else path
    try:
        file = written.open("xb" if is_new else "wb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise WrongUsage(f"{name} cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
        if is_new:
            os.replace(written, path)
    except BaseException:
        if is_new:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(written)
        raise


@contextlib.contextmanager
def watched(file: BinaryIO, label: str, *, quiet: bool) -> Iterator[BinaryIO]:
    """`file`, with a bar for how much of it was read."""
    bar = output.progress(label, _length(file), quiet=quiet, in_bytes=True)
    with bar as advance, io.BufferedReader(_Counting(file, advance), _BUFFER) as counted:
        yield counted


class _Counting(io.RawIOBase):
    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._file = file
        self._advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._advance(len(chunk))
        return len(chunk)


def _length(file: BinaryIO) -> Optional[int]:
    """Bytes in it; None for a pipe."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
