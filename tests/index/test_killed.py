"""An index whose making is killed: absent until it is complete, and then the same, bit by bit."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.index.regions import added, indexed, region, vectors_of

from crossview.index.store import Index

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills by signal, in a fork")


def killed(target, *arguments):
    """Run a function in a process of its own and say how that ended: below 0 by a signal.

    The process is forked from one that has imported everything, which takes longest.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    process = server.Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def index_until(folder, fatal, after):
    """Index, and be killed before or after a renaming: the instant at which files come to be."""
    replace, count = os.replace, 0

    def counted(*names):
        nonlocal count
        count += 1
        if count == fatal and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)
        if count == fatal and after:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counted
    indexed(folder, paths=[folder / "aerial.tif"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return indexed(folder, paths=[region(folder)])


@pytest.mark.parametrize(
    ("renaming", "when"),
    [
        (1, "before"),  # nothing there yet
        (7, "after"),  # amid the files of the second unit
        (11, "before"),  # its files are there, its record is not
        (31, "after"),  # the last unit only lacks its name
        (40, "before"),  # units are being put together
        (57, "before"),  # the manifest is about to appear
        (58, "before"),  # complete, not yet renamed
    ],
)
def test_a_killed_run_goes_on_to_the_same_index(tmp_path, whole, renaming, when):
    path = region(tmp_path)
    assert killed(index_until, tmp_path, renaming, when == "after") == -signal.SIGKILL
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
    assert killed(index_until, tmp_path, 58, True) == -signal.SIGKILL
    assert Index.open(tmp_path / "region.cvx").verify() == whole.verify()
    again = indexed(tmp_path, paths=[tmp_path / "aerial.tif"])
    assert again.verify() == whole.verify()
    assert {p.name for p in again.path.iterdir()} == {p.name for p in whole.path.iterdir()}


def finished(folder, how):
    """What the command under test makes."""
    make, overwrite = added if how == "--add" else indexed, how == "--overwrite"
    return make(folder, paths=[folder / "b.tif"], stride_m=40.0, overwrite=overwrite)


def finish_until(folder, fatal, how):
    """Be killed at a step that touches the disk; killed at none, note how many there were."""
    count = 0

    def or_die(call):
        def counted(*arguments, **more):
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return counted

    os.replace, os.fsync, os.rmdir = map(or_die, (os.replace, os.fsync, os.rmdir))
    Path.unlink = or_die(Path.unlink)
    finished(folder, how)
    folder.with_name("steps").write_text(str(count))


@pytest.mark.parametrize("how", ["", "--overwrite", "--add"])
def test_killed_in_its_last_steps_the_same_command_ends_well(tmp_path, how):
    """From the last files on: manifest, renames, removal of what is replaced."""
    work, first = tmp_path / "work", tmp_path / "first"
    first.mkdir()
    region(first, "b.tif", seed=3)
    before = vectors_of(indexed(first, stride_m=40.0)).tobytes() if how else None
    shutil.copytree(first, work)
    assert killed(finish_until, work, 0, how) == 0
    steps = int((tmp_path / "steps").read_text())
    whole = vectors_of(Index.open(work / "region.cvx")).tobytes()
    for instant in [*range(max(1, steps - 13), steps - 1, 3), steps - 1, steps]:
        shutil.rmtree(work)
        shutil.copytree(first, work)
        assert killed(finish_until, work, instant, how) == -signal.SIGKILL
        if how:
            assert vectors_of(Index.open(work / "region.cvx")).tobytes() in {before, whole}
        assert vectors_of(finished(work, how)).tobytes() == whole, instant
        left = {p.name for p in work.iterdir()} - {"aerial.tif", "b.tif"}
        assert left == {"region.cvx"}, instant
        assert not (work / "region.cvx" / "progress.json").exists()
