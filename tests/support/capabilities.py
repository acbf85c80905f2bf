"""What this machine can do, found out by doing it.

Each probe tries the thing itself in a scratch directory and cleans up after itself; version
strings and user ids prove nothing in a container. A probe runs once a session. Tests ask through
the marker ``needs``; nothing here knows pytest.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterator, NamedTuple, Optional

from tests.support import faults_notify

# Missing on a machine that claims to be a test machine (CI=true), these are failures: a suite
# that skips its heart must not look green.
REQUIRED = frozenset({"root", "overlay", "loop", "dockerd", "mkfs.ext4", "mkfs.xfs"})

# What there are wheels for, as in setup.cfg; a build takes an LLVM.
_ATHERIS_WHEEL = (
    sys.implementation.name == "cpython"
    and (3, 8) <= sys.version_info[:2] <= (3, 14)
    and (platform.system(), platform.machine()) == ("Linux", "x86_64")
)
if _ATHERIS_WHEEL:
    REQUIRED |= {"atheris"}

_CAP_SYS_ADMIN = 21
_LAST_ENGINE_WITH_OVERLAY1 = 23
_FIRST_CLIENT_WITH_BUILDKIT = 18
_LAST_CLIENT_WITH_BUILDKIT_INSIDE = 22
_MIB = 1 << 20


class Capability(NamedTuple):
    """Whether the machine can do it, and if not, why."""

    available: bool
    reason: str


class _Missing(Exception):
    """Ends a probe; the text is the reason."""


def find_program(name: str) -> Optional[str]:
    """Like `which`, but looks in the system directories too, where daemons live."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}:/usr/local/sbin:/usr/sbin:/sbin")


@functools.lru_cache(maxsize=None)
def probe(name: str) -> Capability:
    """Try the capability `name`, one of `names()`.

    Raises:
        KeyError: there is no such capability: a mistake in a test.
    """
    attempt = _PROBES[name]
    try:
        attempt()
    except _Missing as missing:
        return Capability(False, str(missing))
    except (OSError, subprocess.SubprocessError) as error:
        return Capability(False, f"{name}: {error}")
    return Capability(True, "")


def names() -> Iterator[str]:
    """All capabilities, in the order in which they build on each other."""
    return iter(_PROBES)


def buildkit_client() -> Optional[str]:
    """A `docker` program that can build with BuildKit: the newest ones need a plugin for it."""
    places = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin"]
    for client in (Path(place) / "docker" for place in dict.fromkeys(places)):
        with contextlib.suppress(_Missing):
            version = _major(_run(str(client), "--version"))
            if not _FIRST_CLIENT_WITH_BUILDKIT <= version <= _LAST_CLIENT_WITH_BUILDKIT_INSIDE:
                _run(str(client), "buildx", "version")
            return str(client)
    return None


def _run(*command: str) -> str:
    program = find_program(command[0])
    if program is None:
        raise _Missing(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *command[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise _Missing(f"{' '.join(command[:2])}: {lines[-1].strip()}")
    return done.stdout


def _need(name: str) -> None:
    needed = probe(name)
    if not needed.available:
        raise _Missing(needed.reason)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ovl1-probe-") as name:
        yield Path(name)


@contextlib.contextmanager
def _mounted(target: Path, *arguments: str) -> Iterator[None]:
    _run("mount", *arguments, str(target))
    try:
        yield
    finally:
        _run("umount", str(target))


def _image(directory: Path, mebibytes: int) -> Path:
    image = directory / "image"
    with image.open("wb") as file:
        file.truncate(mebibytes * _MIB)
    return image


def _major(text: str) -> int:
    found = re.search(r"version (\d+)\.", text)
    return int(found.group(1)) if found else 0


def _root() -> None:
    if os.geteuid() != 0:
        raise _Missing("not root")
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    if not (found and int(found.group(1), 16) >> _CAP_SYS_ADMIN & 1):
        raise _Missing("root without CAP_SYS_ADMIN: a container that is not privileged")


def _overlay() -> None:
    _need("root")
    with _scratch() as base:
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        (base / "lower/file").touch()
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        try:
            with _mounted(base / "merged", "-t", "overlay", "-o", options, "overlay"):
                (base / "merged/file").unlink()
            if not (base / "upper/file").is_char_device():
                raise _Missing("a deletion left no whiteout")
        except _Missing as missing:
            place = tempfile.gettempdir()
            raise _Missing(f"{missing}; can {place} hold an upper? Else set TMPDIR") from None


def _metacopy() -> None:
    _need("overlay")
    for name in ("redirect_dir", "metacopy"):
        if not Path("/sys/module/overlay/parameters", name).exists():
            raise _Missing(f"this kernel's overlay has no {name}")


def _seccomp_notify() -> None:
    _need("root")
    faults_notify.try_out()


def _loop() -> None:
    _need("root")
    with _scratch() as base:
        device = _run("losetup", "--find", "--show", str(_image(base, 1))).strip()
        _run("losetup", "--detach", device)


def _file_system(maker: str, mebibytes: int, *options: str) -> None:
    with _scratch() as base:
        image = _image(base, mebibytes)
        _run(maker, "-q", *options, str(image))
        _need("loop")
        (base / "mnt").mkdir()
        with _mounted(base / "mnt", "-o", "loop", str(image)):
            pass


def _dockerd() -> None:
    _need("root")
    version = _major(_run("dockerd", "--version"))
    if version > _LAST_ENGINE_WITH_OVERLAY1:
        raise _Missing(f"dockerd {version} has no overlay (v1) driver; 20.10 is the one to install")


def _setcap() -> None:
    _need("root")
    with _scratch() as base:
        (base / "file").touch()
        _run("setcap", "cap_net_raw+ep", str(base / "file"))


def _debootstrap() -> None:
    _need("root")
    _run("debootstrap", "--version")


def _buildkit() -> None:
    _run("docker", "--version")
    if buildkit_client() is None:
        raise _Missing("no docker client here can build with BuildKit (install docker-buildx)")


def _atheris() -> None:
    if not _ATHERIS_WHEEL:
        here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
        raise _Missing(f"atheris has no wheel for {here}")
    if importlib.util.find_spec("atheris") is None:
        raise _Missing("atheris is not installed: pip install -e .[fuzz]")


# xfs and btrfs refuse to be smaller.
_PROBES: Dict[str, Callable[[], object]] = {
    "root": _root,
    "overlay": _overlay,
    "metacopy": _metacopy,
    "loop": _loop,
    "seccomp-notify": _seccomp_notify,
    "mkfs.ext4": lambda: _file_system("mkfs.ext4", 4),
    "mkfs.xfs": lambda: _file_system("mkfs.xfs", 320),
    "mkfs.btrfs": lambda: _file_system("mkfs.btrfs", 128),
    "setcap": _setcap,
    "runc": lambda: _run("runc", "--version"),
    "containerd": lambda: _run("containerd", "--version"),
    "dockerd": _dockerd,
    "docker": lambda: _run("docker", "--version"),
    "buildkit": _buildkit,
    "busybox": lambda: _run("busybox", "true"),
    "debootstrap": _debootstrap,
    "atheris": _atheris,
    "skopeo": lambda: _run("skopeo", "--version"),
    "podman": lambda: _run("podman", "--version"),
    "chromium": lambda: _run("chromium", "--version"),
}
