"""The whole path, from pictures on the disk to scores, gives what a script of five lines gives.

The script knows where every aerial picture's centre is and turns the panorama itself; index and
locate must not lose anything on the way: not by windows beside the centre, not by steps of turns.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import crossview
from crossview.cli import main
from crossview.model import open_model
from crossview.views.aerial import make_aerial_view
from crossview.views.ground import make_ground_view

HEADINGS_DEG = (0.0, 12.0, 33.0, 101.25, -64.5, 174.0)
SCALE_M = 0.4


def spots(seed, rows, columns):
    """Smooth random colours that meet at the left and right edges."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (rows // 16, columns // 16, 3)).astype(np.uint8)
    wide = np.concatenate([coarse, coarse, coarse], axis=1)
    fine = cv2.resize(wide, (3 * columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(fine[:, columns : 2 * columns])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Panoramas cut as those of CVUSA (65 of 180 degrees high), and pictures of 176 m."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = ["file,lat,lon,metres_per_px"]
    for n in range(len(HEADINGS_DEG)):
        Image.fromarray(spots(n, 224, 1232)).save(folder / f"ground-{n}.png")
        Image.fromarray(spots(50 + n, 440, 440)).save(folder / f"aerial-{n}.png")
        rows.append(f"aerial-{n}.png,{10 + 0.1 * n},20.0,{SCALE_M}")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def index(pictures):
    return crossview.build_index(
        pictures / "images.csv", pictures / "i.cvx", "town", stride_m=176.0, demo_only=True
    )


def read(path):
    return np.asarray(Image.open(path))


def score_exactly(pictures, n, fov_deg):
    """Cosines [6] of picture n, turned until north is in its middle, with all aerial pictures."""
    model = open_model("town")
    panorama = read(pictures / f"ground-{n}.png")
    width = panorama.shape[1]
    kept = round(width * fov_deg / 360.0)
    sector = np.full_like(panorama, np.array(model.info.ground.mean_colour))
    first = (width - kept) // 2
    sector[:, first : first + kept] = panorama[:, first : first + kept]
    north = np.roll(sector, round(HEADINGS_DEG[n] / 360.0 * width), axis=1)
    strip = make_ground_view(north, "panorama", model.info.ground, fov_deg=360.0)
    above = [
        make_aerial_view(
            np.ascontiguousarray(read(pictures / f"aerial-{k}.png")), SCALE_M, model.info.aerial
        )
        for k in range(len(HEADINGS_DEG))
    ]
    query, refs = model.ground(strip[None])[0], model.aerial(np.stack(above))
    directions = np.arange(360) + 0.5 - 180.0
    off = np.abs((directions - HEADINGS_DEG[n] + 180.0) % 360.0 - 180.0)
    weight = (off <= fov_deg / 2.0).reshape(30, 12).mean(axis=1)[:, None]
    q, r = query.reshape(30, -1), refs.reshape(len(refs), 30, -1)
    dots = (weight * q * r).sum(axis=(1, 2))
    return dots / np.sqrt((weight * q * q).sum() * (weight * r * r).sum(axis=(1, 2)))


@pytest.mark.parametrize("n", range(len(HEADINGS_DEG)))
@pytest.mark.parametrize("fov_deg", [360.0, 180.0])
def test_a_known_heading_scores_as_the_exact_turn_does(pictures, index, n, fov_deg):
    panorama = read(pictures / f"ground-{n}.png")
    kept = round(1232 * fov_deg / 360.0)
    part = np.ascontiguousarray(panorama[:, (1232 - kept) // 2 :][:, :kept])
    exact = score_exactly(pictures, n, fov_deg)
    answer = crossview.locate(index, part, fov_deg=fov_deg, heading_deg=HEADINGS_DEG[n], places=6)
    assert index.count == len(HEADINGS_DEG)
    assert answer.scores == pytest.approx(exact, abs=0.03)
    for place in answer.places:
        off = (place.heading_deg - HEADINGS_DEG[n] + 180.0) % 360.0 - 180.0
        assert abs(off) <= 0.76 or abs(place.score - exact[place.window]) > 1e-3
    free = crossview.locate(index, part, fov_deg=fov_deg, places=6)
    assert (free.scores >= exact - 0.03).all()
    assert (free.scores - exact).max() > 0.03  # of thirty turns the best


def test_the_command_line_says_the_same(pictures, index, capsys):
    n = 4
    command = ["locate", str(pictures / f"ground-{n}.png"), "--index", str(index.path)]
    options = ["--fov", "360", "--heading", str(HEADINGS_DEG[n]), "--format", "jsonl"]
    assert main([*command, *options, "--places", "6", "--quiet"]) == 0
    places = json.loads(capsys.readouterr().out.splitlines()[0])["places"]
    exact = sorted(score_exactly(pictures, n, 360.0), reverse=True)
    assert [place["score"] for place in places] == pytest.approx(exact, abs=0.03)
