"""The benchmark of real pairs: what a folder must say, what is shown, what is counted."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from tests.localization.fake_index import toy

from benchmarks import real
from crossview.errors import BadData, BadImagery

EMBEDDER = toy(bins=8)  # footprints of 40 m


def sphere(seed):
    """A panorama [128, 256, 3] of coloured sectors, and the same ground from above, [100, 100, 3].

    Of the latter 0.5 m a pixel, sectors about its centre; only 40 of its 50 m are looked at.
    """
    rng = np.random.default_rng(seed)
    sectors = rng.integers(0, 256, (16, 3)).astype(np.uint8)
    panorama = np.broadcast_to(sectors.repeat(16, axis=0), (128, 256, 3))
    down, right = np.mgrid[:100, :100] - 49.5
    azimuth = np.degrees(np.arctan2(right, -down))  # 0 up, clockwise
    return panorama, sectors[((azimuth + 180.0) / 22.5).astype(int) % 16]


@pytest.fixture
def folder(tmp_path):
    """Six pairs whose panoramas look into known directions; nothing about a licence yet."""
    rows = ["ground,aerial,metres_per_px,heading_deg,fov_deg"]
    for n in range(6):
        panorama, above = sphere(n)
        turned = np.roll(panorama, -32 * n, axis=1)  # by 45 degrees each
        for name, pixels in (("ground", turned), ("aerial", above)):
            Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{name}-{n}.png")
        rows.append(f"ground-{n}.png,aerial-{n}.png,0.5,{45 * n},360")
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def measure(folder, fields=(360.0,)):
    shots, candidates = real.read_pairs(folder)
    return real.measure_pairs(shots, candidates, {"toy": EMBEDDER}, fields)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("LICENCE", "Mine.\n", "LICENCE: Mine."),
        ("license.txt", "CC BY 4.0", "license.txt: CC BY 4.0"),
        ("README.md", "# Photos\nLicence: CC0\n", "README.md: Licence: CC0"),
        ("LICENCE", "Photos CC0.\n\n Map CC BY.", "LICENCE: Photos CC0. Map CC BY."),
        ("pairs.json", '{"licence": "CC BY"}', "pairs.json: CC BY"),
    ],
)
def test_a_folder_says_whose_its_pictures_are(folder, name, text, said):
    (folder / name).write_text(text)
    assert real.read_licence(folder) == said


@pytest.mark.parametrize(("name", "text"), [("README", "Nice photos."), ("LICENCE", "\n")])
def test_a_folder_that_does_not_is_refused(folder, name, text, capsys):
    (folder / name).write_text(text)
    with pytest.raises(BadData, match="says nothing of the licence"):
        real.read_licence(folder)
    assert real.main([str(folder)]) != 0
    assert "LICENCE" in capsys.readouterr().err


def test_panoramas_find_their_pictures_with_and_without_their_headings(folder):
    table = measure(folder)
    for heading in ("known", "unknown"):
        figures = table["toy"][f"360, heading {heading}"]
        assert (figures["n"], figures["percentile"], figures["recall_at_1"]) == (6, 0.0, 1.0)
    assert table["chance"]["recall_at_1"] == round(1 / 6, 4)


def test_a_wrong_heading_loses_them(folder):
    text = (folder / "pairs.csv").read_text()
    for n in range(6):
        text = text.replace(f"0.5,{45 * n},360", f"0.5,{45 * n + 135},360")
    (folder / "pairs.csv").write_text(text)
    figures = measure(folder)["toy"]
    assert figures["360, heading known"]["percentile"] > 10.0
    assert figures["360, heading unknown"]["percentile"] == 0.0


def test_photos_are_cut_about_directions_of_their_own_which_their_headings_follow(folder):
    figures = measure(folder, (90.0, 180.0))["toy"]
    for fov in ("90", "180"):
        assert figures[f"{fov}, heading known"]["percentile"] <= 5.0


def test_an_aerial_picture_without_a_window_is_named(folder):
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(folder / "aerial-3.png")
    with pytest.raises(BadImagery, match=r"1 aerial pictures give no window .*aerial-3.png"):
        measure(folder)


def test_a_list_without_metres_takes_them_from_the_command_line(folder):
    rows = (folder / "pairs.csv").read_text().splitlines()[1:]
    cells = [row.split(",") for row in rows]
    (folder / "pairs.csv").write_text(
        "ground,aerial,compass_deg\n" + "".join(f"{c[0]},{c[1]},{c[3]}\n" for c in cells)
    )
    shots, candidates = real.read_pairs(folder, width_m=50.0)
    assert [shot.heading_deg for shot in shots] == [0, 45, 90, 135, 180, 225]
    assert all(math.isnan(shot.fov_deg) and not shot.panorama for shot in shots)
    assert candidates.metres_per_px.tolist() == [0.5] * 6
    assert real.list_fields(shots, (360.0, 90.0)) == pytest.approx((math.nan,), nan_ok=True)


def test_figures_are_means_over_pictures_with_intervals_over_clusters():
    found = np.array([[0.0, 1.0], [3.0, 2.0], [10.0, math.inf], [5.0, 11.0]])
    figures = real.summarise(found, 10, ["a", "a", "b", "b"], by_place=False)
    assert (figures["n"], figures["clusters"]) == (4, 2)
    assert figures["percentile"] == 45.0  # of 0, 30, 100, 50
    assert figures["standard_error"] == pytest.approx(
        np.std([15, 75], ddof=1) / np.sqrt(2), abs=0.01
    )
    assert figures["percentile_interval"] == [15.0, 75.0]
    assert [figures[f"recall_at_{k}"] for k in (1, 5, 10)] == [0.25, 0.5, 0.75]
    assert "gain" not in figures
    other = real.summarise(found, 10, list("aabb"), by_place=False, first=np.full(4, 0.6))
    assert (other["gain"], other["gain_interval"]) == (15.0, [-15.0, 45.0])
    placed = real.summarise(found, 10, ["a", "a", "b", "b"], by_place=True)
    assert [placed[f"recall_at_{k}"] for k in (1, 5, 10)] == [0.25, 0.5, 0.5]


@pytest.mark.parametrize("turn", [0.0, 90.0, -170.0])
@pytest.mark.parametrize("fov", [90.0, 60.0])
def test_a_photo_cut_out_of_a_panorama_shows_what_a_pinhole_sees(turn, fov):
    """Every 40th pixel against its direction; columns and rows are told by their colours."""
    columns, rows = np.arange(512) % 256, np.arange(256)
    panorama = np.zeros((256, 512, 3), np.uint8)
    panorama[..., 0], panorama[..., 1] = columns, rows[:, None]
    panorama[:, 256:, 2] = 200
    photo = real.cut_panorama(panorama, fov, turn)
    height, width = photo.shape[:2]
    assert height == round(width / (4 / 3))
    focal = width / 2.0 / math.tan(math.radians(fov / 2.0))
    for row in range(20, height, 40):
        for column in range(20, width, 40):
            right, up = column + 0.5 - width / 2.0, height / 2.0 - row - 0.5
            azimuth = math.degrees(math.atan2(right, focal)) + turn
            elevation = math.degrees(math.atan2(up, math.hypot(focal, right)))
            x = (azimuth / 360.0 + 0.5) % 1.0 * 512 - 0.5
            y = (0.5 - elevation / 180.0) * 256 - 0.5
            if min(x % 256, 256 - x % 256) > 2.0:  # away from the seams of the colours
                assert photo[row, column, 0] == pytest.approx(x % 256, abs=0.6)
            assert photo[row, column, 1] == pytest.approx(y, abs=0.6)


def test_a_wide_cut_keeps_whole_columns_around_its_direction():
    panorama = np.zeros((10, 360, 3), np.uint8)
    panorama[:, :, 0] = np.arange(360) // 2
    cut = real.cut_panorama(panorama, 180.0, 90.0)
    assert cut.shape == (10, 180, 3)
    assert (cut[0, 0, 0], cut[0, -1, 0]) == (90, 179)  # azimuths 0 to 180


def test_the_result_is_one_json_line_and_a_file(folder, capsys):
    (folder / "LICENCE").write_text("CC0\n")
    out = folder / "figures.json"
    assert real.main([str(folder), "--fov", "360", "--no-histogram", "--out", str(out)]) != 0
    assert "footprint" in capsys.readouterr().err  # town's windows are of 80 m
    text = (folder / "pairs.csv").read_text().replace(",0.5,", ",1.0,")
    (folder / "pairs.csv").write_text(text)
    assert real.main([str(folder), "--fov", "360", "--out", str(out)]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    written = json.loads(out.read_text())
    assert line["table"] == written["table"]
    assert set(line["table"]) == {"town", "colour histogram", "chance"}
    assert line["table"]["colour histogram"]["360, heading known"] is None
    assert written["licence"] == "LICENCE: CC0"
    assert written["command"].startswith("python -m benchmarks.real")
