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
from crossview.files import atomic_write, list_entries, sweep
from crossview.geo.points import LatLon
from crossview.imagery.sources import open_sources
from crossview.index.build import build_index
from crossview.index.index_options import IndexOptions
from crossview.index.store import PARTIAL_SUFFIX, Index
from crossview.localization.accuracy import Truths, add_truth, summarise
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_many
from crossview.locks import lock
from crossview.model import Embedder, open_model, resolve_model
from crossview.outputs.map_page import write_map
from crossview.worlds.town import TOWN_VERSION
from crossview.worlds.town_pairs import FIRST_TEST_SEED
from crossview.worlds.write import PhotoSeries, World, write_world

PLACES = 10
NAMES = {"panorama": "panorama_unknown_heading"}  # the kind's name in the summary
COMPARED = ("panorama_unknown_heading", "photo_90deg")  # the kinds that every matcher locates
MATCHERS = ("model", "colour_histogram", "random_network")
MARKER = ".crossview-demo"  # in a demo's folder, which may be cleared


@dataclass(frozen=True)
class DemoSettings:
    """The town, its pictures and the model. Seeds from 20 000 on are never trained on."""

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
class PhotoKind:
    """Pictures of one kind and where they were taken."""

    kind: str
    photos: tuple[Path, ...]
    truths: tuple[LatLon, ...]


def run_demo(
    settings: DemoSettings, out: Path, report: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Run the demo below ``out`` and return the content of ``summary.json`` there.

    Headings are never given to the matchers; fields of view come from each photo's own EXIF.
    """
    with lock(out, "crossview demo", make_parents=True):
        return _run(settings, out, report)


def _run(settings: DemoSettings, out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    start = time.monotonic()
    _prepare_folder(out)
    town = f"style {settings.style!r} that no model has seen (seed {settings.seed})"
    report(f"Rendering a town of {town} ...")
    world = write_world(
        out / "town", settings.style, settings.seed, side_m=settings.side_m, series=settings.series
    )  # fmt: skip
    groups = _group_photos(world)
    kinds: dict[str, dict[str, Any]] = {group.kind: {} for group in groups}
    tiles = 0
    for name, embedder in _open_matchers(settings, out):
        report(f"Indexing and locating with the matcher {name!r} ...")
        index = _build_index(world, embedder, settings, out / f"{name}.cvx")
        measured = [g for g in groups if name == "model" or g.kind in COMPARED]
        answers = [_locate_group(index, embedder, group) for group in measured]
        for group, located in zip(measured, answers, strict=True):
            kinds[group.kind][name] = summarise(located, group.truths, PLACES)
        if name == "model":
            tiles = index.count
            report("Drawing the map ...")
            _draw_map(out / "map.html", index, answers)
    result = {
        "town_version": TOWN_VERSION,
        "style": settings.style,
        "seed": settings.seed,
        "area_km2": round(world.area_km2, 4),
        "tiles": tiles,
        "stride_m": settings.stride_m,
        "seconds": round(time.monotonic() - start, 1),
        **kinds,
    }
    atomic_write(out / "summary.json", json.dumps(result, indent=2) + "\n")
    return result


def _prepare_folder(out: Path) -> None:
    """Make the folder, or clear that of an earlier demo of the demo's own files."""
    marker = out / MARKER
    try:
        if out.is_dir() and any(list_entries(out)) and not marker.is_file():
            raise InvalidValue(
                f"{out} holds other files; the demo needs a folder of its own.\n"
                "Choose another one with --out."
            )
        out.mkdir(parents=True, exist_ok=True)
        marker.touch()
        sweep(out)
        indexes = [out / f"{name}.cvx{end}" for name in MATCHERS for end in ("", PARTIAL_SUFFIX)]
        for folder in (*indexes, out / "town", out / "random"):
            shutil.rmtree(folder, ignore_errors=True)  # symbolic links are left alone
        for file in (out / "map.html", out / "summary.json"):
            file.unlink(missing_ok=True)
    except OSError as problem:
        raise CannotWrite(f"Cannot use the folder {out}: {problem.strerror}.") from problem


def _open_matchers(settings: DemoSettings, out: Path) -> Iterator[tuple[str, Embedder]]:
    """The model, and two baselines that it must clearly beat."""
    model = open_model(settings.model)
    yield MATCHERS[0], model
    if settings.baselines:
        yield MATCHERS[1], HistogramEmbedder(model.info)
        random = randomize_weights(resolve_model(settings.model), out / "random")
        yield MATCHERS[2], open_model(random)


def _build_index(world: World, embedder: Embedder, settings: DemoSettings, path: Path) -> Index:
    options = IndexOptions(stride_m=settings.stride_m, model_name=settings.model)
    with open_sources([world.map_file]) as imagery:
        return build_index(imagery, embedder, path, options=options)


def _locate_group(index: Index, embedder: Embedder, group: PhotoKind) -> list[Answer]:
    answers = locate_many(index, embedder, group.photos, Hints(places=PLACES))
    return [add_truth(a, truth) for a, truth in zip(answers, group.truths, strict=True)]


def _group_photos(world: World) -> list[PhotoKind]:
    """The town's pictures by kind; the kinds that every matcher locates come first."""
    truths = Truths.read(world.places_file)
    files = sorted((world.folder / "ground").glob("*.jpg"))
    kinds: dict[str, list[tuple[Path, LatLon]]] = {}
    for file in files:
        place = truths.find(str(file))
        if place is not None:
            kinds.setdefault(file.stem.rsplit("_", 1)[0], []).append((file, place))
    groups = [
        PhotoKind(NAMES.get(kind, kind), *zip(*placed, strict=True))
        for kind, placed in kinds.items()
    ]
    return sorted(groups, key=lambda group: group.kind not in COMPARED)


def _draw_map(path: Path, index: Index, answers: Sequence[Sequence[Answer]]) -> None:
    flat = [answer for group in answers for answer in group]
    write_map(path, index, flat, photos={a.photo: Path(a.photo) for a in flat})
