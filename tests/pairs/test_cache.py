import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.tiny_pairs import write_pairs

from crossview.datasets.pair_lists import load
from crossview.errors import BadData
from crossview.pairs.batch import Views
from crossview.pairs.cache import Digests, fill_cache, open_cache, read_entries
from crossview.pairs.reading import Files
from crossview.views.spec import ViewSpec

VIEWS = Views(
    ground=ViewSpec(side="ground", height_px=8, width_px=32),
    aerial=ViewSpec(side="aerial", height_px=16, width_px=16, footprint_m=40.0),
)
WHOLE = Views(ground=replace(VIEWS.ground, whole=True), aerial=replace(VIEWS.aerial, whole=True))


def tiny_files(folder, views=VIEWS, places=6, **settings):
    return Files(load(write_pairs(folder, places))["train"], views, **settings)


def filled(folder, files, workers=0):
    return list(fill_cache(folder, files, workers))[-1]


def packs(folder):
    return sorted(folder.glob("*.pack"))


def same(one, two, count):
    return all(
        np.array_equal(getattr(one, side)(i)[0], getattr(two, side)(i)[0])
        and getattr(one, side)(i)[1] == getattr(two, side)(i)[1]
        for side in ("ground", "aerial")
        for i in range(count)
    )


@pytest.mark.parametrize("views", [VIEWS, WHOLE], ids=["metric", "whole"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_cache_holds_what_the_files_hold(tmp_path, views, workers):
    files = tiny_files(tmp_path / "data", views)
    done = filled(tmp_path / "cache", files, workers)
    assert (done.done, done.total, done.unreadable) == (12, 12, ())
    assert same(open_cache(tmp_path / "cache", files), files, 6)


def test_whole_views_are_kept_at_the_size_of_the_network(tmp_path):
    files = tiny_files(tmp_path / "data", WHOLE)
    filled(tmp_path / "cache", files)
    held = sum(len(read_entries(p)) for p in packs(tmp_path / "cache"))
    assert held == 12
    assert open_cache(tmp_path / "cache", files).aerial(0)[0].shape == (16, 16, 3)


def test_a_part_of_the_data_and_a_moved_copy_find_what_is_there(tmp_path):
    files = tiny_files(tmp_path / "data")
    filled(tmp_path / "cache", files)
    before = packs(tmp_path / "cache")
    part = replace(files, table=files.table.take([4, 1]))
    assert same(open_cache(tmp_path / "cache", part), part, 2)
    shutil.move(tmp_path / "data", tmp_path / "moved")
    moved = Files(load(tmp_path / "moved" / "pairs.csv")["train"], VIEWS)
    assert same(open_cache(tmp_path / "cache", moved), moved, 6)
    filled(tmp_path / "cache", moved)
    assert packs(tmp_path / "cache") == before


def test_a_killed_run_goes_on_and_other_packs_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("crossview.pairs.cache.PACK_BYTES", 1)
    monkeypatch.setattr("crossview.pairs.cache.CHUNK", 2)
    files = tiny_files(tmp_path / "data")
    steps = fill_cache(tmp_path / "cache", files, 0)
    while next(steps).done < 5:
        pass
    steps.close()
    held = packs(tmp_path / "cache")
    assert 0 < len(held) < 6
    times = [p.stat().st_mtime_ns for p in held]
    filled(tmp_path / "cache", files)
    assert [p.stat().st_mtime_ns for p in held] == times
    assert same(open_cache(tmp_path / "cache", files), files, 6)


def test_a_damaged_pack_is_written_anew(tmp_path):
    files = tiny_files(tmp_path / "data")
    filled(tmp_path / "cache", files)
    for pack in packs(tmp_path / "cache"):
        os.truncate(pack, pack.stat().st_size - 1)
    with pytest.raises(BadData, match=r"holds 0 of 6 ground pictures"):
        open_cache(tmp_path / "cache", files)
    filled(tmp_path / "cache", files)
    assert same(open_cache(tmp_path / "cache", files), files, 6)


def test_two_fillings_at_once_do_no_harm(tmp_path):
    files = tiny_files(tmp_path / "data")
    first, second = (fill_cache(tmp_path / "cache", files, 0) for _ in range(2))
    for _ in zip(first, second, strict=True):
        pass
    assert same(open_cache(tmp_path / "cache", files), files, 6)


def test_another_content_canvas_or_mode_is_another_picture(tmp_path):
    files = tiny_files(tmp_path / "data")
    filled(tmp_path / "cache", files)
    wider = replace(VIEWS, ground=replace(VIEWS.ground, width_px=64))
    for other in (replace(files, views=wider), replace(files, decoding="fast")):
        with pytest.raises(BadData, match="holds 0 of 6 ground pictures"):
            open_cache(tmp_path / "cache", other)
    path = tmp_path / "data" / "g0.png"
    path.write_bytes((tmp_path / "data" / "g1.png").read_bytes() + b"longer")
    with pytest.raises(BadData, match=r"holds 5 of 6 ground pictures.\nFill it with"):
        open_cache(tmp_path / "cache", files)


def test_unreadable_pictures_are_collected_with_every_file_of_their_content(tmp_path):
    files = tiny_files(tmp_path / "data")
    for name in ("a1.png", "a4.png"):
        (tmp_path / "data" / name).write_bytes(b"no picture")
    (tmp_path / "data" / "g3.png").unlink()
    done = filled(tmp_path / "cache", files)
    assert done.done == done.total == 12
    lost = sorted((one.path.name, one.reason) for one in done.unreadable)
    assert [name for name, _ in lost] == ["a1.png", "a4.png", "g3.png"]
    assert lost[0][1].startswith("is not a picture")
    aerial = [one.index for one in done.unreadable if one.side == "aerial"]
    rest = replace(files, table=files.table.without(ground=[3], aerial=aerial))
    assert same(open_cache(tmp_path / "cache", rest), rest, 3)


def test_a_file_is_hashed_once_until_its_size_or_time_changes(tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(b"one")
    digests = Digests(tmp_path)
    first = digests.digest(path)
    digests.save()
    facts = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert Digests(tmp_path).digest(path) == first  # remembered
    path.write_bytes(b"three")
    assert Digests(tmp_path).digest(path) != first
    (tmp_path / "digests.jsonl").write_text("[damaged")
    assert len(Digests(tmp_path).digest(path)) == 32


HASHED = """
import sys
from pathlib import Path
from crossview.pairs.cache import Digests
folder, who = Path(sys.argv[1]), sys.argv[2]
for n in range(12):
    digests = Digests(folder)
    digests.digest(folder / f"{who}-{n}.jpg")
    digests.save()
"""


def test_processes_that_fill_one_cache_at_once_lose_no_digest(tmp_path):
    for who in "abcd":
        for n in range(12):
            (tmp_path / f"{who}-{n}.jpg").write_text(f"{who}{n}")
    processes = [
        subprocess.Popen([sys.executable, "-c", HASHED, str(tmp_path), who]) for who in "abcd"
    ]
    assert [process.wait() for process in processes] == [0] * 4
    names = [json.loads(line)[0] for line in (tmp_path / "digests.jsonl").open()]
    assert sorted(names) == sorted(str(path) for path in tmp_path.glob("*.jpg"))
