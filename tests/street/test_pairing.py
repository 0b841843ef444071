"""Photos and imagery in, pairs out: true windows, what is left out, and folders that vouch."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import cv2
import numpy as np
import pyproj
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from tests.shared_data import shared

from crossview import catalogue
from crossview.cli import gather, main, pairs
from crossview.errors import BadData, EmptyRegion, InvalidValue, TooCoarse
from crossview.geo.points import LatLon, move_point
from crossview.imagery.sources import open_sources
from crossview.lists import read_table
from crossview.street.pairing import (
    PairingOptions,
    PairingReport,
    choose_view,
    hash_picture,
    make_pairs,
    read_report,
)
from crossview.street.street_photos import SelectionOptions, StreetPhoto

HERE = LatLon(52.5, 13.4)
WHOLE = {"footprint_m": 40.0, "val_share": 0.0, "test_share": 0.0}


def write_map(path: Path, crs: int, centre: LatLon, pixels: np.ndarray, px_m: float) -> None:
    """A GeoTIFF of ``pixels`` about a place; ``px_m`` in units of the reference system."""
    to_xy = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    x, y = to_xy.transform(centre.lon, centre.lat)
    rows, columns = pixels.shape[:2]
    corner = from_origin(x - columns / 2 * px_m, y + rows / 2 * px_m, px_m, px_m)
    with rasterio.open(
        path, "w", driver="GTiff", width=columns, height=rows, count=3, dtype="uint8",
        crs=f"EPSG:{crs}", transform=corner,
    ) as raster:  # fmt: skip
        raster.write(pixels.transpose(2, 0, 1))


def texture(seed: int, rows: int = 60, columns: int = 80) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(60, 250, (8, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)


def write_photo(folder: Path, name: str, pixels: np.ndarray) -> Path:
    path = folder / name
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def town(tmp_path):
    """A map of 200 m, 0.5 m a pixel, and photos along a road to the north."""
    write_map(tmp_path / "map.tif", 25833, HERE, texture(99, 400, 400), 0.5)
    photos = [
        StreetPhoto(
            id=f"p{n}", service="own", fov_deg=70.0, heading_deg=10.0 * n,
            place=move_point(HERE, east_m=0.0, north_m=-75.0 + 15.0 * n),
            file=write_photo(tmp_path, f"p{n}.png", texture(n)),
        )
        for n in range(11)
    ]  # fmt: skip
    return tmp_path, photos


def pair(town, photos=None, **options) -> PairingReport:
    folder, usual = town
    with open_sources([folder / "map.tif"]) as imagery:
        return make_pairs(
            usual if photos is None else photos, imagery, folder / "out",
            PairingOptions(**(WHOLE | options)),
        )  # fmt: skip


@pytest.mark.parametrize("crs", [25833, 25832, 3857, 3067])
def test_windows_lie_where_proj_says(tmp_path, crs):
    """Berlin's orthophotos under Helsinki's photos, in four reference systems; 0.5 m is allowed."""
    tiles = json.loads((shared("data", "berlin_dop") / "tiles.json").read_text())["tiles"]
    grounds = sorted(shared("data", "helsinki").glob("*/ground.jpg"))
    sources, rows, offsets = [], [], ((0.0, 0.0), (6.3, -4.2), (-7.1, 5.6))
    for n, tile in enumerate(tiles):
        centre = LatLon(tile["lat"], tile["lon"])
        pixels = cv2.imread(str(shared("data", "berlin_dop") / tile["file"]))[..., ::-1]
        px_m = 0.5 / np.cos(np.radians(centre.lat)) if crs == 3857 else 0.5
        sources.append(tmp_path / f"{n}.tif")
        write_map(sources[-1], crs, centre, pixels, px_m)
        place = move_point(centre, east_m=offsets[n % 3][0], north_m=offsets[n % 3][1])
        rows.append(f"{grounds[n]},{place.lat!r},{place.lon!r},{40 * n}")
    (tmp_path / "photos.csv").write_text("file,lat,lon,heading_deg\n" + "\n".join(rows) + "\n")
    imagery = [word for path in sources for word in ("--imagery", str(path))]
    words = ["--fov", "75", "--workers", "0", "--quiet", "--keep-val", "0", "--keep-test", "0"]
    out = tmp_path / "out"
    assert main(["pairs", str(tmp_path / "photos.csv"), *imagery, "--out", str(out), *words]) == 0
    table = list(read_table(out / "pairs.csv", needed=("ground", "aerial")))
    assert len(table) == len(tiles)
    earth = pyproj.Geod(ellps="WGS84")
    to_lonlat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    for row in table:
        n = [str(one) for one in grounds].index(row.text("ground"))
        window = cv2.imread(str(out / row.text("aerial")))
        with rasterio.open(sources[n]) as raster:
            whole, transform = raster.read().transpose(1, 2, 0)[..., ::-1], raster.transform
        _, best, _, corner = cv2.minMaxLoc(
            cv2.matchTemplate(np.ascontiguousarray(whole), window, cv2.TM_CCOEFF_NORMED)
        )
        assert best > 0.9  # Mercator's oblong pixels are made square, and shift by half of one
        height, width = window.shape[:2]
        lat, lon = row.number("aerial_lat"), row.number("aerial_lon")
        px_m, up = row.number("metres_per_px"), row.number("up_bearing_deg")
        assert min(height, width) * px_m >= 103.9
        for right, down in ((0, 0), (1, 0), (1, 1), (0, 1)):
            x, y = transform @ (corner[0] + right * width, corner[1] + down * height)
            true_lon, true_lat = to_lonlat.transform(x, y)
            east, north = (right - 0.5) * width * px_m, (0.5 - down) * height * px_m
            bearing = up + np.degrees(np.arctan2(east, north))
            said_lon, said_lat, _ = earth.fwd(lon, lat, bearing, np.hypot(east, north))
            _, _, away_m = earth.inv(true_lon, true_lat, said_lon, said_lat)
            assert away_m < 0.5
        _, _, off_m = earth.inv(lon, lat, row.number("ground_lon"), row.number("ground_lat"))
        assert off_m < 1.0  # the photo's place is within a pixel of the middle


def test_helsinki_with_its_own_imagery(tmp_path):
    """Ten real photos over pictures of a list, north up: each in the middle of its own."""
    home = shared("data", "helsinki")
    aerials, photos = ["file,lat,lon,width_m"], ["file,lat,lon,heading_deg,fov_deg"]
    for row in read_table(home / "pairs.csv", needed=("ground",)):
        place = f"{row.text('lat')},{row.text('lon')}"
        aerials.append(f"{home / row.text('aerial')},{place},200")
        photos.append(f"{home / row.text('ground')},{place},{row.text('compass_deg')},75")
    (tmp_path / "aerials.csv").write_text("\n".join(aerials) + "\n")
    (tmp_path / "photos.csv").write_text("\n".join(photos) + "\n")
    out = tmp_path / "out"
    words = ["--imagery", str(tmp_path / "aerials.csv"), "--out", str(out), "--workers", "0"]
    assert main(["pairs", str(tmp_path / "photos.csv"), *words, "--quiet"]) == 0
    report = read_report(out / "report.json")
    assert report.count_splits() == {"train": 8, "val": 1, "test": 1}
    assert not report.left_out
    assert all(pair.heading_deg is not None for pair in report.pairs)
    tables = catalogue.open_data(f"pairs:{out / 'pairs.csv'}").tables
    for table in tables.values():
        for file, aerial in zip(table.ground, table.aerial, strict=True):
            whole = cv2.imread(str(file.parent / "aerial.jpg"))
            window = cv2.imread(str(aerial))
            found = cv2.matchTemplate(whole, window, cv2.TM_CCOEFF_NORMED)
            assert cv2.minMaxLoc(found)[3] == (120, 120)  # (500 - 260) / 2


def test_the_list_is_one_that_training_reads(town):
    report = pair(town, val_share=0.2, test_share=0.2)
    data = catalogue.open_data(f"pairs:{town[0] / 'out' / 'pairs.csv'}")
    assert {split: len(table) for split, table in data.tables.items()} == report.count_splits()
    assert report.count_rules() == {"line": len(town[1]) - len(report.pairs)}
    assert data.tables["train"].perspective.all()
    assert len(data.tables["train"].ignored) > 0  # photos 15 m apart see each other's ground


def test_done_again_nothing_is_done_and_other_pairs_are_not_replaced(town):
    first = pair(town)
    files = {path: path.stat().st_mtime_ns for path in (town[0] / "out").rglob("*")}
    assert pair(town) == first
    assert {path: path.stat().st_mtime_ns for path in (town[0] / "out").rglob("*")} == files
    with pytest.raises(InvalidValue, match="--overwrite"):
        pair(town, footprint_m=30.0)
    assert pair(town, footprint_m=30.0, overwrite=True).footprint_m == 30.0
    names = {path.name for path in (town[0] / "out" / "windows").iterdir()}
    assert len(names) == len(first.pairs)
    assert "inspected.jsonl" not in {path.name for path in (town[0] / "out").iterdir()}


def test_a_list_of_somebody_else_is_left_alone(town):
    (town[0] / "out").mkdir()
    (town[0] / "out" / "pairs.csv").write_text("ground,aerial\n")
    with pytest.raises(InvalidValue, match="not of these pairs"):
        pair(town)
    assert (town[0] / "out" / "pairs.csv").read_text() == "ground,aerial\n"


def test_every_photo_is_paired_or_left_out_for_a_reason(town):
    folder, photos = town
    there = photos[0].place
    more = {
        "copy": (texture(0), there, 70.0),  # of p0
        "smaller": (cv2.resize(texture(1), (40, 30)), photos[1].place, 70.0),
        "dark": (texture(50) // 8, there, 70.0),
        "far": (texture(51), LatLon(53.0, 13.4), 70.0),
        "plain": (texture(52), there, None),
    }  # fmt: skip
    extra = [
        StreetPhoto(
            id=name, service="own", place=place, fov_deg=fov, heading_deg=200.0,
            file=write_photo(folder, f"{name}.png", pixels),
        )
        for name, (pixels, place, fov) in more.items()
    ]  # fmt: skip
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    torn = StreetPhoto(id="torn", service="own", place=there, file=folder / "torn.jpg")
    report = pair(town, [*photos, *extra, torn])
    assert {one.photo: one.rule for one in report.left_out} == {
        "own-copy": "repeat",
        "own-smaller": "near-duplicate",
        "own-dark": "night",
        "own-far": "outside",
        "own-plain": "field of view",
        "own-torn": "unreadable",
    }
    text = (folder / "out" / "report.md").read_text()
    assert all(one.photo in text and one.why in text for one in report.left_out)


def test_licences_of_others_are_named_one_by_one(town):
    folder, photos = town
    theirs = StreetPhoto(
        id="x1", service="panoramax", place=HERE, fov_deg=70.0, file=photos[0].file,
        licence="CC BY-SA 4.0", licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        attribution="A | <b>B</b>", page_url="https://example.org/x1",
    )  # fmt: skip
    pair(town, [theirs, *photos[1:]])
    text = (folder / "out" / "ATTRIBUTION.md").read_text()
    assert "panoramax-x1 | A \\| &lt;b>B&lt;/b>" in text
    assert "10 photos are of one's own" in text
    assert "CC BY-SA 4.0" in json.loads((folder / "out" / "pairs.json").read_text())["licence"]


def test_what_cannot_be_paired_is_said(town):
    photos = town[1]
    with pytest.raises(BadData, match="No photo"):
        pair(town, [])
    with pytest.raises(BadData, match="must be unique"):
        pair(town, [photos[0], photos[0]])
    with pytest.raises(EmptyRegion, match="outside"):
        far = [StreetPhoto(id="a", service="own", place=LatLon(0.0, 0.0), file=photos[0].file)]
        pair(town, far)
    with pytest.raises(TooCoarse, match="finer"):
        pair(town, coarsest_m=0.3)
    away = StreetPhoto(id="b", service="panoramax", place=HERE, url="http://127.0.0.1/b.jpg")
    with pytest.raises(BadData, match="fetch"):
        pair(town, [away])


def test_the_most_are_drawn_of_what_can_be_used(town):
    report = pair(town, selection=SelectionOptions(most=4))
    assert len(report.pairs) == 4
    assert report.count_rules()["balance"] == len(town[1]) - 4


@pytest.mark.parametrize(
    ("stated", "file_kind", "file_fov", "expected"),
    [
        (360.0, "perspective", None, ("panorama", 360.0)),
        (None, "panorama", 360.0, ("panorama", 360.0)),
        (None, "panorama", 180.0, ("panorama", 180.0)),
        (90.0, "panorama", 360.0, ("perspective", 90.0)),
        (None, "perspective", 66.0, ("perspective", 66.0)),
        (None, "perspective", None, ("perspective", None)),
        (None, "panorama", None, ("panorama", None)),
    ],
)
def test_kinds_are_told_apart(stated, file_kind, file_fov, expected):
    photo = StreetPhoto(id="a", service="own", place=HERE, fov_deg=stated, file=Path("a.jpg"))
    assert choose_view(photo, file_kind, file_fov) == expected


def test_copies_share_a_hash_and_other_pictures_do_not():
    def differ(one: np.ndarray, other: np.ndarray) -> int:
        return (int(hash_picture(one), 16) ^ int(hash_picture(other), 16)).bit_count()

    picture = texture(1, 240, 320)
    assert differ(picture, cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA)) <= 2
    assert differ(picture, texture(2, 240, 320)) > 15


@pytest.mark.parametrize("name", ["pairs", "gather"])
def test_what_is_not_typed_is_what_python_takes(name):
    """The numbers of the command line and those of the records are the same ones."""
    typed = {
        p.name: p.default
        for p in inspect.signature(
            {"pairs": pairs.pairs, "gather": gather.gather}[name]
        ).parameters.values()
    }
    pairing, selection = PairingOptions(), SelectionOptions()
    kept = {"pairs": "max_error", "gather": "max_position_error"}[name]
    assert typed["footprint"] == pairing.footprint_m
    assert typed[kept] == selection.max_sigma_m
    assert typed["seed"] == selection.seed
    if name == "pairs":
        assert (typed["keep_val"], typed["keep_test"]) == (pairing.val_share, pairing.test_share)
