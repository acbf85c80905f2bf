"""What a directory lists, as the bytes that the kernel wrote: to be compared before being parsed.

Most of what a layer of ``overlay`` has is linked from its parent, so most of its directories list
the same files with the same inodes as those of the parent: then a comparison tells all, and takes
a fraction of the time. The bytes are of use only within one file system and one run. Limits: equal
content may be listed differently (other order, other positions); that costs time, nothing else.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ovl1.linux import mounts

_SIZE = 1 << 16
_ZEROS = bytes(_SIZE)

# struct linux_dirent64 (linux/dirent.h): d_ino, d_off, d_reclen, d_type; d_name follows.
_HEAD = struct.Struct("=QqHB")
_INODE = struct.Struct("=Q")
_INODE_SIZE = _INODE.size
_NAME = _HEAD.size
_DOT = ord(".")
_DOTS = (b".", b"..")
_UNKNOWN, _DIR, _REG, _LNK = 0, 4, 8, 10

# For a C library without getdents64(3) (glibc before 2.30): asm/unistd.h.
_NUMBERS = {"x86_64": 217, "aarch64": 61, "riscv64": 61, "ppc64le": 202, "s390x": 220}


_Call = Callable[[int, ctypes.c_void_p, ctypes.c_size_t], int]


class Listing(NamedTuple):
    """The parsed content of a directory, without ``.`` and ``..``."""

    directories: List[Tuple[int, bytes]]
    """Inodes and names."""
    files: List[int]
    """Inodes, of regular files; one that has several names here comes several times."""
    symlinks: List[int]
    specials: List[int]
    """Fifos, sockets and devices."""
    own: Sequence[List[int]] = ()
    """Where the entries stand that are not regular files': of ``.`` and ``..``, and of those that
    `directories`, `symlinks` and `specials` tell."""


class Lister:
    """Reads listings one after the other, through one buffer; not for several threads."""

    def __init__(self) -> None:
        self._get = _getdents64()
        # Private: each of several forked processes goes on with a buffer of its own.
        self._buffer = mmap.mmap(-1, _SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(self._buffer)))
        self._size = ctypes.c_size_t(_SIZE)
        self._used = 0

    def read(self, fd: int) -> bytes:
        """The listing of a directory that was just opened.

        Raises:
            OSError: ``ENOENT``: the directory has been removed.
        """
        return self.finish(fd, self.begin(fd))

    def begin(self, fd: int) -> bytes:
        """What the first call gives of it: nearly always all.

        Raises:
            OSError: as `read`.
        """
        get, buffer, used = self._get, self._buffer, self._used
        if get is None:
            return listed(fd)
        # The kernel leaves gaps between the names, and what an older listing left is no content.
        buffer[:used] = _ZEROS[:used]
        self._used = size = get(fd, self._address, self._size)
        if size < 0:
            raise self._failed()
        return buffer[:size]

    def finish(self, fd: int, begun: bytes) -> bytes:
        """All of it.

        Raises:
            OSError: as `read`.
        """
        get = self._get
        if get is None or not begun:
            return begun
        whole = begun
        while True:
            size = get(fd, self._address, self._size)
            if size == 0:
                return whole
            if size < 0:
                raise self._failed()
            self._used = _SIZE
            whole += self._buffer[:size]

    def _failed(self) -> OSError:
        self._used = _SIZE
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number))


def gives_all(device: int) -> bool:
    """Whether a first call that gives less than it may gives all, on the file system of a device.

    If so, what it gives is whole when it equals a listing known to be: the kernel puts the position
    after a name into its entry, and after the last name that is the end (fs/readdir.c). A server of
    a file system in user space, or elsewhere, may send its answers in parts as it likes.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {point.fstype for point in mounts.mount_points() if point.device == number}
    return bool(kinds) and kinds <= {"ext4", "xfs"}


def parse(listing: bytes) -> Optional[Listing]:
    """What a listing says; None if the file system does not tell what is a directory."""
    files: List[int] = []
    dots: List[int] = []
    directories: List[int] = []
    symlinks: List[int] = []
    specials: List[int] = []
    head, at, end = _HEAD.unpack_from, 0, len(listing)
    while at < end:
        inode, _, length, kind = head(listing, at)
        if kind == _REG:
            files.append(inode)
        elif kind == _LNK:
            symlinks.append(at)
        elif kind == _DIR:
            is_dot = listing[at + _NAME] == _DOT and _name(listing, at) in _DOTS
            (dots if is_dot else directories).append(at)
        elif kind == _UNKNOWN:
            return None
        else:
            specials.append(at)
        at += length
    number = _INODE.unpack_from
    return Listing(
        [(number(listing, at)[0], _name(listing, at)) for at in directories],
        files,
        [number(listing, at)[0] for at in symlinks],
        [number(listing, at)[0] for at in specials],
        (dots, directories, symlinks, specials),
    )


class Known:
    """A listing to compare others with: whether they have the same files under the same names.

    Directories, symbolic links and specials must have the same names, too, but may be other
    inodes: each layer has its own.
    """

    __slots__ = (
        "_directories",
        "_names",
        "_pieces",
        "_pieces_of",
        "_specials",
        "_symlinks",
        "files",
        "has_symlinks_only",
        "is_plain",
        "size",
    )

    def __init__(self, listing: bytes, parsed: Listing) -> None:
        self.files = len(parsed.files)
        """How many names regular files have."""
        dots, directories, symlinks, specials = parsed.own
        self.has_symlinks_only = not (directories or specials)
        """Whether there is nothing else but symbolic links."""
        self.is_plain = self.has_symlinks_only and not symlinks
        """Whether there is nothing else at all."""
        self._names = [name for _, name in parsed.directories]
        self.size = len(listing)
        """Bytes of the listing."""
        self._directories = _inodes_at(directories)
        self._symlinks = _inodes_at(symlinks)
        self._specials = _inodes_at(specials)
        self._pieces_of = _all_but(self.size, sorted([*dots, *directories, *symlinks, *specials]))
        self._pieces = self._pieces_of(listing)

    def is_like(self, listing: bytes) -> bool:
        """Whether another listing differs in nothing but inodes of its own."""
        return len(listing) == self.size and self._pieces_of(listing) == self._pieces

    def own(self, listing: bytes) -> Listing:
        """What a listing that is alike has beside the files."""
        return Listing(
            list(zip(self._directories(listing), self._names)),
            [],
            self.symlinks(listing),
            list(self._specials(listing)),
        )

    def symlinks(self, listing: bytes) -> List[int]:
        """The inodes of the symbolic links alone."""
        return list(self._symlinks(listing))


_Read = Callable[[bytes], Tuple[Any, ...]]


def _nothing(_listing: bytes) -> Tuple[()]:
    return ()


def _inodes_at(places: Sequence[int]) -> _Read:
    """What reads the inodes that stand at some places of a listing."""
    if not places:
        return _nothing
    form, end = ["="], 0
    for at in places:
        form.append(f"{at - end}xQ")
        end = at + _INODE_SIZE
    return struct.Struct("".join(form)).unpack_from


def _all_but(size: int, places: Sequence[int]) -> _Read:
    """What reads everything of a listing but the inodes at some places."""
    form, end = ["="], 0
    for at in places:
        form.append(f"{at - end}s{_INODE_SIZE}x")
        end = at + _INODE_SIZE
    return struct.Struct("".join([*form, f"{size - end}s"])).unpack


def names(listing: bytes) -> Iterator[Tuple[int, bytes]]:
    """Inodes and names of all that is no directory."""
    at = 0
    while at < len(listing):
        inode, _, length, kind = _HEAD.unpack_from(listing, at)
        if kind != _DIR:
            yield inode, _name(listing, at)
        at += length


def listed(fd: int) -> bytes:
    """The same from readdir(3), and where need be ``stat``: slow, and possible everywhere."""
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            size = (_NAME + len(name) + 8) & ~7
            inode, kind = entry.inode(), _kind(entry)
            parts.append(_HEAD.pack(inode, 0, size, kind) + name.ljust(size - _NAME, b"\0"))
    return b"".join(parts)


def _name(listing: bytes, at: int) -> bytes:
    return listing[at + _NAME : listing.index(0, at + _NAME)]


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_file(follow_symlinks=False):
        return _REG
    if entry.is_dir(follow_symlinks=False):
        return _DIR
    return _LNK if entry.is_symlink() else 1


def _getdents64() -> Optional[_Call]:
    # Calls are short and many: to let other threads run meanwhile takes longer than most of them.
    libc = ctypes.PyDLL(None, use_errno=True)
    try:
        get = libc.getdents64
    except AttributeError:
        number = _NUMBERS.get(platform.machine())
        # The numbers are those of 64-bit processes.
        if number is None or ctypes.sizeof(ctypes.c_long) != 8:
            return None
        call = libc.syscall
        call.restype = ctypes.c_long
        name = ctypes.c_long(number)
        return lambda fd, address, size: int(call(name, fd, address, size))
    get.restype = ctypes.c_ssize_t
    return get
