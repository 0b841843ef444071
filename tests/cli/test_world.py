"""``crossview world --from``: pairs of a real orthophoto, and what it refuses."""

from __future__ import annotations

import json

import pytest

from crossview.cli import main
from crossview.worlds.camera import render_orthophoto
from crossview.worlds.town import build_town
from crossview.worlds.write import write_geotiff


@pytest.fixture(scope="module")
def map_file(tmp_path_factory):
    town = build_town("suburb", 20_006, 200.0)
    path = tmp_path_factory.mktemp("region") / "city.tif"
    write_geotiff(path, town, render_orthophoto(town))
    return path


def draw(map_file, out, *others):
    line = ["world", "--from", map_file, "--out", out, "--keep", 0, "--workers", 1, "--quiet"]
    return main([str(part) for part in (*line, *others)])


def test_pairs_and_a_sheet_are_written_and_the_same_command_finds_them_done(
    map_file, tmp_path, capsys
):
    out = tmp_path / "worlds"
    assert draw(map_file, out, "--pairs", 4, "--attribution", "the town") == 0
    said = capsys.readouterr().out
    assert "The pictures from above are the imagery's own" in said
    assert {"pairs.csv", "pairs.json", "sheet.png"} <= {path.name for path in out.iterdir()}
    assert "the town" in json.loads((out / "pairs.json").read_text())["licence"]
    before = (out / "pairs.csv").stat().st_mtime_ns
    (out / "sheet.png").unlink()  # as a command leaves it that is killed near its end
    assert draw(map_file, out, "--pairs", 4) == 0
    assert (out / "pairs.csv").stat().st_mtime_ns == before
    assert (out / "sheet.png").exists()
    assert draw(map_file, out, "--pairs", 4, "--seed", 1) != 0
    assert "not of these worlds" in capsys.readouterr().err


def test_a_list_of_somebody_else_is_not_replaced(map_file, tmp_path, capsys):
    (tmp_path / "pairs.csv").write_text("ground,aerial\na.jpg,b.jpg\n")
    assert draw(map_file, tmp_path) != 0
    assert "already holds pairs.csv" in capsys.readouterr().err
    assert (tmp_path / "pairs.csv").read_text().startswith("ground,aerial\na.jpg")


def test_what_belongs_to_worlds_of_imagery_is_refused_for_a_town(tmp_path, capsys):
    assert main(["world", "--out", str(tmp_path / "town"), "--heights", "dsm.tif"]) != 0
    assert "--from city.tif" in capsys.readouterr().err
    assert not (tmp_path / "town").exists()
