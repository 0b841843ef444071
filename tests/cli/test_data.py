"""``crossview data`` as typed."""

import json
import os
import shutil

import pytest
from tests.datasets import twins
from tests.tiny_pairs import write_pairs
from tests.training.tiny import PAGE

from crossview.catalogue import benchmark, recipes
from crossview.cli import main


@pytest.fixture
def typed(capsys):
    def run(*line):
        code = main(["data", *map(str, line)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def twin(tmp_path, monkeypatch):
    """A CVUSA of the official layout whose official numbers are the twin's own."""
    page = benchmark("cvusa").page
    monkeypatch.setattr(page, "OFFICIAL", {"train": 6, "test": 3})
    monkeypatch.setattr(page, "PICTURES", 9)
    return twins.cvusa(tmp_path / "CVPR_subset")


def test_a_whole_data_set_has_nothing_to_put_right(typed, twin):
    code, out, _ = typed("check", "cvusa", "--root", twin, "--all", "--workers", "0")
    assert code == 0
    assert f"there    {twin / 'bingmap/19'}: aerial pictures ID.jpg, 9 of them" in out
    assert "split train: 6 ground pictures, 6 aerial pictures, 6 matches" in out
    assert "opened   18 of 18 pictures; 0 cannot be read." in out
    assert out.endswith("Nothing to correct.\n")


def test_what_is_missing_is_reported_with_its_place(typed, twin):
    shutil.rmtree(twin / "streetview")
    (twin / "split_locations/all.csv").unlink()
    code, out, _ = typed("check", "cvusa", "--root", twin, "--sample", "3", "--workers", "0")
    assert code == 1
    assert f"missing  streetview/panos: panoramas ID.jpg, 9 of them; belongs at {twin}" in out
    assert "(not needed)" in out


def test_a_truncated_picture_is_found_when_all_are_opened(typed, twin):
    broken = twin / "streetview/panos/0000007.jpg"
    os.truncate(broken, broken.stat().st_size // 2)
    code, out, _ = typed("check", "cvusa", "--root", twin, "--all", "--workers", "1")
    assert code == 1
    assert f"broken   {broken}: is truncated or damaged" in out
    assert "To correct: 1." in out


def test_an_absent_picture_is_found_whatever_the_sample(typed, twin):
    (twin / "bingmap/19/0000002.jpg").unlink()
    code, out, _ = typed("check", "cvusa", "--root", twin, "--sample", "0", "--workers", "0")
    assert code == 1
    assert f"missing  {twin / 'bingmap/19/0000002.jpg'}, named in a list" in out


def test_other_numbers_than_the_official_ones_are_reported(typed, tmp_path):
    code, out, _ = typed("check", "cvusa", "--root", twins.cvusa(tmp_path), "--workers", "0")
    assert code == 1
    assert "differs  split train has 6 ground pictures, 6 aerial pictures, 6 matches; " in out
    assert "officially 35,532, 35,532, 35,532" in out


@pytest.mark.parametrize(
    ("name", "twin_of"),
    [("cvact", twins.cvact), ("vigor-cross", twins.vigor), ("university-1652", twins.university)],
)
def test_every_layout_is_recognised(typed, tmp_path, name, twin_of):
    _, out, _ = typed("check", name, "--root", twin_of(tmp_path), "--all", "--workers", "0")
    assert "missing" not in out
    assert "problem" not in out
    assert "0 cannot be read" in out


def test_pairs_are_checked_too(typed, tmp_path):
    path = write_pairs(tmp_path, 4)
    code, out, _ = typed("check", "pairs", "--root", path, "--workers", "0")
    assert (code, "opened   8 of 8 pictures; 0 cannot be read." in out) == (0, True)
    (tmp_path / "a1.png").unlink()
    code, out, _ = typed("check", "pairs", "--root", path, "--workers", "0")
    assert (code, f"missing  {tmp_path / 'a1.png'}, named in a list" in out) == (1, True)


def test_a_name_that_nobody_knows_is_a_usage_error(typed, tmp_path):
    code, _, err = typed("check", "cvusaa", "--root", tmp_path)
    assert code == 2
    assert "Did you mean 'cvusa'?" in err


def test_repeats_are_found_by_their_pixels_and_the_first_is_kept(typed, twin):
    pictures = twin / "bingmap/19"
    shutil.copy(pictures / "0000005.jpg", pictures / "0000008.jpg")
    shutil.copy(twin / "streetview/panos/0000004.jpg", twin / "streetview/panos/0000009.jpg")
    code, out, _ = typed("dedup", "cvusa", "--root", twin, "--workers", "0")
    assert code == 0
    assert "split train: 6 rows, 4 without repeats (2 dropped)" in out
    assert "1 aerial pictures repeat an earlier one" in out
    assert "bingmap/19/0000005.jpg = bingmap/19/0000008.jpg" in out
    written = (twin / "splits/train-19zl-cleaned.csv").read_text().splitlines()
    assert [line[11:18] for line in written] == ["0000004", "0000005", "0000006", "0000007"]
    tables = benchmark("cvusa-cleaned").load(twin)
    assert {name: len(table) for name, table in tables.items()} == {"train": 4, "test": 3}


def cache_line(tmp_path, *more):
    data = f"pairs:{tmp_path / 'data' / 'pairs.csv'}"
    line = ["cache", "--data", data, "--method", PAGE, "--out", tmp_path / "cache"]
    return [*line, "--workers", "0", *more]


def test_the_cache_takes_a_recipe_of_the_method_as_train_does(typed, tmp_path):
    write_pairs(tmp_path / "data", 4)
    line = [*cache_line(tmp_path, "--dry-run"), "--method", "safa"]
    recipe = recipes("safa")["cvusa"]
    settings = [f"--config={name}={json.dumps(value)}" for name, value in recipe.items()]
    sizes = [typed(*line, *more)[1] for more in ([], ["--recipe", "cvusa"], settings)]
    assert sizes[0] != sizes[1] == sizes[2]
    code, _, err = typed(*line, "--recipe", "cvsua")
    assert (code, "Did you mean 'cvusa'" in err) == (2, True)


def test_the_cache_prints_its_size_before_it_writes(typed, tmp_path):
    write_pairs(tmp_path / "data", 4)
    code, out, _ = typed(*cache_line(tmp_path, "--dry-run"))
    assert code == 0
    assert "MB for all pictures" in out
    assert not (tmp_path / "cache").exists()
    assert typed(*cache_line(tmp_path))[0] == 0
    assert list((tmp_path / "cache").glob("*.pack"))


def test_unreadable_pictures_are_refused_at_the_end_or_skipped_and_counted(typed, tmp_path):
    write_pairs(tmp_path / "data", 4)
    (tmp_path / "data" / "g2.png").write_bytes(b"nothing")
    code, _, err = typed(*cache_line(tmp_path))
    assert code == 1
    assert "1 of 8 pictures cannot be read" in err
    assert "g2.png: is not a picture" in err
    code, _, err = typed(*cache_line(tmp_path, "--skip-unreadable"))
    assert code == 0
    assert "1 pictures cannot be read; they are not in the cache" in err


def test_wrong_choices_are_usage_errors(typed, tmp_path):
    write_pairs(tmp_path / "data", 4)
    assert typed(*cache_line(tmp_path, "--decoding", "quick"))[0] == 2
    assert typed(*cache_line(tmp_path, "--split", "test"))[0] == 2
    assert typed("check", "cvusa", "--root", tmp_path, "--sample", "-1")[0] == 2
