"""The whole way once: render a town, index it, locate pictures, measure, draw the map."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossview.demo.baselines import HistogramEmbedder, randomize_weights
from crossview.errors import CannotWrite, InvalidValue
from crossview.files import atomic_write, list_entries
from crossview.geo.points import LatLon
from crossview.imagery.sources import open_sources
from crossview.index.build import build
from crossview.index.index_options import IndexOptions
from crossview.index.store import PARTIAL_SUFFIX, Index
from crossview.localization.accuracy import Truths, summary, with_truth
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_many
from crossview.locks import locked
from crossview.model.onnx import Embedder, open_model, resolve_model
from crossview.outputs.map_page import write_map
from crossview.worlds.town import TOWN_VERSION
from crossview.worlds.town_pairs import FIRST_TEST_SEED
from crossview.worlds.write import PhotoSeries, World, write_world

PLACES = 10
NAMES = {"panorama": "panorama_unknown_heading"}  # kinds are named in the summary by what is asked
COMPARED = ("panorama_unknown_heading", "photo_90deg")  # what all matchers are asked
MATCHERS = ("model", "colour_histogram", "random_network")
MARKER = ".crossview-demo"  # tells a demo's folder, which may be cleared, from any other

Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoSettings:
    """What to see. Seeds from 20 000 on are never trained on."""

    style: str = "suburb"
    seed: int = FIRST_TEST_SEED
    side_m: float = 800.0
    stride_m: float = 8.0
    pictures: int = 200  # panoramas, and as many photos of 90 degrees
    extras: int = 50  # photos of 50 and of 65 degrees, pitched by up to 10
    model: str = "town"
    baselines: bool = True

    @property
    def series(self) -> tuple[PhotoSeries, ...]:
        """The pictures to take."""
        return (
            PhotoSeries(self.pictures),
            PhotoSeries(self.pictures, 90.0),
            PhotoSeries(self.extras, 65.0, 10.0),
            PhotoSeries(self.extras, 50.0, 10.0),
        )


@dataclass(frozen=True)
class PhotoGroup:
    """Pictures of one kind and where they were taken."""

    kind: str
    photos: tuple[Path, ...]
    truths: tuple[LatLon, ...]


def run_demo(trip: DemoSettings, out: Path, say: Say = lambda text: None) -> dict[str, Any]:
    """Make the trip below ``out`` and return what ``summary.json`` there says.

    Headings are never given to the matchers; fields of view come from each photo's own EXIF.
    """
    with locked(out, "crossview demo", make_parents=True):
        return _run(trip, out, say)


def _run(trip: DemoSettings, out: Path, say: Say) -> dict[str, Any]:
    begun = time.monotonic()
    _prepare_folder(out)
    say(f"Rendering a town of style {trip.style!r} that no model has seen (seed {trip.seed}) ...")
    world = write_world(
        out / "town", trip.style, trip.seed, side_m=trip.side_m, series=trip.series
    )  # fmt: skip
    albums = _group_photos(world)
    kinds: dict[str, dict[str, Any]] = {album.kind: {} for album in albums}
    tiles = 0
    for name, embedder in _open_matchers(trip, out):
        say(f"Indexing and locating with the matcher {name!r} ...")
        index = _build_index(world, embedder, trip, out / f"{name}.cvx")
        measured = [a for a in albums if name == "model" or a.kind in COMPARED]
        answers = [_locate_group(index, embedder, album) for album in measured]
        for album, some in zip(measured, answers, strict=True):
            kinds[album.kind][name] = summary(some, album.truths, PLACES)
        if name == "model":
            tiles = index.count
            say("Drawing the map ...")
            _draw_map(out / "map.html", index, answers)
    result = {
        "town_version": TOWN_VERSION,
        "style": trip.style,
        "seed": trip.seed,
        "area_km2": round(world.area_km2, 4),
        "tiles": tiles,
        "stride_m": trip.stride_m,
        "seconds": round(time.monotonic() - begun, 1),
        **kinds,
    }
    atomic_write(out / "summary.json", json.dumps(result, indent=2) + "\n")
    return result


def _prepare_folder(out: Path) -> None:
    """An empty folder to work in: a new one, or that of an earlier demo without what it made."""
    marker = out / MARKER
    try:
        if out.is_dir() and any(list_entries(out)) and not marker.is_file():
            raise InvalidValue(
                f"{out} holds other files; the demo needs a folder of its own.\n"
                "Choose another one with --out."
            )
        out.mkdir(parents=True, exist_ok=True)
        marker.touch()
        indexes = [out / f"{name}.cvx{more}" for name in MATCHERS for more in ("", PARTIAL_SUFFIX)]
        for made in (*indexes, out / "town", out / "random"):
            shutil.rmtree(made, ignore_errors=True)  # which leaves links alone
        for made in (out / "map.html", out / "summary.json"):
            made.unlink(missing_ok=True)
    except OSError as problem:
        raise CannotWrite(f"Cannot use the folder {out}: {problem.strerror}.") from problem


def _open_matchers(trip: DemoSettings, out: Path) -> Iterator[tuple[str, Embedder]]:
    """The model, and two that it must leave far behind."""
    model = open_model(trip.model)
    yield MATCHERS[0], model
    if trip.baselines:
        yield MATCHERS[1], HistogramEmbedder(model.info)
        yield MATCHERS[2], open_model(randomize_weights(resolve_model(trip.model), out / "random"))


def _build_index(world: World, embedder: Embedder, trip: DemoSettings, path: Path) -> Index:
    options = IndexOptions(stride_m=trip.stride_m, model_name=trip.model)
    with open_sources([world.map_file]) as imagery:
        return build(imagery, embedder, path, options=options)


def _locate_group(index: Index, embedder: Embedder, album: PhotoGroup) -> list[Answer]:
    answers = locate_many(index, embedder, album.photos, Hints(places=PLACES))
    return [with_truth(a, truth) for a, truth in zip(answers, album.truths, strict=True)]


def _group_photos(world: World) -> list[PhotoGroup]:
    """The world's pictures by kind, those first that all matchers are asked."""
    truths = Truths.read(world.places_file)
    files = sorted((world.folder / "ground").glob("*.jpg"))
    kinds: dict[str, list[tuple[Path, LatLon]]] = {}
    for file in files:
        place = truths.of(str(file))
        if place is not None:
            kinds.setdefault(file.stem.rsplit("_", 1)[0], []).append((file, place))
    albums = [
        PhotoGroup(NAMES.get(kind, kind), *zip(*some, strict=True)) for kind, some in kinds.items()
    ]
    return sorted(albums, key=lambda album: album.kind not in COMPARED)


def _draw_map(path: Path, index: Index, answers: Sequence[Sequence[Answer]]) -> None:
    every = [answer for some in answers for answer in some]
    write_map(path, index, every, photos={a.photo: Path(a.photo) for a in every})
