"""An index whose making is killed: absent until it is complete, and then the same, bit by bit."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.retrieval.regions import added, indexed, region, vectors_of

from crossview.retrieval.index import Index

ROOT = Path(__file__).resolve().parents[2]

# Renaming is the instant at which files come to be, so the kill strikes before or after one.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from tests.retrieval.regions import indexed

folder, fatal, after = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "after"
replace, count = os.replace, 0

def kill():
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

def counted(*names):
    global count
    count += 1
    if count == fatal and not after:
        kill()
    replace(*names)
    if count == fatal and after:
        kill()

os.replace = counted
indexed(folder, paths=[folder / "aerial.tif"])
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return indexed(folder, paths=[region(folder)])


@pytest.mark.parametrize(
    ("renaming", "when"),
    [
        (1, "before"),  # nothing there yet
        (7, "after"),  # amid the files of the second segment
        (11, "before"),  # its files are there, the progress does not name them yet
        (31, "after"),  # the last segment is named
        (32, "before"),  # the manifest is about to appear
        (33, "before"),  # complete, not yet renamed
    ],
)
def test_a_killed_run_goes_on_to_the_same_index(tmp_path, whole, renaming, when):
    path = region(tmp_path)
    command = [sys.executable, "-c", KILLED_RUN, str(tmp_path), str(renaming), when]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode != 0, killed.stderr
    assert not (tmp_path / "region.cvx").exists()
    index = indexed(tmp_path, paths=[path])
    assert vectors_of(index).tobytes() == vectors_of(whole).tobytes()
    assert [index.thumbnail(i) for i in range(9)] == [whole.thumbnail(i) for i in range(9)]
    assert (index.lat == whole.lat).all()
    assert index.verify() == whole.verify()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aerial.tif", "region.cvx"]
    assert {p.name for p in index.path.iterdir()} == {p.name for p in whole.path.iterdir()}


def test_killed_after_the_last_step_the_index_is_there(tmp_path, whole):
    region(tmp_path)
    command = [sys.executable, "-c", KILLED_RUN, str(tmp_path), "33", "after"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert Index.open(tmp_path / "region.cvx").verify() == whole.verify()
    again = indexed(tmp_path, paths=[tmp_path / "aerial.tif"])
    assert again.verify() == whole.verify()
    assert {p.name for p in again.path.iterdir()} == {p.name for p in whole.path.iterdir()}


KILLED_ANYWHERE = """
import os, signal, sys
from pathlib import Path
from tests.retrieval.test_index_killed import finished

folder, fatal, count = Path(sys.argv[1]), int(sys.argv[2]), 0

def or_die(call):
    def counted(*arguments, **more):
        global count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        return call(*arguments, **more)
    return counted

os.replace, os.fsync, os.rmdir, Path.unlink = map(
    or_die, (os.replace, os.fsync, os.rmdir, Path.unlink)
)
finished(folder, sys.argv[3])
print(count)
"""


def finished(folder, how):
    """What the command under test makes."""
    make, overwrite = added if how == "--add" else indexed, how == "--overwrite"
    return make(folder, paths=[folder / "b.tif"], stride_m=40.0, overwrite=overwrite)


def killed_at(folder, instant, how):
    command = [sys.executable, "-c", KILLED_ANYWHERE, str(folder), str(instant), how]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", ["", "--overwrite", "--add"])
def test_killed_in_its_last_steps_the_same_command_ends_well(tmp_path, how):
    """From the last files on: manifest, renames, removal of what is replaced."""
    work, first = tmp_path / "work", tmp_path / "first"
    first.mkdir()
    region(first, "b.tif", seed=3)
    before = vectors_of(indexed(first, stride_m=40.0)).tobytes() if how else None
    shutil.copytree(first, work)
    steps = int(killed_at(work, 0, how).stdout)
    whole = vectors_of(Index.open(work / "region.cvx")).tobytes()
    for instant in [*range(max(1, steps - 13), steps - 1, 3), steps - 1, steps]:
        shutil.rmtree(work)
        shutil.copytree(first, work)
        assert killed_at(work, instant, how).returncode != 0
        if how:
            assert vectors_of(Index.open(work / "region.cvx")).tobytes() in {before, whole}
        assert vectors_of(finished(work, how)).tobytes() == whole, instant
        left = {p.name for p in work.iterdir()} - {"aerial.tif", "b.tif"}
        assert left == {"region.cvx"}, instant
        assert not (work / "region.cvx" / "progress.json").exists()
