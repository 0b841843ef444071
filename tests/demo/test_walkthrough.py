"""The demo measures every matcher, and clears no folder but its own."""

import json

import pytest

from crossview.demo import COMPARED, DemoSettings, run_demo
from crossview.errors import InvalidValue


def test_the_demo_measures_every_matcher_on_both_kinds_and_writes_what_it_returns(tmp_path):
    settings = DemoSettings(side_m=240.0, stride_m=30.0, pictures=3, extras=1)
    result = run_demo(settings, tmp_path / "out")
    assert json.loads((tmp_path / "out/summary.json").read_text()) == result
    for kind in COMPARED:
        assert set(result[kind]) == {"model", "colour_histogram", "random_network"}
        assert all(row["n"] == 3 for row in result[kind].values())
    assert (tmp_path / "out/map.html").stat().st_size > 100_000


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InvalidValue, match="holds other files"):
        run_demo(DemoSettings(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
