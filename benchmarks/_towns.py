"""Towns with many pictures, rendered once and kept: what calibration and poses are measured on."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossview.demo import DemoSettings, run_demo
from crossview.files import atomic_write
from crossview.imagery.sources import open_sources
from crossview.index.build import build_index
from crossview.index.index_options import IndexOptions
from crossview.model import Embedder
from crossview.worlds.camera import (
    Shot,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    render_photo,
    start_drive,
)
from crossview.worlds.styles import SEEN_STYLES, UNSEEN_STYLE
from crossview.worlds.town import TOWN_VERSION, Town, build_town
from crossview.worlds.town_pairs import FIRST_TEST_SEED
from crossview.worlds.write import COLUMNS, write_geotiff, write_photo

SIZES = {360.0: (512, 256), 90.0: (320, 240)}  # pixels; twice what the packaged model sees
PARTS = ("calibration", "test", "unseen")


@dataclass(frozen=True)
class Place:
    """One town of the experiment; ``pictures`` panoramas and as many photos of 90 degrees."""

    part: str
    style: str
    seed: int
    pictures: int
    side_m: float

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.part}-{self.style}-{self.seed}"


@dataclass(frozen=True)
class Extent:
    """How large the experiment is: towns per style and pictures of each kind per town."""

    calibration: tuple[int, int] = (3, 100)
    test: tuple[int, int] = (3, 115)
    unseen: tuple[int, int] = (4, 120)
    side_m: float = 640.0


def towns(extent: Extent) -> Iterator[Place]:
    """All towns; no seed of a style is in two parts, and none was ever trained on."""
    first = FIRST_TEST_SEED + 500
    for number, part in enumerate(PARTS):
        count, pictures = getattr(extent, part)
        for style in (UNSEEN_STYLE,) if part == "unseen" else SEEN_STYLES:
            for seed in range(first + 100 * number, first + 100 * number + count):
                yield Place(part, style, seed, pictures, extent.side_m)


@dataclass(frozen=True)
class DemoTown:
    """An unseen town as ``crossview demo`` makes it: its map, pictures and index."""

    style: str
    seed: int
    folder: Path

    @property
    def aerial(self) -> Path:
        """The map, a GeoTIFF."""
        return self.folder / "town" / "aerial.tif"

    @property
    def places(self) -> Path:
        """The list of its pictures, which lie beside it in ``ground``."""
        return self.folder / "town" / "places.csv"

    @property
    def index(self) -> Path:
        """By the packaged model ``town``, windows 8 m apart."""
        return self.folder / "model.cvx"


def demo_towns(root: Path, seeds: int = 5) -> Iterator[DemoTown]:
    """The towns of ``benchmarks.world``, ``seeds`` of each of two styles; made unless there."""
    for style in ("suburb", UNSEEN_STYLE):
        for seed in range(FIRST_TEST_SEED, FIRST_TEST_SEED + seeds):
            folder = root / f"{style}-{seed}-{TOWN_VERSION}"
            if not (folder / "summary.json").is_file():
                run_demo(DemoSettings(style=style, seed=seed, baselines=False), folder)
            yield DemoTown(style, seed, folder)


def render(root: Path, place: Place) -> Path:
    """Render one town below ``root`` unless it is there; its places.csv is written last."""
    folder = root / f"{place.name}-{place.pictures}-{place.side_m:g}m-{TOWN_VERSION}"
    if (folder / "places.csv").is_file():
        return folder
    (folder / "ground").mkdir(parents=True, exist_ok=True)
    town = build_town(place.style, place.seed, place.side_m)
    write_geotiff(folder / "aerial.tif", town, render_orthophoto(town))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *_pictures(folder, town, place)])
    atomic_write(folder / "places.csv", text.getvalue())
    print(f"rendered {place.name}", file=sys.stderr, flush=True)
    return folder


def _pictures(folder: Path, town: Town, place: Place) -> Iterator[tuple[str, ...]]:
    drive, look = start_drive(town), 0
    for fov, (width, height) in SIZES.items():
        kind = "panorama" if fov == 360.0 else f"photo_{fov:g}deg"
        headings = town.seed_generator(f"headings {kind}").uniform(0.0, 360.0, place.pictures)
        for n, (east, south) in enumerate(draw_camera_places(town, place.pictures, kind)):
            look += 1
            heading = float(headings[n])
            shot = Shot(east, south, heading, fov, 0.0, width, height, look)
            taken = render_panorama(drive, shot) if fov == 360.0 else render_photo(drive, shot)
            file = f"ground/{kind}_{n:04d}.jpg"
            write_photo(folder / file, taken, fov)
            at = town.site.latlon(float(east), float(south))
            heading = (heading + town.site.convergence_deg(at)) % 360.0
            yield file, f"{at.lat:.8f}", f"{at.lon:.8f}", f"{heading:.3f}", f"{fov:g}", kind


def indexed(folder: Path, embedder: Embedder, stride_m: float) -> Path:
    """The index of a rendered town by this model, made unless it is there."""
    path = folder / f"{embedder.fingerprint[:12]}.cvx"
    if not path.exists():
        with open_sources([folder / "aerial.tif"]) as imagery:
            build_index(imagery, embedder, path, options=IndexOptions(stride_m=stride_m))
    return path
