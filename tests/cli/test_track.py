"""``crossview track``: photos and videos in, a way out."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
from PIL import Image
from tests.index.regions import indexed, region
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.cli import main
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import Tiling, cut_windows
from crossview.localization import locate as finding
from crossview.views.aerial import make_aerial_view

TOY = ToyEmbedder(toy_info(azimuth_bins=8))
WALK = (20, 21, 22, 23)  # windows side by side


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index, panoramas that look like windows of it along a way, and their places."""
    folder = tmp_path_factory.mktemp("way")
    source = region(folder)
    index = indexed(folder, embedder=TOY, paths=[source], stride_m=20.0)
    with open_sources([source]) as imagery:
        windows = list(cut_windows(imagery, Tiling(footprint_m=40.0, stride_m=20.0)))
    rows = ["file,lat,lon"]
    (folder / "walk").mkdir()
    for n, number in enumerate(WALK):
        window = windows[number]
        view = make_aerial_view(window.pixels, window.metres_per_px, TOY.info.aerial)
        panorama = np.pad(view, ((8, 8), (0, 0), (0, 0)))
        Image.fromarray(panorama).save(folder / "walk" / f"{n}.png")
        rows.append(f"walk/{n}.png,{window.lat},{window.lon}")
    (folder / "places.csv").write_text("\n".join(rows), encoding="utf-8")
    return index


@pytest.fixture(autouse=True)
def _toy_model(monkeypatch):
    monkeypatch.setattr(finding, "get_index_model", lambda index, **_: TOY)


def run(made, *arguments, pictures="walk", order=("--order", "name")):
    way = str(made.path.parent / pictures)
    return main(["track", way, *order, "--index", str(made.path), *map(str, arguments)])


def test_a_walk_is_written_and_compared_with_its_places(made, tmp_path, capsys):
    out, page = tmp_path / "way.geojson", tmp_path / "way.html"
    truth = made.path.parent / "places.csv"
    assert run(made, "--out", out, "--map", page, "--truth", truth) == 0
    features = json.loads(out.read_text())["features"]
    points = [f for f in features if f["properties"]["role"] == "point"]
    assert len(points) == 4
    assert max(f["properties"]["error_m"] for f in points) < 10.0
    assert "<html" in page.read_text()[:200]
    assert run(made) == 0
    assert "3.png" in capsys.readouterr().out


def test_a_video_is_followed_from_its_frames(made, tmp_path, capsys):
    path = tmp_path / "drive.mp4"
    scene = np.random.default_rng(0).integers(0, 256, (12, 80, 3)).astype(np.uint8)
    scene = scene.repeat(10, axis=0).repeat(10, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for n in range(25):
            frame = av.VideoFrame.from_ndarray(scene[:, 4 * n : 4 * n + 160], format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    arguments = [str(path), "--index", str(made.path), "--fov", "90", "--format", "csv"]
    assert main(["track", *arguments, "--start", "2024-05-01T12:00:00Z"]) == 0
    printed = capsys.readouterr().out
    assert "2024-05-01T12:00:0" in printed
    assert "drive.mp4 at" in printed
    assert main(["track", *arguments, "--start", "noon"]) == 2
    assert main(["track", str(path), str(path), "--index", str(made.path)]) == 2
    assert "Give the video alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "order", "code", "said"),
    [
        ((), (), 2, "--order name"),
        (("--odometry", "long.csv"), ("--order", "name"), 2, "4 pictures have 3 between them"),
        (("--foreign", "1"), ("--order", "name"), 2, "foreign"),
        (("--truth", "none.gpx"), ("--order", "name"), 1, "no track at"),
        (("--map", "way.gpx"), ("--order", "name"), 2, "--map writes a page"),
        (("--out", "way.xyz"), ("--order", "name"), 2, "no format has the ending"),
    ],
)
def test_what_is_wrong_is_said(made, tmp_path, monkeypatch, capsys, arguments, order, code, said):  # noqa: PLR0917
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.csv").write_text("metres\n1\n1\n1\n1\n")
    assert run(made, *arguments, order=order) == code
    assert said in capsys.readouterr().err


def test_without_pictures_the_argument_is_asked_for(made, capsys):
    assert main(["track", "--index", str(made.path)]) == 2
    assert "PHOTO|VIDEO" in capsys.readouterr().err
