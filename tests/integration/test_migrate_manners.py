"""A migration's manners: preflight, quick proofs, certificates, the log, daemon.json, niceness."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Iterator, List

import psutil
import pytest

from ovl1.linux.loopback import loop_file_system
from ovl1.migrate.area import Area
from tests.support.child import Ended, command, in_child
from tests.support.manifest import manifest
from tests.support.migrated import Place
from tests.support.moments import AFTER, BEFORE, KILLED, Point, at, killed
from tests.support.store_builder import real_store

pytestmark = pytest.mark.needs("root", "overlay", "loop", "mkfs.ext4")

FAILED, WRONG_USAGE, REFUSED, NOT_POSSIBLE = 1, 2, 3, 5
OLD = '{\n  "log-level": "warn",\n  "storage-driver": "overlay",\n  "mtu": 1400\n}\n'


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    with loop_file_system("ext4", tmp_path, 64 << 20, inodes=4096) as where:
        (where / "docker").mkdir()
        real_store(where / "docker")
        yield where


@pytest.fixture
def place(mounted: Path) -> Place:
    root = mounted / "docker"
    return Place(root, manifest(root))


@pytest.fixture
def daemon_json(tmp_path: Path) -> Path:
    path = tmp_path / "daemon.json"
    path.write_text(OLD)
    return path


class TestPlan:
    def test_what_each_mode_needs(self, place: Place) -> None:
        values = json.loads(place.do("plan", "--json").out)
        beside, there = values["modes"]
        assert beside["mode"] == "side by side"
        assert beside["fits"]
        assert beside["recommended"]
        assert 100 < beside["needed"]["inodes"] < beside["available"]["inodes"]
        assert (there["mode"], there["needed"]["inodes"]) == ("in place", 100)
        assert (there["fits"], there["recommended"]) == (True, False)
        new = str(place.root.parent / "new")
        both = json.loads(place.do("plan", "--to", new, "--json").out)["modes"]
        assert [mode["mode"] for mode in both] == ["side by side", "elsewhere", "in place"]
        assert [both[0], both[2]] == [beside, there]
        assert both[1]["needed"]["bytes"] > beside["needed"]["bytes"]
        text = place.do("plan").out
        assert "Recommended: side by side." in text
        assert str(beside["needed"]["inodes"]) in text

    def test_it_does_not_fit(self, mounted: Path) -> None:
        root = mounted / "docker"
        spare = mounted / "spare"
        spare.mkdir()
        for number in range(os.statvfs(root).f_ffree - 60):
            (spare / str(number)).touch()
        for arguments in (["plan"], ["run"]):
            ended = in_child(command(root, "migrate", *arguments))
            assert ended.code == NOT_POSSIBLE, ended
            assert "free inodes are needed, 60 are left" in ended.err
            assert "--in-place" in ended.err
        assert (
            "Recommended: another disk, with --to DIR."
            in in_child(command(root, "migrate", "plan")).out
        )

    def test_what_forbids_a_run_forbids_a_plan(self, mounted: Path) -> None:
        root = mounted / "docker"
        (root / "overlay2").mkdir()
        (root / "overlay2" / "something").touch()
        ended = in_child(command(root, "migrate", "plan"))
        assert ended.code == REFUSED, ended

    def test_who_uses_it_is_told(self, place: Place) -> None:
        ended = in_child(lambda: busy(place))
        assert ended.code == 0, ended
        assert "In use now, to be stopped first: process " in ended.err


def busy(place: Place) -> int:
    """A plan while another process works in the store."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writing)
        os.chdir(place.root / "overlay")
        os.read(reading, 1)
        os._exit(0)
    while not psutil.Process(pid).cwd().startswith(str(place.root)):
        pass
    code = command(place.root, "migrate", "plan")()
    os.close(writing)
    os.waitpid(pid, 0)
    return code


class TestQuick:
    def test_it_is_no_licence_to_purge(self, place: Place, tmp_path: Path) -> None:
        kept = tmp_path / "certificate.json"
        place.done("run", "--quick", "--certificate", str(kept))
        certificate = json.loads(kept.read_text())
        assert certificate["quick"]
        assert certificate["passed"]
        assert certificate["views"] == 5
        assert certificate["diff_ids"] == {}
        status = json.loads(place.do("status", "--json").out)
        assert status["state"] == "switched"
        for earlier in ([], ["verify", "--quick"]):
            if earlier:
                place.done(*earlier)
            refused = place.do("purge")
            assert refused.code == REFUSED, refused
            assert "not been verified in full" in refused.err
        place.done("verify")
        place.done("verify", "--quick", "--certificate", str(kept))
        assert json.loads(kept.read_text())["quick"]
        place.done("purge")
        assert kept.exists()

    def test_it_can_be_overruled(self, place: Place) -> None:
        place.done("run", "--quick")
        place.done("purge", "--unverified")

    def test_it_sees_what_it_must_and_no_more(self, place: Place) -> None:
        place.done("run")
        (path,) = [p for p in place.root.glob("overlay2/*/diff/etc/top") if p.stat().st_nlink == 1]
        times = path.stat()
        path.write_bytes(b"CHANGED")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        place.done("verify", "--quick")
        full = place.do("verify")
        assert full.code == FAILED, full
        assert "etc/top: content" in full.err
        path.chmod(0o600)
        assert place.do("verify", "--quick").code == FAILED

    def test_resumed_it_stays_quick(self, place: Place) -> None:
        point = Point("MakeLayers.do", 0, AFTER)
        run = command(place.root, "migrate", "run", "--quick")
        assert in_child(killed(point, run)).code == KILLED
        values = json.loads(place.do("resume", "--json").out)
        assert values["proof"]["quick"]


def test_the_certificate_outlives_the_purge(place: Place, tmp_path: Path) -> None:
    for number, arguments in enumerate((["run"], ["verify"])):
        kept = tmp_path / f"{number}.json"
        place.done(*arguments, "--certificate", str(kept))
        certificate = json.loads(kept.read_text())
        assert not certificate["quick"]
        assert len(certificate["diff_ids"]) == 3
        assert kept.read_bytes() == Area(place.root).certificate.read_bytes()
    place.done("purge")
    assert kept.exists()
    wrong = place.do("run", "--no-verify", "--certificate", str(kept))
    assert wrong.code == WRONG_USAGE, wrong


class TestDaemonJson:
    def test_written_and_restored(self, place: Place, daemon_json: Path) -> None:
        before = manifest(daemon_json.parent)[b"daemon.json"]
        planned = place.do("plan", "--write-daemon-json", str(daemon_json), "--json")
        assert any(str(daemon_json) in step for step in json.loads(planned.out)["steps"])
        assert daemon_json.read_text() == OLD
        place.done("run", "--write-daemon-json", str(daemon_json), "--engine", "29")
        assert daemon_json.read_text() == OLD.replace('"overlay"', '"overlay2"')
        kept = daemon_json.with_name("daemon.json.ovl1-old")
        assert kept.read_text() == OLD
        place.done("rollback")
        assert manifest(daemon_json.parent)[b"daemon.json"] == before
        assert not kept.exists()
        place.is_as_before()

    def test_where_there_was_none(self, place: Place, tmp_path: Path) -> None:
        path = tmp_path / "none.json"
        place.done("run", "--write-daemon-json", str(path))
        assert json.loads(path.read_text()) == {"storage-driver": "overlay2"}
        place.done("rollback")
        assert not path.exists()

    @pytest.mark.parametrize("when", [BEFORE, AFTER])
    def test_killed_there(self, place: Place, daemon_json: Path, when: str) -> None:
        point = Point("WriteDaemonJson.do", 0, when)
        run = command(place.root, "migrate", "run", "--write-daemon-json", str(daemon_json))
        assert in_child(killed(point, run)).code == KILLED
        place.done("rollback")
        assert daemon_json.read_text() == OLD
        assert in_child(killed(point, run)).code == KILLED
        place.done("resume")
        assert json.loads(daemon_json.read_text())["storage-driver"] == "overlay2"
        point = Point("WriteDaemonJson.undo", 0, when)
        assert in_child(killed(point, command(place.root, "migrate", "rollback"))).code == KILLED
        place.done("rollback")
        assert daemon_json.read_text() == OLD
        place.is_as_before()

    def test_with_a_new_data_root(self, place: Place, daemon_json: Path) -> None:
        new = place.root.parent / "new"
        place.done("run", "--to", str(new), "--write-daemon-json", str(daemon_json))
        values = json.loads(daemon_json.read_text())
        assert list(values) == ["log-level", "storage-driver", "mtu", "data-root"]
        assert values["data-root"] == str(new)
        assert values["storage-driver"] == "overlay2"
        assert in_child(command(new, "migrate", "rollback")).code == 0
        assert daemon_json.read_text() == OLD

    @pytest.mark.parametrize("text", ["{", '["overlay"]', '{"storage-driver": 1, }'])
    def test_what_is_no_json_is_refused(self, place: Place, daemon_json: Path, text: str) -> None:
        daemon_json.write_text(text)
        for verb in ("plan", "run"):
            ended = place.do(verb, "--write-daemon-json", str(daemon_json))
            assert ended.code == REFUSED, ended
            assert "cannot be read as JSON" in ended.err
        assert daemon_json.read_text() == text
        place.is_as_before()

    def test_an_engine_that_would_not_use_it(self, place: Place, daemon_json: Path) -> None:
        daemon_json.write_text('{"features": {"containerd-snapshotter": true}}')
        options = ("--engine", "28", "--write-daemon-json", str(daemon_json))
        for verb in ("plan", "run"):
            ended = place.do(verb, *options)
            assert ended.code == REFUSED, ended
            assert "containerd image store" in ended.err
        place.is_as_before()
        assert place.do("plan", "--engine", "20.10", *options[2:]).code == 0

    def test_the_change_is_printed(self, place: Place, daemon_json: Path) -> None:
        told = place.do("plan", "--engine", "24", "--write-daemon-json", str(daemon_json))
        assert '"storage-driver": "overlay2"' in told.out
        assert "Docker 24 uses the new store once" in told.out


STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[\d+\] \S")


class TestLog:
    def lines(self, log: Path) -> List[str]:
        found = log.read_text().splitlines()
        assert all(STAMP.match(line) for line in found)
        return [line.split("] ", 1)[1] for line in found]

    def test_every_action_is_there(self, place: Place, tmp_path: Path) -> None:
        log = tmp_path / "log"
        for verb in ("run", "verify", "rollback", "run", "purge"):
            place.done(verb, "--log", str(log))
        lines = self.lines(log)
        assert lines[0] == f"run of {place.root} begins"
        steps = [line for line in lines if line.startswith("step 1 ")]
        assert steps[0].startswith("step 1 begun: keep Docker away from ")
        assert [step.split()[2] for step in steps[1:]] == ["done", "undone", "begun:", "done"]
        for text in (
            "making layers: 5 of 5",
            "verifying: 5 of 5",
            "deleting the new layers: 6 of 6",
            "deleting the old layers: 5 of 5",
            "undoing",
            "purging",
        ):
            assert text in lines
        assert lines[-1] == f"purge of {place.root} is done"

    def test_elsewhere_the_rest_is_there_too(self, place: Place, tmp_path: Path) -> None:
        log = tmp_path / "log"
        place.done("run", "--to", str(place.root.parent / "new"), "--log", str(log))
        lines = self.lines(log)
        assert "comparing layers: 5 of 5" in lines
        assert "copying the rest: 2 of 2" in lines

    def test_it_is_there_when_the_process_is_not(self, place: Place, tmp_path: Path) -> None:
        log = tmp_path / "log"
        run = command(place.root, "migrate", "run", "--log", str(log))
        assert in_child(killed(Point("SwitchDriver.do", 0, BEFORE), run)).code == KILLED
        assert "begun: change Driver" in self.lines(log)[-1]
        place.done("rollback", "--log", str(log))

    def test_how_it_ended(self, place: Place, tmp_path: Path) -> None:
        log = tmp_path / "log"
        place.done("run")
        refused = place.do("run", "--log", str(log))
        assert refused.code == REFUSED
        assert "ended with 3: " in self.lines(log)[-1]

    def test_where_nothing_can_be_written(self, place: Place, tmp_path: Path) -> None:
        ended = place.do("run", "--log", str(tmp_path / "no" / "where"))
        assert ended.code == NOT_POSSIBLE, ended
        place.is_as_before()

    def test_a_full_disk_does_not_matter(self, place: Place) -> None:
        ended = place.do("run", "--log", "/dev/full")
        assert ended.code == 0, ended
        assert ended.err.count("cannot write to the log") == 1


def test_others_first(place: Place) -> None:
    def told() -> int:
        code = at(
            Point("Maker.make", 0, AFTER),
            tell,
            command(place.root, "migrate", "run", "--nice", "7", "--ionice", "idle"),
        )()
        tell()
        return code

    def tell() -> None:
        line = f"{os.nice(0) - before} {psutil.Process().ionice().ioclass}\n"
        os.write(2, line.encode())

    before = os.nice(0)
    ended: Ended = in_child(told)
    assert ended.code == 0, ended
    found = {line for line in ended.err.splitlines() if line[:1].isdigit()}
    assert found == {f"7 {psutil.IOPRIO_CLASS_IDLE}"}
    assert in_child(command(place.root, "migrate", "rollback", "--ionice", "best-effort")).code == 0
