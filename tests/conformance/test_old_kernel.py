"""The same suite where every system call that is newer than Linux 3.18 fails with ``ENOSYS``."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Sequence, Set

import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.linux.probe import probe
from tests.support import oldkernel
from tests.support.child import in_child
from tests.support.sources import ROOT

SUITE = Path(__file__).parent.relative_to(ROOT)

# By machine: statx (4.11), copy_file_range (4.5), openat2 (5.6), clone3 (5.3), and the very first
# one that is too new, execveat (3.19).
TOO_NEW = {
    "x86_64": (332, 326, 437, 435, 322),
    "aarch64": (291, 285, 437, 435, 281),
}
OUTCOME = re.compile(r"^(\S+::.*?) (PASSED|SKIPPED|FAILED|ERROR|XFAIL|XPASS)\b", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    os.uname().machine not in TOO_NEW, reason="the calls of this machine have unknown numbers"
)


def errors() -> List[int]:
    """What the calls that are too new fail with, as they must here: none gets a valid argument."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    for number in TOO_NEW[os.uname().machine]:
        assert libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, [-1] * 6)) == -1
        found.append(ctypes.get_errno())
    return found


def pytest_here(*arguments: str, filtered: bool) -> subprocess.CompletedProcess[str]:
    """Run pytest on the suite but for this file, or on single tests."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    command += [f"--ignore={SUITE / Path(__file__).name}"]
    if filtered:
        return oldkernel.run(command, cwd=ROOT)
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)


def outcomes(done: subprocess.CompletedProcess[str]) -> Dict[str, str]:
    """By test, what `pytest -v` printed."""
    return dict(OUTCOME.findall(done.stdout))


def collected(chosen: Sequence[str]) -> Set[str]:
    done = pytest_here("--collect-only", "-q", *chosen, filtered=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_the_filter_bites() -> None:
    def filtered() -> int:
        oldkernel.install()
        assert set(errors()) == {errno.ENOSYS}
        assert os.stat("/").st_ino
        return 0

    ended = in_child(filtered)
    assert ended.code == 0, ended.err


def test_the_filter_outlives_exec() -> None:
    script = (
        "from tests.conformance.test_old_kernel import errors\n"
        "import subprocess\n"
        "print(errors(), subprocess.check_output(['echo', 'well']))\n"
    )
    done = oldkernel.run([sys.executable, "-c", script], cwd=ROOT)
    assert done.stdout == f"{[errno.ENOSYS] * 5} b'well\\n'\n", done.stderr


@pytest.mark.needs("overlay", "mkfs.ext4")
def test_programs_and_mounts_work_under_the_filter(tmp_path: Path) -> None:
    def filtered() -> int:
        oldkernel.install()
        with loop_file_system("ext4", tmp_path) as disk:
            found = probe(disk, ["d_type", "hardlinks", "trusted_xattr", "mknod", "overlay"])
            assert all(ability.works for ability in found.values()), found
        return 0

    ended = in_child(filtered)
    assert ended.code == 0, ended.err


@pytest.mark.needs("overlay", "mkfs.ext4")
@pytest.mark.timeout(3600)
def test_the_whole_suite_passes_under_the_filter(full: bool) -> None:
    chosen = [
        os.fspath(SUITE),
        *(["--full"] if full else ["-k", "not xfs and not btrfs and not socket"]),
    ]
    wanted = collected(chosen)
    assert wanted
    done = pytest_here("-v", *chosen, filtered=True)
    found = outcomes(done)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert set(found) == wanted
    skipped = sorted(test for test, outcome in found.items() if outcome != "PASSED")
    if skipped:
        # What cannot be done here at all may be left out there, too.
        assert outcomes(pytest_here("-v", *skipped, filtered=False)) == {
            test: found[test] for test in skipped
        }
