"""Land cover and heights read from orthophotos beside what is known of the same ground.

    make bench NAME=land_cover                   the packaged network, and its folds in Pardubice
    python -m benchmarks.land_cover --fit        fit the network anew (needs torch; some minutes)

Truth: towns (exact), Pardubice (OpenStreetMap, and an nDSM of 10 m) and Chateaugiron
(OpenStreetMap) below ``--ortho``. What the network is fitted on: towns, the nDSM of Pardubice
(CUZK, CC BY 4.0) and the tree points of Californian NAIP crops (J. Ventura et al., CC BY 4.0).
OpenStreetMap is only measured against. In Pardubice each half is read by a network that was fitted
without it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import harness
from crossview.geo.grids import RasterGrid
from crossview.worlds import land_cover, ortho_sets
from crossview.worlds.camera import render_orthophoto
from crossview.worlds.land_cover import Land, LandCover, estimate_land_cover
from crossview.worlds.ortho_sets import ListedTile, choose_tiles, open_tile, read_evidence
from crossview.worlds.relief import Relief, make_relief
from crossview.worlds.styles import SEEN_STYLES, UNSEEN_STYLE
from crossview.worlds.town import CELL_M, GroundCover, ObjectKind, Town, build_town
from crossview.worlds.town_pairs import FIRST_TEST_SEED

WEIGHTS = Path(land_cover.__file__).with_name("land_cover.npz")
ORTHO = Path(__file__).parents[1] / ".." / "shared" / "data" / "ortho"
FOLDS = Path(__file__).with_name("land_cover_folds")
CLASSES = len(LandCover)
HIDDEN = (48, 32)
# Of a step's samples. In Pardubice classes are as frequent as they are, so that chances mean that.
SHARES = {"pardubice": 0.5, "california": 0.2, "towns": 0.25, "desert": 0.05}
P, B, G, T, W, R = (1 << cover for cover in LandCover)  # sets of classes, as bits
_TOWN_CLASSES = {
    GroundCover.ASPHALT: P, GroundCover.PAVEMENT: P, GroundCover.GRASS: G, GroundCover.YARD: P | B,
    GroundCover.WATER: W, GroundCover.SPORT: B, GroundCover.MARKING: P, GroundCover.PARKING: P,
    GroundCover.GRAVEL: B, GroundCover.PLAZA: P,
}  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """Features [n, f], the classes that each may be (bits), and where it came from."""

    features: np.ndarray
    allowed: np.ndarray
    west: np.ndarray  # in Pardubice: the western half
    source: str = ""


def main() -> None:
    """Fit if asked to, measure, print tables, and end with one JSON line."""
    wanted = _arguments()
    if wanted.fit:
        fit(wanted)
    started = time.perf_counter()
    towns = measure_towns()
    print_table("towns of test seeds, every cell", towns)
    ratios: dict[str, float] = {}
    n = int(towns.sum())
    if wanted.ortho.is_dir():
        czech = measure_pardubice(wanted.ortho, wanted.folds)
        print_table("Pardubice, halves read by networks fitted on the other one", czech.table)
        print_lines(czech.lines)
        french = measure_chateaugiron(wanted.ortho)
        print_lines(french)
        ratios["roof_vs_not_green"] = czech.roof / czech.not_green
    print_lines(measure_heights(wanted.ortho))
    seconds = measure_speed()
    harness.report(
        name="land_cover",
        ratios=ratios,
        n=n,
        threads=int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1,
        medians={"tile_of_300_m_s": seconds, "all_s": time.perf_counter() - started},
    )


# -- truth --


def label_town(town: Town) -> np.ndarray:
    """Classes that each mapped cell may have, bits [n, n]; what is seen from above."""
    table = np.array([_TOWN_CLASSES[cover] for cover in GroundCover], np.uint8)
    kinds = np.array(town.objects.kind)[town.object_row]
    allowed = table[town.ground]
    allowed = np.where(kinds == ObjectKind.BUILDING, np.uint8(R), allowed)
    allowed = np.where(town.crown_top_m > 0, np.uint8(T), allowed)
    inner = slice(town.apron_cells, town.cells - town.apron_cells)
    return allowed[inner, inner]


def read_cells(folder: Path, tile: ListedTile) -> tuple[np.ndarray, RasterGrid]:
    """A tile's picture at the worlds' cell size, and its grid."""
    picture = open_tile(folder, tile).rgb
    scale = tile.metres_per_px / CELL_M
    size = round(tile.width_px * scale), round(tile.height_px * scale)
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    cells = cv2.resize(picture, size, interpolation=how)
    return cells, RasterGrid.around(tile.centre, CELL_M, size, tile.up_bearing_deg)


# -- fitting --


def fit(wanted: argparse.Namespace) -> None:
    """Fit the packaged network on everything, and two that each saw half of Pardubice."""
    parts = [
        *sample_towns(),
        *sample_pardubice(wanted.ortho),
        *sample_california(wanted.ortho),
        *sample_desert(wanted.ortho),
    ]
    wanted.folds.mkdir(parents=True, exist_ok=True)
    for name, without in (("all", None), ("west", "west"), ("east", "east")):
        chosen = [leave_out(part, without) for part in parts]
        weights = fit_network([part for part in chosen if len(part.allowed)], wanted.steps)
        path = WEIGHTS if name == "all" else wanted.folds / f"without_{name}.npz"
        np.savez_compressed(path, **{k: v.astype(np.float16) for k, v in weights.items()})
        print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)
    land_cover.read_network.cache_clear()


def leave_out(part: Samples, half: str | None) -> Samples:
    """Samples without those of a half of Pardubice (0: east, 1: west, 2: elsewhere)."""
    if half is None:
        return part
    keep = part.west != (1 if half == "west" else 0)
    return Samples(part.features[keep], part.allowed[keep], part.west[keep], part.source)


def sample_towns(each: int = 500) -> Iterator[Samples]:
    """Pixels of two towns of every seen style, as many of each set of classes."""
    rng = np.random.default_rng(1)
    for number, style in enumerate(SEEN_STYLES):
        for seed in range(3):
            town = build_town(style, 5_000 + 100 * number + seed, 320.0)
            small = land_cover.shrink_picture(_soften(render_orthophoto(town), rng))
            allowed = label_town(town)[::2, ::2]
            mixed = label_town(town)[1::2, 1::2] != allowed
            features = land_cover.measure_features(small)
            for bits in np.unique(allowed):
                rows, columns = np.nonzero((allowed == bits) & ~mixed)
                pick = rng.integers(0, len(rows), min(each, len(rows)))
                yield _gather(
                    features, rows[pick], columns[pick], np.full(len(pick), bits), "towns"
                )


def sample_pardubice(folder: Path) -> Iterator[Samples]:
    """Pixels at the samples of the nDSM: raised or not, alive or not, warm or not."""
    rng = np.random.default_rng(4)
    tiles = choose_tiles(sets=["cuzk_pardubice"])  # ten a column; every second one, as on a board
    for tile in (one for n, one in enumerate(tiles) if (n + n // 10) % 2 == 0):
        cells, grid = read_cells(folder, tile)
        small = land_cover.shrink_picture(_soften(cells, rng))
        features = land_cover.measure_features(small)
        rows, columns, height = _find_ndsm_samples(folder, tile, grid, small.shape[:2])
        sharp = land_cover.shrink_picture(cells)
        colour = sharp[rows, columns].astype(np.float32) + 1.0
        total = colour.sum(axis=1)
        alive = (3.0 * colour[:, 1] - total) / total
        dark, even = total / 3.0, _average_spread(sharp)[rows, columns]
        warm = (colour[:, 0] - colour[:, 2]) / total
        shaded = land_cover.find_shadows(sharp)[rows, columns]
        low, high, grey = height < 0.6, height > 3.0, alive <= 0.02
        allowed = np.zeros(len(rows), np.uint8)
        allowed[low & (alive > 0.05)] = G
        allowed[low & ~grey & (alive <= 0.05)] = P | B | G | W
        allowed[low & grey] = P | B | W
        allowed[low & grey & (warm < 0.03)] = P | W
        allowed[low & grey & (warm > 0.10)] = B
        # The river and its old arms are the darkest even ground there is (looked at).
        allowed[low & (dark < 48.0) & (even < 6.0)] = G | W
        allowed[low & (dark < 38.0) & (even < 4.0)] = W
        allowed[high & (alive > 0.045)] = T
        allowed[high & grey & ~shaded] = R
        allowed[high & ~grey & (alive <= 0.045)] = R | T
        west = np.full(len(rows), int(tile.centre.lon < 15.7560881))
        keep = allowed > 0
        part = _gather(features, rows[keep], columns[keep], allowed[keep], "pardubice")
        yield Samples(part.features, part.allowed, west[keep], part.source)


def _average_spread(small: np.ndarray) -> np.ndarray:
    """Standard deviation of grey values within some 10 m."""
    grey = small.mean(axis=2)
    mean, square = cv2.blur(grey, (13, 13)), cv2.blur(grey * grey, (13, 13))
    return np.sqrt(np.maximum(square - mean * mean, 0.0))


def sample_desert(folder: Path) -> Iterator[Samples]:
    """Pixels of Moab's desert, which holds nothing that was built (looked at)."""
    rng = np.random.default_rng(5)
    for tile in choose_tiles(sets=["us_public_domain"]):
        if tile.place.startswith("moab"):
            cells, _ = read_cells(folder, tile)
            small = land_cover.shrink_picture(_soften(cells, rng))
            features = land_cover.measure_features(small)
            rows, columns = (rng.integers(0, n, 3000) for n in small.shape[:2])
            dark = features[rows, columns, 0] < -0.35
            allowed = np.where(dark, T | B, B)
            yield _gather(features, rows, columns, allowed, "desert")


def sample_california(folder: Path, tiles: int = 160) -> Iterator[Samples]:
    """Pixels at points of trees, and away from all of them."""
    chosen = choose_tiles(sets=["naip_california"])
    rng = np.random.default_rng(2)
    points = json.loads((folder / "naip_california" / "trees_px.json").read_text())
    for number in rng.permutation(len(chosen))[:tiles]:
        tile = chosen[number]
        cells, _ = read_cells(folder, tile)
        small = land_cover.shrink_picture(_soften(cells, rng))
        features = land_cover.measure_features(small)
        scale = tile.metres_per_px / (2.0 * CELL_M)
        tree = np.array(points.get(Path(tile.file).stem, [])).reshape(-1, 2) * scale
        column, row = (np.clip(tree[:, n].astype(int), 0, small.shape[1 - n] - 1) for n in (0, 1))
        apart = np.ones(small.shape[:2], np.uint8)
        apart[row, column] = 0
        far = (
            cv2.distanceTransform(apart, cv2.DIST_L2, 3) * 2.0 * CELL_M if len(tree) else apart * 99
        )
        alive = features[..., 1]
        for where, bits, count in (
            (far < 1.2, T, 150),
            ((far > 9.0) & (alive > 0.06), G | W, 60),
            ((far > 9.0) & (alive < 0.02), P | B | W | R, 120),
        ):
            rows, columns = np.nonzero(where)
            pick = rng.integers(0, len(rows), min(count, len(rows)))
            bits_each = np.full(len(pick), bits)
            yield _gather(features, rows[pick], columns[pick], bits_each, "california")


def _gather(features: Any, rows: Any, columns: Any, allowed: Any, source: str) -> Samples:
    elsewhere = np.full(len(rows), 2, np.int64)
    return Samples(features[rows, columns], np.asarray(allowed, np.uint8), elsewhere, source)


def _soften(cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture as a coarser or hazier survey would show it; one in three stays as it is."""
    if rng.random() < 0.33:
        return cells
    less = float(rng.uniform(0.45, 0.9))
    few = cv2.resize(cells, None, fx=less, fy=less, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(few, cells.shape[1::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)
    soft = rng.uniform(0.0, 40.0) + soft * rng.uniform(0.75, 1.0)
    soft *= np.exp(rng.normal(0.0, 0.04, 3))  # white balance
    return np.clip(soft, 0, 255).astype(np.uint8)


def _find_ndsm_samples(
    folder: Path, tile: ListedTile, grid: RasterGrid, shape: tuple[int, int]
) -> tuple[Any, Any, Any]:
    """Pixels (of two cells) at which the nDSM was sampled, and its values."""
    frame, stored = ortho_sets._read_ndsm(folder / "cuzk_pardubice")
    line = -2400.0 + 10.0 * np.arange(len(stored))
    lat = frame.lat - (line + ortho_sets.NDSM_OFF_M[1]) / frame.metres_per_lat
    lon = frame.lon + (line + ortho_sets.NDSM_OFF_M[0]) / frame.metres_per_lon
    at = np.meshgrid(lat, lon, indexing="ij")
    column, row = (values.ravel() / 2.0 for values in grid.pixel(*at))
    inside = (column > 2) & (row > 2) & (column < shape[1] - 2) & (row < shape[0] - 2)
    inside &= np.isfinite(stored.ravel())
    return row[inside].astype(int), column[inside].astype(int), stored.ravel()[inside]


def fit_network(parts: Sequence[Samples], steps: int) -> dict[str, np.ndarray]:
    """Two hidden layers; the loss is the chance of the classes that a sample may have."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    features = np.concatenate([part.features for part in parts])
    allowed = np.concatenate([part.allowed for part in parts])
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    x = torch.from_numpy(np.clip((features - mean) / spread, -4.0, 4.0).astype(np.float32))
    mask = torch.from_numpy((allowed[:, None] >> np.arange(CLASSES)) & 1).bool()
    source = np.concatenate([np.full(len(part.allowed), part.source) for part in parts])
    groups = [(np.flatnonzero(source == name), share) for name, share in SHARES.items()]
    sizes = (features.shape[1], *HIDDEN, CLASSES)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
    net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(3)
    shares = np.array([share for _, share in groups])
    for _ in range(steps):
        counts = rng.multinomial(1024, shares / shares.sum())
        pick = np.concatenate(
            [rng.choice(rows, n) for (rows, _), n in zip(groups, counts, strict=True)]
        )
        noisy = x[pick] + 0.1 * torch.randn(len(pick), x.shape[1])
        chance = torch.log_softmax(net(noisy), dim=1)
        loss = -torch.logsumexp(chance.masked_fill(~mask[pick], -30.0), dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"{len(x)} samples, loss {loss.item():.3f}", file=sys.stderr)
    weights = {"mean": mean, "spread": spread}
    for number, layer in enumerate(layers, 1):
        weights[f"weight_{number}"] = layer.weight.detach().numpy().T
        weights[f"bias_{number}"] = layer.bias.detach().numpy()
    return weights


# -- measuring --


@dataclass(frozen=True)
class Measured:
    """Counts [truth, estimate], and lines on what is only partly known."""

    table: np.ndarray
    lines: list[str]
    roof: float  # harmonic mean of recall and precision
    not_green: float  # the same for calling everything a roof that is neither green nor dark


def measure_towns() -> np.ndarray:
    """Counts [truth, estimate] over a test town of every style."""
    table = np.zeros((CLASSES, CLASSES))
    for number, style in enumerate((*SEEN_STYLES, UNSEEN_STYLE)):
        town = build_town(style, FIRST_TEST_SEED + 40 + number, 400.0)
        cover = estimate_land_cover(render_orthophoto(town)).cover
        allowed = label_town(town)
        for truth in LandCover:
            sure = allowed == 1 << truth
            table[truth] += np.bincount(cover[sure], minlength=CLASSES)
    return table


def measure_pardubice(folder: Path, folds: Path) -> Measured:
    """Counts of what OpenStreetMap knows, and shares of what the nDSM knows."""
    facts = json.loads(
        gzip.decompress((folder / "cuzk_pardubice" / "pardubice_osm.json.gz").read_bytes())
    )
    table = np.zeros((CLASSES, CLASSES))
    roof, plain = np.zeros(3), np.zeros(3)  # estimated and near a building, estimated, hit
    tree = np.zeros(4)
    for tile in _list_mapped(folder)[::3]:
        west = tile.centre.lon < 15.7560881
        with Network(folds / f"without_{'west' if west else 'east'}.npz"):
            cells, grid = read_cells(folder, tile)
            land = estimate_land_cover(cells)
        truth, built = _label_pardubice(folder, tile, grid, facts)
        for name in LandCover:
            table[name] += np.bincount(land.cover[truth == name], minlength=CLASSES)
        estimated = land.cover == LandCover.ROOF
        near = cv2.dilate(built.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        roof += (estimated & near).sum(), estimated.sum(), (estimated & built).sum()
        bare = _find_not_green(cells) & ~land.shadow
        plain += (bare & near).sum(), bare.sum(), (bare & built).sum()
        rows, columns, height = _find_ndsm_samples(
            folder, tile, grid, (land.cover.shape[0] // 2, land.cover.shape[1] // 2)
        )
        rows, columns = 2 * rows + 1, 2 * columns + 1
        said, free = land.cover[rows, columns] == LandCover.TREE, ~near[rows, columns]
        tall = (height > 3.0) & free
        tree += (said & tall).sum(), tall.sum(), (said & (height > 1.5)).sum(), said.sum()
    count = table[LandCover.ROOF].sum()
    precision, recall = roof[0] / roof[1], roof[2] / count
    lines = [
        f"Pardubice roofs (OpenStreetMap): recall {recall:.3f}, precision {precision:.3f}",
        f"Pardubice trees (nDSM over 3 m, off buildings): recall {tree[0] / tree[1]:.3f}; "
        f"called tree and over 1.5 m: {tree[2] / tree[3]:.3f}",
    ]
    scores = [2 * a * b / (a + b) for a, b in ((one[0] / one[1], one[2] / count)
              for one in (roof, plain))]  # fmt: skip
    return Measured(table, lines, *map(float, scores))


def _find_not_green(cells: np.ndarray) -> np.ndarray:
    colour = cells.astype(np.float32) + 1.0
    return (3.0 * colour[..., 1] - colour.sum(axis=2)) / colour.sum(axis=2) < 0.02


def _list_mapped(folder: Path) -> list[ListedTile]:
    """Tiles of Pardubice that the extract of OpenStreetMap covers as a whole."""
    found = []
    for tile in choose_tiles(sets=["cuzk_pardubice"]):
        _, outlines = read_evidence(folder, tile, tile.grid.shrink(16))
        if outlines is not None and (outlines.known is None or outlines.known.all()):
            found.append(tile)
    return found


class Network:
    """Another network for a while, where there is one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.usual = land_cover.read_network

    def __enter__(self) -> None:
        if self.path.is_file():
            with np.load(self.path) as content:
                weights = {name: content[name].astype(np.float64) for name in content.files}
            land_cover.read_network = lambda: weights  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        land_cover.read_network = self.usual


def _label_pardubice(
    folder: Path, tile: ListedTile, grid: RasterGrid, facts: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Classes [n, n] as OpenStreetMap has them (255: unknown), and what is built."""
    frame = ortho_sets._make_frame(facts)

    def pixels(corners: Any) -> np.ndarray:
        places = frame.place(corners)
        return np.stack(grid.pixel(places[:, 0], places[:, 1]), axis=1).astype(np.int32)

    truth = np.full((grid.height_px, grid.width_px), 255, np.uint8)
    for area in facts["green"]:
        if area["t"] in {"grass", "pitch"}:
            cv2.fillPoly(truth, [pixels(area["o"])], int(LandCover.GRASS))
    heights, outlines = read_evidence(folder, tile, grid)
    assert heights is not None
    assert outlines is not None
    truth[(truth == LandCover.GRASS) & ~(heights.above_ground_m < 0.7)] = 255  # trees stand on it
    for area in facts["green"]:
        if area["t"] == "wood":
            cv2.fillPoly(truth, [pixels(area["o"])], int(LandCover.TREE))
    truth[(truth == LandCover.TREE) & ~(heights.above_ground_m > 3.0)] = 255
    for area in facts["paved"]:
        cv2.fillPoly(truth, [pixels(area["o"])], int(LandCover.PAVED))
    for road in facts["roads"]:
        if road["t"] in {"primary", "secondary", "tertiary", "residential"} and "br" not in road:
            width = max(1, round(0.6 * road["w"] / CELL_M))
            cv2.polylines(truth, [pixels(road["p"])], False, int(LandCover.PAVED), width)
    truth[(truth == LandCover.PAVED) & ~(heights.above_ground_m < 1.5)] = 255  # crowns hang over
    for area in facts["water"]:
        cv2.fillPoly(truth, [pixels(area["o"])], int(LandCover.WATER))
    built = outlines.building > 0
    truth[built] = LandCover.ROOF
    return truth, built


def measure_chateaugiron(folder: Path) -> list[str]:
    """Roofs of a country that the network never saw."""
    roof = np.zeros(3)
    tiles = choose_tiles(sets=["ign_chateaugiron"])[1::4]
    for tile in tiles:
        cells, grid = read_cells(folder, tile)
        _, outlines = read_evidence(folder, tile, grid)
        assert outlines is not None
        built = outlines.building > 0
        estimated = estimate_land_cover(cells).cover == LandCover.ROOF
        near = cv2.dilate(built.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        roof += (estimated & near).sum(), estimated.sum(), (estimated & built).sum() / built.sum()
    return [
        f"Chateaugiron roofs (OpenStreetMap; never fitted on): recall {roof[2] / len(tiles):.3f}, "
        f"precision {roof[0] / roof[1]:.3f}"
    ]


def measure_heights(folder: Path) -> list[str]:
    """Median error of heights, by every way to make them, against what is known."""
    lines = []
    if folder.is_dir():
        errors: dict[str, list[np.ndarray]] = {}
        rng = np.random.default_rng(0)
        for tile in _list_mapped(folder)[4::9]:
            cells, grid = read_cells(folder, tile)
            heights, outlines = read_evidence(folder, tile, grid)
            assert heights is not None
            assert outlines is not None
            land = estimate_land_cover(cells)
            shape = land.cover.shape[0] // 2, land.cover.shape[1] // 2
            rows, columns, truth = _find_ndsm_samples(folder, tile, grid, shape)
            rows, columns = 2 * rows + 1, 2 * columns + 1
            for name, ways in (
                ("guessed", {}),
                ("outlines", {"outlines": outlines}),
                ("nDSM of 10 m", {"heights": heights}),
                ("both", {"outlines": outlines, "heights": heights}),
            ):
                relief = make_relief(land, rng, **ways)  # type: ignore[arg-type]
                top = np.maximum(relief.height_m, relief.crown_top_m)[rows, columns]
                built = outlines.building[rows, columns] > 0
                errors.setdefault(f"{name}, on buildings", []).append((top - truth)[built])
                errors.setdefault(f"{name}, elsewhere", []).append((top - truth)[~built])
        lines += [_describe(f"Pardubice {name}", found) for name, found in errors.items()]
    town = build_town("suburb", FIRST_TEST_SEED + 60, 400.0)
    land = estimate_land_cover(render_orthophoto(town))
    inner = slice(town.apron_cells, town.cells - town.apron_cells)
    truth = np.maximum(town.height_m, town.crown_top_m)[inner, inner]
    relief = make_relief(land, np.random.default_rng(0))
    return [*lines, _describe("a suburb of the package, guessed", [_top(relief) - truth])]


def _top(relief: Relief) -> np.ndarray:
    return np.maximum(relief.height_m, relief.crown_top_m)


def _describe(name: str, errors: Sequence[np.ndarray]) -> str:
    found = np.concatenate([one.ravel() for one in errors])
    return (
        f"{name}: median error {np.median(np.abs(found)):.2f} m, mean "
        f"{np.abs(found).mean():.2f} m, bias {found.mean():+.2f} m (n {len(found)})"
    )


def measure_speed() -> float:
    """Seconds for a tile of 300 m, the fastest of three."""
    picture = render_orthophoto(build_town("suburb", FIRST_TEST_SEED, 300.0))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        land: Land = estimate_land_cover(picture)
        times.append(time.perf_counter() - started)
        assert land.cover.shape == picture.shape[:2]
    return min(times)


def print_table(title: str, table: np.ndarray) -> None:
    """Recall and precision of every class; precision holds for the cells whose truth is known."""
    print(f"\n{title}: {int(table.sum())} cells")
    for cover in LandCover:
        row, column = table[cover], table[:, cover]
        if row.sum():
            print(
                f"  {cover.name:6} recall {row[cover] / row.sum():.3f}  precision "
                f"{row[cover] / max(column.sum(), 1):.3f}  n {int(row.sum())}  most taken for: "
                + ", ".join(
                    f"{LandCover(k).name} {row[k] / row.sum():.2f}"
                    for k in np.argsort(-row)[:3]
                    if k != cover and row[k]
                )
            )


def print_lines(lines: Sequence[str]) -> None:
    """Each on its own."""
    for line in lines:
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ortho", type=Path, default=ORTHO, help="folder of the sets")
    parser.add_argument("--fit", action="store_true", help="fit the network anew first")
    parser.add_argument(
        "--folds",
        type=Path,
        default=Path(__file__).with_name("land_cover_folds"),
        help="networks of folds",
    )
    parser.add_argument("--steps", type=int, default=4000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
