"""An index that several processes write and read: nothing is lost, nothing is mixed."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.index.regions import TOY, added, indexed, region, vectors_of

from crossview.errors import BadIndex, CannotWrite, InUse, UsageError
from crossview.index.store import Index, read_manifest, write_manifest
from crossview.locks import lock

ROOT = Path(__file__).resolve().parents[2]
SLOWLY_ADDED = """
import sys, time
from pathlib import Path
from tests.index.regions import added
folder = Path(sys.argv[1])
added(folder, [folder / sys.argv[2]], progress=lambda *_: (print(flush=True), time.sleep(0.02)))
"""


def adding(folder, name):
    command = [sys.executable, "-c", SLOWLY_ADDED, str(folder), name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def test_two_that_add_at_once_are_both_in(tmp_path):
    indexed(tmp_path)
    for seed, name in enumerate(("b.tif", "c.tif"), 1):
        region(tmp_path, name, seed=seed)
    both = [adding(tmp_path, name) for name in ("b.tif", "c.tif")]
    assert [process.communicate() and process.returncode for process in both] == [0, 0]
    index = Index.open(tmp_path / "region.cvx")
    assert index.count == 3 * 374
    assert len(index.manifest.imagery.sources) == 3
    assert index.verify() == 3 * 4 * 6


def test_what_another_process_indexes_is_refused(tmp_path):
    with locked_elsewhere(tmp_path / "region.cvx"), pytest.raises(InUse, match="crossview index"):
        indexed(tmp_path)
    assert not (tmp_path / "region.cvx").exists()
    assert not (tmp_path / "region.cvx.partial").exists()


def locked_elsewhere(path):
    """The lock of ``path``, held by another thread, which is another holder."""

    class Elsewhere:
        def __enter__(self):
            self.have, self.done = threading.Event(), threading.Event()
            self.thread = threading.Thread(target=self.hold)
            self.thread.start()
            self.have.wait()

        def hold(self):
            with lock(path, "crossview index"):
                self.have.set()
                self.done.wait()

        def __exit__(self, *_):
            self.done.set()
            self.thread.join()

    return Elsewhere()


def test_a_manifest_that_changed_since_it_was_read_is_not_replaced(tmp_path):
    index = indexed(tmp_path)
    region(tmp_path, "b.tif", seed=3)
    with adding(tmp_path, "b.tif") as other:
        other.communicate()
    with pytest.raises(CannotWrite, match="was changed by another process"):
        write_manifest(index.path, index.manifest, index.manifest)
    assert Index.open(index.path).count == 2 * 374


def test_an_index_opened_before_it_was_replaced_never_shows_the_pictures_of_the_new_one(tmp_path):
    index = indexed(tmp_path)
    was = index.thumbnail(3)
    indexed(tmp_path, paths=[region(tmp_path, "b.tif", seed=3)], overwrite=True)
    assert Index.open(index.path).thumbnail(3) != was
    with pytest.raises(BadIndex, match="was replaced by another index while it was read"):
        index.thumbnail(3)
    with pytest.raises(BadIndex, match="was replaced"):
        list(index.blocks())


def test_an_index_opened_before_more_was_added_stays_as_it_was(tmp_path):
    index = indexed(tmp_path)
    was, vectors = index.thumbnail(3), vectors_of(Index.open(index.path))
    added(tmp_path, [region(tmp_path, "b.tif", seed=3)])
    assert index.thumbnail(3) == was
    assert vectors_of(index).tobytes() == vectors.tobytes()


REPLACED_FOR_EVER = """
import sys
from pathlib import Path
from tests.index.regions import indexed
folder = Path(sys.argv[1])
for turn in range(1000):
    indexed(folder, paths=[folder / f"{'ab'[turn % 2]}.tif"], overwrite=True, stride_m=40.0)
    print(flush=True)
"""


def test_readers_of_an_index_that_is_replaced_again_and_again_see_one_of_them(tmp_path):
    whole = set()
    for seed, name in enumerate("ab"):
        path = region(tmp_path, f"{name}.tif", seed=seed)
        whole.add(picture_of(indexed(tmp_path, paths=[path], overwrite=True, stride_m=40.0)))
    command = [sys.executable, "-c", REPLACED_FOR_EVER, str(tmp_path)]
    seen, refused = [], 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        while len(seen) < 60:
            try:
                seen.append(picture_of(Index.open(tmp_path / "region.cvx")))
            except BadIndex as problem:
                assert "replaced" in str(problem)  # noqa: PT017 - each of them
                refused += 1
        writer.kill()
    assert set(seen) <= whole
    assert refused < 60


def test_a_picture_that_went_with_its_index_is_not_called_damaged(tmp_path):
    index = indexed(tmp_path, stride_m=40.0)
    indexed(tmp_path, overwrite=True, stride_m=40.0)
    for file in (tmp_path / "region.cvx").glob("*.offsets.npy"):
        file.unlink()
    with pytest.raises(BadIndex, match="was replaced by another index"):
        index.thumbnail(index.count - 1)


def picture_of(index):
    """All that an index holds, in one value."""
    pictures = [index.thumbnail(row) for row in range(index.count)]
    return vectors_of(index).tobytes(), index.manifest.imagery.sources, *pictures


STRANGERS = {
    "a web application": '{"name": "App", "icons": []}',
    "another program's index": '{"format_version": 1, "segments": [], "model": {}}',
    "no JSON": "<html>",
}


@pytest.mark.parametrize("content", STRANGERS.values(), ids=STRANGERS)
def test_a_folder_with_some_manifest_is_never_overwritten(tmp_path, content):
    (tmp_path / "region.cvx").mkdir()
    (tmp_path / "region.cvx" / "manifest.json").write_text(content)
    (tmp_path / "region.cvx" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not an index that can be read"):
        indexed(tmp_path, overwrite=True)
    assert (tmp_path / "region.cvx" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "region.cvx" / "manifest.json").read_text() == content


@pytest.mark.parametrize("name", ["thesis.txt", "segment-notes.txt", "segments", "progress.txt"])
def test_what_lies_in_an_index_and_is_not_ours_is_never_removed(tmp_path, name):
    index = indexed(tmp_path)
    if name == "segments":
        (index.path / name).mkdir()
    else:
        (index.path / name).write_text("years of work")
    with pytest.raises(UsageError, match=f"holds what crossview has not written: {name}"):
        indexed(tmp_path, overwrite=True)
    assert (index.path / name).exists()
    assert Index.open(index.path).verify()


def test_what_a_file_manager_left_is_kept_and_hinders_nothing(tmp_path):
    index = indexed(tmp_path)
    (index.path / ".DS_Store").write_bytes(b"view settings")
    indexed(tmp_path, overwrite=True)
    assert (index.path / ".DS_Store").read_bytes() == b"view settings"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aerial.tif", "region.cvx"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_nothing_is_removed_through_a_link(tmp_path):
    real = indexed(tmp_path, name="real.cvx").path
    (tmp_path / "region.cvx").symlink_to(real)
    with pytest.raises(UsageError, match=r"symbolic link to .*real\.cvx"):
        indexed(tmp_path, overwrite=True)
    (tmp_path / "region.cvx").unlink()
    (tmp_path / "region.cvx").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="symbolic link"):
        indexed(tmp_path)
    (tmp_path / "region.cvx").unlink()
    (tmp_path / "region.cvx.partial").symlink_to(real)
    with pytest.raises(CannotWrite, match="symbolic link"):
        indexed(tmp_path, restart=True)
    assert Index.open(real).verify()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_adding_through_a_link_adds_to_what_it_points_to(tmp_path):
    real = indexed(tmp_path, name="real.cvx").path
    (tmp_path / "region.cvx").symlink_to(real)
    added(tmp_path, [region(tmp_path, "b.tif", seed=3)])
    assert (tmp_path / "region.cvx").is_symlink()
    assert Index.open(real).count == 2 * 374


def test_a_folder_of_someone_elses_beside_the_index_is_not_cleared(tmp_path):
    (tmp_path / "region.cvx.partial").mkdir()
    (tmp_path / "region.cvx.partial" / "progress.json").write_text("{}")
    (tmp_path / "region.cvx.partial" / "thesis.txt").write_text("years of work")
    with pytest.raises(CannotWrite):
        indexed(tmp_path, restart=True)
    assert (tmp_path / "region.cvx.partial" / "thesis.txt").exists()


def test_an_index_made_before_steps_were_noted_opens(tmp_path):
    import json

    index = indexed(tmp_path)
    values = json.loads((index.path / "manifest.json").read_text())
    assert len(values.pop("steps")) == 1
    del values["checksum"]  # nor that
    values["format_version"] = 1
    (index.path / "manifest.json").write_text(json.dumps(values))
    assert read_manifest(index.path).steps == ()
    index.require_model(TOY.fingerprint)
