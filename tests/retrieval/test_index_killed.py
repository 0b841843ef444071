"""An index whose making is killed: absent until it is complete, and then the same, bit by bit."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.retrieval.regions import indexed, region, vectors_of

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
    from crossview.retrieval.index import Index

    assert Index.open(tmp_path / "region.cvx").verify() == whole.verify()
