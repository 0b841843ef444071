"""One process writes at a time; a killed one blocks nobody; the others are told who it is."""

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import Timeout

from crossview.errors import CannotWrite, InUse
from crossview.files import writing
from crossview.locks import holder, lock, sweep_locks, write_alone

ROOT = Path(__file__).resolve().parents[1]
HOLDER = """
import sys, time
from crossview.locks import lock
with lock(sys.argv[1], "crossview index --add"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
COUNTER = """
import sys
from pathlib import Path
from crossview.locks import lock
file = Path(sys.argv[1])
for _ in range(10):
    with lock(file, "a count", wait=True):
        file.write_text(str(int(file.read_text() or 0) + 1))
"""


@pytest.fixture
def held(tmp_path):
    """A path that another process holds."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "region.cvx"), "60"],
        stdout=subprocess.PIPE, cwd=ROOT, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield tmp_path / "region.cvx", process
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_another_process_writes_is_refused_and_it_is_said_who_does(held):
    path, process = held
    with pytest.raises(InUse) as refusal, lock(path, "mine"):
        pass
    said = str(refusal.value)
    assert f"{path} is being written by another process: crossview index --add" in said
    assert f"process {process.pid} on " in said
    assert " since 20" in said
    assert refusal.value.exit_code == 1


def test_a_killed_process_holds_nothing_and_leaves_nothing_that_blocks(held):
    path, process = held
    process.kill()
    process.wait()
    with lock(path, "mine"):
        assert holder(path.with_name(".region.cvx.lock")).startswith(f"mine, process {os.getpid()}")
    assert list(path.parent.iterdir()) == []


def test_who_waits_says_so_and_goes_on_when_the_other_has_ended(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("crossview.locks._SOON_S", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "a"), "0.5"], stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        other.stdout.readline()
        with caplog.at_level(logging.WARNING), lock(tmp_path / "a", "mine", wait=True):
            assert other.wait(5) == 0
    assert f"Waiting for {tmp_path / 'a'}" in caplog.text
    assert "crossview index --add, process" in caplog.text


def test_who_waits_is_told_after_two_seconds_and_a_refusal_comes_at_once(tmp_path, monkeypatch):
    asked_s = []

    def taken_for_a_while(lock, timeout):
        asked_s.append(timeout)
        if timeout >= 0.0:
            raise Timeout(lock.lock_file)

    monkeypatch.setattr("filelock.FileLock.acquire", taken_for_a_while)
    with pytest.raises(InUse), lock(tmp_path / "a", "mine"):
        pass
    assert asked_s == [0.0]
    with lock(tmp_path / "a", "mine", wait=True):
        assert asked_s[1:] == [2.0, -1.0]  # and then for as long as it takes


def test_nothing_is_lost_between_processes_that_wait_for_each_other(tmp_path):
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "count")]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "40"
    assert [p.name for p in tmp_path.iterdir()] == ["count"]


def test_counters_that_are_killed_at_any_instant_leave_a_lock_that_can_be_had(tmp_path):
    (tmp_path / "count").write_text("0")
    for delay_s in (0.0, 0.02, 0.05, 0.1):
        command = [sys.executable, "-c", COUNTER.replace("10", "10_000"), str(tmp_path / "count")]
        before = (tmp_path / "count").read_text()
        with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
            while (tmp_path / "count").read_text() in ("", before):  # until it counts
                assert process.poll() is None
            time.sleep(delay_s)
            os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        with lock(tmp_path / "count", "mine"):
            pass


def test_a_thread_may_lock_again_what_it_holds(tmp_path):
    with lock(tmp_path / "run", "crossview study"), lock(tmp_path / "run", "crossview train"):
        assert [p.name for p in tmp_path.iterdir()] == [".run.lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_link_and_what_it_points_to_share_their_lock(held, tmp_path):
    (tmp_path / "link").symlink_to(held[0])
    with pytest.raises(InUse), lock(tmp_path / "link", "mine"):
        pass


def test_a_folder_below_one_that_is_closed_has_its_lock_inside(tmp_path, monkeypatch):
    (tmp_path / "region.cvx").mkdir()
    opened = os.open

    def closed(path, *rest, **more):
        if Path(path) == tmp_path / ".region.cvx.lock":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", closed)
    with lock(tmp_path / "region.cvx", "mine"):
        assert [p.name for p in (tmp_path / "region.cvx").iterdir()] == [".lock"]
    (tmp_path / "region.cvx").rmdir()
    refused = pytest.raises(CannotWrite, match=r"Permission denied\. Choose another")
    with refused, lock(tmp_path / "region.cvx", "mine"):
        pass


def test_a_missing_folder_is_named_or_made(tmp_path):
    refused = pytest.raises(CannotWrite, match="there is no folder .*nowhere")
    with refused, lock(tmp_path / "nowhere" / "a", "mine"):
        pass
    with lock(tmp_path / "nowhere" / "a", "mine", make_parents=True):
        pass


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    import fcntl

    def without(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    with caplog.at_level(logging.WARNING), lock(tmp_path / "a", "mine"):
        pass
    assert "without locks" in caplog.text


KILLED_WHILE_WRITING = """
import os, signal, sys
from crossview.locks import write_alone
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_alone(sys.argv[1], "half", "crossview locate --out")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_what_a_killed_process_left_of_a_file_goes_with_the_next_write_of_it(tmp_path):
    path, other = tmp_path / "places.csv", tmp_path / "others.csv"
    for file in (path, other):
        command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(file)]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 4  # of each a temporary file and a lock
    write_alone(path, "new", "mine")
    assert path.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 3
    write_alone(other, "new", "mine")
    assert {p.name for p in tmp_path.iterdir()} == {"places.csv", "others.csv"}


def test_a_device_is_refused_before_a_lock_is_made_beside_it():
    if Path("/dev/null").exists():
        with pytest.raises(CannotWrite, match="not an ordinary file"):
            write_alone("/dev/null", "", "mine")
        assert not Path("/dev/.null.lock").exists()


def test_locks_of_processes_that_are_gone_are_swept_and_others_stay(tmp_path):
    (tmp_path / ".gone.lock").write_text("{}")
    (tmp_path / "letter.lock").write_text("mine")
    with lock(tmp_path / "held", "crossview"):
        sweep_locks(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {".held.lock", "letter.lock"}


def test_who_locks_a_file_removes_what_killed_writers_left_of_it(tmp_path):
    other = tmp_path / "other.json"
    for path in (tmp_path / "a.json", other):
        with suppress(SystemExit), writing(path) as temporary:
            left = temporary.with_name(temporary.name)
            content = temporary.read_bytes()
            raise SystemExit
        left.write_bytes(content)  # as a killed process leaves it
    with lock(tmp_path / "a.json", "crossview"):
        names = {path.name for path in tmp_path.iterdir()}
    assert names == {".a.json.lock", left.name}
