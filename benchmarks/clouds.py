"""Models on renders of real coloured point clouds, among all windows of the real imagery around.

    python -m benchmarks.clouds DATA RENDERS                    align, render, measure `town`
    python -m benchmarks.clouds DATA RENDERS --model MODEL ...  what is rendered already is kept

DATA holds helsinki/ (ten places: an orthophoto of 250 m and a coloured cloud of 100 m each) and
berlin_dop/ (more imagery, without clouds). A cloud is first laid onto its orthophoto; places where
that fails are left out, and said. Renders are pictures of real geometry in its real colours, with a
sky of ours and no weather: they are tests of skill beyond the towns, no street photos, and nothing
may be trained on them.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import real
from crossview.arrays import F32, F64, U8, Bool
from crossview.errors import CrossviewError
from crossview.files import atomic_write
from crossview.lists import read_table
from crossview.views.decode import read_rgb

CRS = "EPSG:3067"  # ETRS-TM35FIN, the grid of the orthophotos
CLOUD_CRS = "EPSG:3879"  # ETRS-GK25, the grid of the city's clouds
CLOUD_M = 100.0
CELL_M = 0.5  # of the view from above, as the orthophotos are
TEMPLATE_M, REACH_M = 80.0, 40.0  # of a cloud's view; how far from the middle it is looked for
LEAST_MATCH, LEAST_LEAD = 1.2, 0.3  # of three correlations: at the best place, and above any other
ELSEWHERE_M = 8.0
EYE_M = (1.7, 2.8)  # above the ground, as street cameras are carried and driven
CLEARANCE_M = 2.5  # around a camera, without anything higher than STEP_M
STEP_M = 0.6
APART_M = 1.0  # of cameras
EDGE_M = 18.0  # from the cloud's edge, beyond which there is nothing to see
GREEN = 1.06  # times as green as red: grass and crowns, where no camera stands
SPLAT_M, MOST_SPLAT_PX = 0.34, 48  # side of what a point covers
SIZE_PX = (1024, 512)
FARTHEST_HOLE_PX, SMOOTHED_PX = 5, 5
LICENCE = """Renders of coloured point clouds of Helsinki, made by benchmarks/clouds.py.
3D data City of Helsinki, CC BY 4.0; orthophotos National Land Survey of Finland, CC BY 4.0.
Through the CVH3D data set (Khan, Rodrigues, Tani, IGARSS 2025). Renders: CC BY 4.0, as the clouds.
For tests only; no model may be trained on them.
"""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Where a cloud's middle lies on its orthophoto, and how sure that is.

    ``east_m``, ``north_m``: from the orthophoto's centre. ``turn_deg``: what is north in the cloud
    points so far clockwise from the orthophoto's up. ``match``: the sum of three correlations
    there, at most 3; ``lead``: how much higher than anywhere more than 8 m away.
    """

    east_m: float
    north_m: float
    turn_deg: float
    match: float
    lead: float

    @property
    def is_sure(self) -> bool:
        """Whether renders of the cloud have a true place."""
        return self.match >= LEAST_MATCH and self.lead >= LEAST_LEAD


@dataclass(frozen=True, kw_only=True, eq=False)
class Cloud:
    """A cloud [N] on the metres of its own square: x east, y south from the north-west, z up."""

    xyz: F32
    rgb: U8
    top_m: F32  # [n, n] highest point of a cell of CELL_M
    ground_m: F32  # [n, n]
    above: U8  # [n, n, 3] colour of the highest point

    @staticmethod
    def read(path: Path) -> Cloud:
        """A cloud of ``xyz`` (metres east, north, up) and ``rgb``."""
        with np.load(path) as stored:
            xyz, rgb = stored["xyz"].astype(np.float64), stored["rgb"]
        middle = (xyz[:, :2].min(axis=0) + xyz[:, :2].max(axis=0)) / 2.0
        corner = middle + np.array([-CLOUD_M / 2.0, CLOUD_M / 2.0])
        east, south = xyz[:, 0] - corner[0], corner[1] - xyz[:, 1]
        return make_cloud(np.stack([east, south, xyz[:, 2]], axis=1).astype(np.float32), rgb)


def make_cloud(xyz: F32, rgb: U8) -> Cloud:
    """A cloud with its view from above and its ground: the lowest points around, smoothed."""
    import cv2

    cells = round(CLOUD_M / CELL_M)
    column, row = (np.clip((xyz[:, i] / CELL_M).astype(int), 0, cells - 1) for i in (0, 1))
    order = np.argsort(xyz[:, 2], kind="stable")
    above = np.zeros((cells, cells, 3), np.uint8)
    top = np.full((cells, cells), np.nan, np.float32)
    low = np.full((cells, cells), np.inf, np.float32)
    above[row[order], column[order]] = rgb[order]
    top[row[order], column[order]] = xyz[order, 2]
    np.minimum.at(low, (row, column), xyz[:, 2])
    empty = np.isnan(top)
    above = np.asarray(cv2.inpaint(above, empty.astype(np.uint8), 3, cv2.INPAINT_TELEA), np.uint8)
    filled = np.where(empty, np.float32(1e6), low)
    lowest = cv2.erode(filled, np.ones((13, 13), np.uint8))  # 5 m: narrower roofs have ground near
    ground = cv2.GaussianBlur(np.minimum(lowest, np.percentile(low[~empty], 95)), (0, 0), 3.0)
    top = np.where(empty, ground, top).astype(np.float32)
    return Cloud(xyz=xyz, rgb=rgb, top_m=top, ground_m=np.asarray(ground, np.float32), above=above)


# Where a cloud lies.


def align(cloud_above: U8, aerial: U8, turn_deg: float = 0.0) -> Alignment:
    """Lay a cloud's view from above onto its orthophoto; both have cells of ``CELL_M``.

    Of every place within ``REACH_M`` of the orthophoto's middle three correlations are added up, so
    that another season or another sun does not decide: of brightness and of greenness without slow
    changes, and of the axes of edges. ``turn_deg`` is known: the angle between the two grids.
    """
    import cv2

    cells = cloud_above.shape[0]
    side = round(TEMPLATE_M / CELL_M)
    first = (cells - side) // 2
    matrix = cv2.getRotationMatrix2D((cells / 2.0, cells / 2.0), -turn_deg, 1.0)  # clockwise
    turned = cv2.warpAffine(cloud_above, matrix, (cells, cells), borderMode=cv2.BORDER_REFLECT)
    match: Any = 0.0
    pairs = zip(_describe(aerial), _describe(np.asarray(turned, np.uint8)), strict=True)
    for scene, cloud in pairs:
        part = np.ascontiguousarray(cloud[first : first + side, first : first + side])
        edges = scene.ndim == 3
        rule = cv2.TM_CCORR_NORMED if edges else cv2.TM_CCOEFF_NORMED
        match = match + cv2.matchTemplate(scene, part, rule)
    home = (np.array(match.shape) - 1) / 2.0
    down, right = np.ogrid[: match.shape[0], : match.shape[1]]
    near = np.hypot(down - home[0], right - home[1]) * CELL_M <= REACH_M
    match = np.where(near, match, -np.inf)
    row, column = np.unravel_index(int(match.argmax()), match.shape)
    elsewhere = np.hypot(down - row, right - column) * CELL_M > ELSEWHERE_M
    return Alignment(
        east_m=float(column - home[1]) * CELL_M,
        north_m=float(home[0] - row) * CELL_M,
        turn_deg=turn_deg,
        match=float(match[row, column]),
        lead=float(match[row, column] - match[elsewhere].max()),
    )


def _describe(pixels: U8) -> tuple[F32, F32, F32]:
    """Brightness and greenness [h, w], and axes of edges [h, w, 2], all without slow changes."""
    import cv2

    def blur(values: Any, cells: float) -> Any:
        return cv2.GaussianBlur(values, (0, 0), cells)

    colours = pixels.astype(np.float32)
    grey = blur(colours.mean(axis=2), 1.5)
    off = grey - blur(grey, 20.0)
    bright = off / (np.sqrt(blur(off * off, 20.0)) + 4.0)
    red, green, blue = np.moveaxis(blur(colours, 3.0), 2, 0)
    lush = (green - 0.5 * (red + blue)) / (red + green + blue + 10.0)
    soft = blur(np.sqrt(colours.mean(axis=2)), 2.0)
    right, down = (cv2.Sobel(soft, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    steep = np.hypot(right, down)
    weight = np.minimum(steep / (blur(steep, 15.0) + 1e-3), 3.0)
    axis = 2.0 * np.arctan2(down, right)
    edges = np.dstack([weight * np.cos(axis), weight * np.sin(axis)]).astype(np.float32)
    return bright.astype(np.float32), (lush - blur(lush, 40.0)).astype(np.float32), edges


# Cameras and what they see.


def find_standing_room(cloud: Cloud) -> Bool:
    """Cells [n, n] where a street camera may stand: open, level ground that is not green."""
    import cv2

    low = (cloud.top_m - cloud.ground_m < STEP_M).astype(np.uint8)
    colours = cv2.GaussianBlur(cloud.above.astype(np.float32), (0, 0), 2.0)
    low &= (colours[..., 1] < GREEN * colours[..., 0]).astype(np.uint8)
    reach = 2 * round(CLEARANCE_M / CELL_M) + 1
    room = cv2.erode(low, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    edge = round(EDGE_M / CELL_M)
    room[:edge], room[-edge:], room[:, :edge], room[:, -edge:] = 0, 0, 0, 0
    return np.asarray(room > 0)


def draw_cameras(cloud: Cloud, count: int, rng: np.random.Generator) -> F64:
    """[at most count, 4]: east and south on the cloud, height of the eye, heading."""
    rows, columns = np.nonzero(find_standing_room(cloud))
    cameras: list[tuple[float, float, float, float]] = []
    for n in rng.permutation(len(rows)):
        east, south = (columns[n] + 0.5) * CELL_M, (rows[n] + 0.5) * CELL_M
        if all(math.hypot(east - c[0], south - c[1]) > APART_M for c in cameras):
            eye = float(cloud.ground_m[rows[n], columns[n]]) + float(rng.uniform(*EYE_M))
            cameras.append((east, south, eye, float(rng.uniform(0.0, 360.0))))
        if len(cameras) == count:
            break
    return np.array(cameras).reshape(-1, 4)


def render(cloud: Cloud, camera: F64, rng: np.random.Generator) -> U8:
    """A panorama [512, 1024, 3] from a camera (east, south, eye, heading), heading in its middle.

    Every point is a square that faces the camera; near ones cover far ones. What is above all
    points of a column is sky; holes take the colours around them, and beyond the cloud the ground
    goes on to the horizon. Exposure is drawn, and lifts dark clouds to the brightness of photos.
    """
    width, height = SIZE_PX
    off = cloud.xyz.astype(np.float64) - camera[:3]
    flat = np.hypot(off[:, 0], off[:, 1])
    far = np.hypot(flat, off[:, 2])
    seen = far > 0.5
    off, flat, far, rgb = off[seen], flat[seen], far[seen], cloud.rgb[seen]
    azimuth = np.degrees(np.arctan2(off[:, 0], -off[:, 1])) - camera[3]
    column = ((azimuth / 360.0 + 0.5) % 1.0) * width
    row = (0.5 - np.degrees(np.arctan2(off[:, 2], flat)) / 180.0) * height
    size = np.clip(SPLAT_M / far / (2.0 * np.pi) * width, 1.0, MOST_SPLAT_PX).round().astype(int)
    picture, hit = _draw_splats(column, row, size, far, rgb)
    land = _close_holes(picture, hit)
    return _paint_sky(_expose(land, hit, rng), hit, rng)


def _draw_splats(column: F64, row: F64, size: Any, far: F64, rgb: U8) -> tuple[U8, Bool]:
    """The nearest point's colour at every pixel, and where there is one."""
    width, height = SIZE_PX
    pixels, owners = [], []
    for side in np.unique(size):
        some = np.flatnonzero(size == side)
        steps = np.arange(side) - (side - 1) / 2.0
        columns = np.floor(column[some, None] + steps).astype(int) % width
        rows = np.floor(row[some, None] + steps).astype(int)
        inside = (rows >= 0) & (rows < height)
        cells = np.clip(rows, 0, height - 1)[:, :, None] * width + columns[:, None, :]
        kept = np.broadcast_to(inside[:, :, None], cells.shape)
        pixels.append(cells[kept])
        owners.append(np.broadcast_to(some[:, None, None], cells.shape)[kept])
    cell, owner = np.concatenate(pixels), np.concatenate(owners)
    order = np.argsort(-far[owner], kind="stable")  # near ones last: they stay
    nearest = np.full(width * height, -1)
    nearest[cell[order]] = owner[order]
    hit = nearest >= 0
    picture = np.zeros((width * height, 3), np.uint8)
    picture[hit] = rgb[nearest[hit]]
    return picture.reshape(height, width, 3), hit.reshape(height, width)


def _close_holes(picture: U8, hit: Bool) -> U8:
    """Fill what no point covers, below the highest point of its column and below the horizon.

    ``hit`` is changed with it. Small holes take their surroundings; larger ones, and the ground
    beyond the cloud, the nearest colour below or beside them.
    """
    import cv2

    height, width = hit.shape
    wide = np.concatenate([hit, hit, hit], axis=1)[:, width - 64 : 2 * width + 64]
    kernel = np.ones((2 * FARTHEST_HOLE_PX + 1,) * 2, np.uint8)
    closed = cv2.morphologyEx(wide.astype(np.uint8), cv2.MORPH_CLOSE, kernel)[:, 64 : 64 + width]
    wanted = closed > 0
    wanted[height // 2 :] = True
    missing = wanted & ~hit
    around = np.concatenate([hit[:, -64:], hit, hit[:, :64]], axis=1)
    _, label = cv2.distanceTransformWithLabels(
        (~around).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.concatenate([picture[:, -64:], picture, picture[:, :64]], axis=1)
    by_label = np.zeros((label.max() + 1, 3), np.uint8)
    by_label[label[around]] = colours[around]
    nearest = by_label[label][:, 64 : 64 + width]
    filled = np.where(missing[..., None], nearest, picture)
    hit |= missing
    return np.asarray(cv2.medianBlur(np.asarray(filled, np.uint8), SMOOTHED_PX), np.uint8)


def _expose(land: U8, hit: Bool, rng: np.random.Generator) -> U8:
    """Bring the mean brightness of the land to that of photos, by a power; vary the white."""
    level = max(float(land[hit].mean()), 1.0) / 255.0 if hit.any() else 0.5
    power = math.log(rng.uniform(0.36, 0.48)) / math.log(level)
    gains = np.exp(rng.normal(0.0, 0.03, 3))
    bright = (land.astype(np.float32) / 255.0) ** np.float32(np.clip(power, 0.35, 1.3)) * gains
    return np.asarray(np.clip(bright * 255.0, 0.0, 255.0).round(), np.uint8)


def _paint_sky(land: U8, hit: Bool, rng: np.random.Generator) -> U8:
    """The land under a sky of one kind: blue above, or overcast, paler towards the horizon."""
    height, width = hit.shape
    rise = np.clip(1.0 - (np.arange(height) + 0.5) / (height / 2.0), 0.0, 1.0)[:, None, None]
    pale = rng.uniform(195.0, 245.0) * np.array([0.97, 0.99, 1.0])
    blue = pale + rng.uniform(0.0, 1.0) * (np.array([95.0, 145.0, 205.0]) - pale)
    sky = pale + (blue - pale) * rise**0.6 + rng.normal(0.0, 1.5, (height, width, 3))
    return np.where(hit[..., None], land, np.clip(sky, 0.0, 255.0)).astype(np.uint8)


# The folder.


def make_renders(data: Path, out: Path, per_place: int, tell: Any) -> dict[str, Alignment]:
    """Imagery, panoramas and ``places.csv`` below ``out``; the alignment of every place.

    ``places.csv`` is written last, and a folder that has it is kept as it is.
    """
    listed = out / "alignments.json"
    if (out / "places.csv").is_file():
        return {n: Alignment(**a) for n, a in json.loads(listed.read_text("utf-8")).items()}
    script = Path(__file__).parents[1] / "docs/examples/real_places.py"
    (out / "ground").mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, str(script), str(data), str(out / "real")], check=True)
    rows, alignments = [], {}
    pairs = data / "helsinki/pairs.csv"
    needed = ("pair_id", "aerial", "points", "lat", "lon")
    for seed, row in enumerate(read_table(pairs, needed=needed, what="list of places")):
        name = row.text("pair_id")
        cloud = Cloud.read(pairs.parent / row.text("points"))
        turn_deg = find_north(CLOUD_CRS, *row.place()) - find_north(CRS, *row.place())
        alignment = align(cloud.above, read_rgb(pairs.parent / row.text("aerial")), turn_deg)
        alignments[name] = alignment
        tell(f"{name}: {alignment}{'' if alignment.is_sure else ' LEFT OUT'}")
        if alignment.is_sure:
            rng = np.random.default_rng(seed)
            rows += list(_render_place(cloud, alignment, row, out, (per_place, rng)))
            tell(f"{name}: {len(rows)} panoramas in all")
    atomic_write(listed, json.dumps({n: vars(a) for n, a in alignments.items()}, indent=1) + "\n")
    atomic_write(out / "LICENCE", LICENCE)
    columns = ("file", "lat", "lon", "heading_deg", "fov_deg", "cluster")
    atomic_write(out / "places.csv", real.write_csv(columns, rows))
    return alignments


def _render_place(
    cloud: Cloud,
    alignment: Alignment,
    row: Any,
    out: Path,
    drawn: tuple[int, np.random.Generator],
) -> Iterator[tuple[object, ...]]:
    """Render the panoramas of one place, and say where they were taken."""
    from PIL import Image

    name = row.text("pair_id")
    count, rng = drawn
    for n, camera in enumerate(draw_cameras(cloud, count, rng)):
        file = f"ground/{name}-{n:03d}.jpg"
        Image.fromarray(render(cloud, camera, rng)).save(out / file, quality=92)
        lat, lon, heading = locate_camera(camera, alignment, row.place())
        yield file, f"{lat:.8f}", f"{lon:.8f}", f"{heading:.3f}", 360, name


def locate_camera(
    camera: F64, alignment: Alignment, centre: tuple[float, float]
) -> tuple[float, float, float]:
    """Latitude, longitude and true heading of a camera on a cloud that was laid onto a picture.

    ``centre``: latitude and longitude of the orthophoto's middle, whose up is grid north.
    """
    from pyproj import Transformer

    lat, lon = centre
    right, down = camera[0] - CLOUD_M / 2.0, camera[1] - CLOUD_M / 2.0
    turn = math.radians(alignment.turn_deg)
    east = right * math.cos(turn) - down * math.sin(turn) + alignment.east_m
    north = -(right * math.sin(turn) + down * math.cos(turn)) + alignment.north_m
    to_grid = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    x, y = to_grid.transform(lon, lat)
    there_lon, there_lat = to_grid.transform(x + east, y + north, direction="INVERSE")
    heading = camera[3] + alignment.turn_deg + find_north(CRS, there_lat, there_lon)
    return there_lat, there_lon, heading % 360.0


def find_north(crs: str, lat: float, lon: float) -> float:
    """The bearing of a grid's north from true north, degrees clockwise."""
    from pyproj import Proj

    return float(Proj(crs).get_factors(lon, lat).meridian_convergence)


def main(arguments: Sequence[str] | None = None) -> int:
    """Align, render and measure; end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("renders", type=Path, nargs="?", default=Path("clouds"))
    parser.add_argument("--per-place", type=int, default=56, help="panoramas; each is cut as well")
    parser.add_argument("--render-only", action="store_true")
    real.add_options(parser)
    wanted = real.read_options(parser, arguments)
    try:
        tell = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        alignments = make_renders(wanted.data, wanted.renders, wanted.per_place, tell)
        if wanted.render_only:
            return 0
        shots = real.read_places(wanted.renders)
        matchers = real.open_matchers(wanted.model or ["town"], histogram=not wanted.no_histogram)
        fields = wanted.fov or (360.0, 90.0)
        table = real.measure_region(shots, [wanted.renders / "real/aerial"], matchers, fields)
        table["alignments"] = {
            name: vars(a) | {"used": a.is_sure} for name, a in alignments.items()
        }
        real.report(wanted, table, real.read_licence(wanted.renders), len(shots), "clouds")
    except CrossviewError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
