"""Running a program as on Linux 3.18: system calls that came later give ``ENOSYS`` (seccomp).

Numbers are handed out in order, so one comparison tells the later ones. The filter stays over
exec and fork. Limits: new flags, ioctls, mount options and file systems behind old calls are not
taken away; the C library and the programs that are run must have their own fallbacks, as on an old
kernel. Constants are from the kernel's headers, named beside them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
from typing import Any, NamedTuple, Sequence


class _Machine(NamedTuple):
    audit_arch: int  # linux/audit.h
    last_call: int
    """bpf(2), the last one of Linux 3.18; execveat(2) of 3.19 is next (asm/unistd.h)."""


_MACHINES = {
    "x86_64": _Machine(audit_arch=0xC000003E, last_call=321),
    "aarch64": _Machine(audit_arch=0xC00000B7, last_call=280),
}

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38  # linux/prctl.h
_SECCOMP_MODE_FILTER = 2  # linux/seccomp.h
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000  # linux/seccomp.h
_LOAD, _EQUAL, _GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06  # linux/bpf_common.h
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data


class _Program(ctypes.Structure):  # struct sock_fprog, linux/filter.h
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install() -> None:
    """Put this process, and all that it starts from now on, under the filter; for good.

    Raises:
        KeyError: the numbers of this machine's calls are not known here.
        OSError: the kernel refused.
    """
    code = _filter(_MACHINES[os.uname().machine])
    program = _Program(len(code) // 8, code)
    mode = ctypes.c_ulong(_SECCOMP_MODE_FILTER)
    try:
        _prctl(_PR_SET_SECCOMP, mode, ctypes.byref(program))
    except PermissionError:
        # Only the privileged may keep setuid programs while they filter.
        _prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
        _prctl(_PR_SET_SECCOMP, mode, ctypes.byref(program))


def run(command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command under the filter and keep what it prints; `more` is for `subprocess.run`."""
    return subprocess.run(
        command, text=True, capture_output=True, check=False, preexec_fn=install, **more
    )


def _filter(machine: _Machine) -> bytes:
    """The program in classic BPF (seccomp(2)).

    Calls by another machine's numbers (32-bit programs) end the process: they cannot be told
    apart. x32's numbers have bit 30 set, and so are greater than any.
    """
    # Operation, steps to skip if true, if false, operand.
    steps = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, machine.audit_arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, machine.last_call),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _prctl(option: int, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"prctl {option}")
