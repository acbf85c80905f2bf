"""System calls that wait for another process to decide about them (seccomp_unotify(2)).

The filter stays over fork and exec, and cannot be taken off. Needs root's rights, and Linux 5.5, or
5.19 if signals are to leave a waiting call alone. Constants are from the kernel's headers, named
beside them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from typing import Dict, List, NamedTuple, Optional, Tuple

from tests.support.faults_calls import IOCTLS, WRITING, Call, calls

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_SECCOMP = {"x86_64": 317, "aarch64": 277}  # asm/unistd.h

# linux/seccomp.h
_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_ALLOW, _ASK, _KILL_PROCESS = 0x7FFF0000, 0x7FC00000, 0x80000000
_RECV, _SEND, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
_CONTINUE, _SYNC_WAKE_UP = 1, 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")

# linux/bpf_common.h: operation, steps to skip if true, if false, operand.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_Step = Tuple[int, int, int, int]
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_GONE = (errno.ENOENT, errno.EINTR)
"""The one that asked was killed meanwhile; or we got a signal."""


class _Program(ctypes.Structure):  # struct sock_fprog, linux/filter.h
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class Asked(NamedTuple):
    """A call that waits."""

    cookie: int
    task: int
    """The thread that makes it."""
    number: int
    arguments: Tuple[int, ...]


def install() -> int:
    """Put this process, and all that it starts from now on, under the filter.

    Returns:
        The descriptor at which the calls are to be received, by another process.

    Raises:
        KeyError: the numbers of this machine's calls are not known here.
        OSError: the kernel refused.
    """
    machine = os.uname().machine
    code = _filter(_AUDIT_ARCH[machine], calls(machine))
    program = _Program(len(code) // 8, code)
    try:
        return _seccomp(_SECCOMP[machine], _NEW_LISTENER | _WAIT_KILLABLE, program)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        return _seccomp(_SECCOMP[machine], _NEW_LISTENER, program)


def try_out() -> None:
    """Whether `install` works here.

    Raises:
        OSError: it does not.
    """
    pid = os.fork()
    if not pid:
        try:
            install()
        except (OSError, KeyError) as err:
            os._exit((err.errno if isinstance(err, OSError) else 0) or errno.ENOSYS)
        finally:
            os._exit(0)
    code = os.WEXITSTATUS(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code), "seccomp with a listener")


def prepare(listener: int) -> None:
    """Let who asks and who answers take turns on one processor, where the kernel can."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)


def receive(listener: int) -> Optional[Asked]:
    """The next call that waits; None if who made it is gone."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECV, buffer)
    except OSError as err:
        if err.errno in _GONE:
            return None
        raise
    cookie, task, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
    return Asked(cookie, task, number, tuple(arguments))


def answer(listener: int, asked: Asked, error: int = 0) -> None:
    """Let the call be done, or fail with `error`; nothing happens if who made it is gone."""
    response = _RESPONSE.pack(asked.cookie, 0, -error, 0 if error else _CONTINUE)
    try:
        fcntl.ioctl(listener, _SEND, response)
    except OSError as err:
        if err.errno not in _GONE:
            raise


def _seccomp(number: int, flags: int, program: _Program) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    listener = libc.syscall(
        ctypes.c_long(number),
        ctypes.c_uint(_SET_MODE_FILTER),
        ctypes.c_uint(flags),
        ctypes.byref(program),
    )
    if listener < 0:
        found = ctypes.get_errno()
        raise OSError(found, os.strerror(found), "seccomp with a listener")
    return int(listener)


def _filter(arch: int, known: Dict[int, Call]) -> bytes:
    """The program in classic BPF (seccomp(2)); calls by another machine's numbers end it all."""
    steps: List[_Step] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number, call in known.items():
        decision = _decision(call)
        steps += [(_EQUAL, 0, len(decision), number), *decision]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _decision(call: Call) -> List[_Step]:
    ask: _Step = (_RETURN, 0, 0, _ASK)
    if call.flags is not None:
        tests: List[_Step] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * call.flags), (_ANY_BIT, 0, 1, WRITING)]
    elif call.request is not None:
        tests = [(_LOAD, 0, 0, _ARGUMENTS + 8 * call.request)]
        last = len(IOCTLS) - 1
        # Each but the last goes on with the next one; any of them leads behind the last.
        tests += [
            (_EQUAL, last - place, int(place == last), request)
            for place, request in enumerate(IOCTLS.values())
        ]
    else:
        return [ask]
    return [*tests, ask, (_RETURN, 0, 0, _ALLOW)]
