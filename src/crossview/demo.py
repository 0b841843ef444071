"""The whole way once, on a town: render it, index it, locate pictures, measure, draw the map.

Two baselines are measured beside the model, which must clearly beat them. One knows only colours.
The other is the same network with random weights: what its architecture is worth without training.
An ONNX file is a protocol-buffers message. Weights are replaced in place, byte for byte, so a few
field numbers are enough and no ONNX library is needed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F32, U8
from crossview.errors import BadModel, CannotWrite, InvalidValue
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
from crossview.model import (
    INFO_NAME,
    Embedder,
    ModelInfo,
    encode_info,
    list_networks,
    open_model,
    read_info,
    resolve_model,
)
from crossview.outputs.map_page import write_map
from crossview.worlds.town import TOWN_VERSION
from crossview.worlds.town_pairs import FIRST_TEST_SEED
from crossview.worlds.write import PhotoSeries, World, write_world

LEVELS = 6  # per colour channel

# Field numbers of onnx.proto3, as far as they are needed.
_GRAPH, _INITIALIZER = 7, 5  # of ModelProto, of GraphProto
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # of TensorProto
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_WEIGHT_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2")}
_FEWEST_WEIGHTS = 16  # values; smaller tensors are constants, such as the mean colour

ByteSpan = tuple[int, int]


PLACES = 10
NAMES = {"panorama": "panorama_unknown_heading"}  # the kind's name in the summary
COMPARED = ("panorama_unknown_heading", "photo_90deg")  # the kinds that every matcher locates
MATCHERS = ("model", "colour_histogram", "random_network")
MARKER = ".crossview-demo"  # in a demo's folder, which may be cleared


class HistogramEmbedder:
    """Square roots of colour shares [B, LEVELS^3]: their dot product is the Bhattacharyya overlap.

    Implements :class:`crossview.model.Embedder` on the views of another model.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = replace(info, name="colour-histogram", dim=LEVELS**3, azimuth_bins=1)
        self.fingerprint = hashlib.sha256(encode_info(self.info)).hexdigest()

    def ground(self, images: U8) -> F32:
        """Histograms of the pixels that the photo covers."""
        unseen = np.array(self.info.ground.mean_colour, np.uint8)
        return np.stack(
            [_compute_histogram(image[(image != unseen).any(axis=2)]) for image in images]
        )

    def aerial(self, images: U8) -> F32:
        """Histograms of whole windows."""
        return np.stack([_compute_histogram(image.reshape(-1, 3)) for image in images])


def _compute_histogram(pixels: U8) -> F32:
    level = pixels.astype(np.int64) * LEVELS // 256
    cell = (level[:, 0] * LEVELS + level[:, 1]) * LEVELS + level[:, 2]
    counts = np.bincount(cell, minlength=LEVELS**3).astype(np.float32)
    shares: F32 = np.sqrt(counts / max(1.0, float(counts.sum())))
    return shares


def randomize_weights(folder: Path, out: Path, seed: int = 0) -> Path:
    """Write a copy of a model folder as it would start: He-normal weights, biases zero."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(seed))
    for path in list_networks(folder):
        atomic_write(out / path.name, _randomize_network(path.read_bytes(), rng, str(path)))
    info = replace(read_info(folder), name="random-network", notes="initialisers redrawn")
    atomic_write(out / INFO_NAME, encode_info(info))
    return out


def _randomize_network(data: bytes, rng: np.random.Generator, name: str) -> bytes:
    random = bytearray(data)
    count = 0
    for graph in _find_fields(data, (0, len(data)), _GRAPH):
        for tensor in _find_fields(data, graph, _INITIALIZER):
            count += _randomize_tensor(random, data, tensor, rng)
    if not count:
        raise BadModel(f"{name} holds no weights that could be randomized.")
    return bytes(random)


def _randomize_tensor(
    random: bytearray, data: bytes, tensor: ByteSpan, rng: np.random.Generator
) -> bool:
    kind = next(iter(_read_numbers(data, tensor, _DATA_TYPE)), 0)
    raw = next(iter(_find_fields(data, tensor, _RAW_DATA)), None)
    shape = _read_shape(data, tensor)
    if kind not in _WEIGHT_TYPES or raw is None or math.prod(shape) < _FEWEST_WEIGHTS:
        return False
    if len(shape) > 1:
        values = rng.normal(0.0, math.sqrt(2.0 / math.prod(shape[1:])), math.prod(shape))
    else:  # as a network starts: scales and variances one, biases and means zero
        name = next((data[at:end] for at, end in _find_fields(data, tensor, _NAME)), b"")
        values = np.full(shape, 1.0 if name.endswith((b"weight", b"var")) else 0.0)
    random[raw[0] : raw[1]] = values.astype(_WEIGHT_TYPES[kind]).tobytes()
    return True


def _read_shape(data: bytes, tensor: ByteSpan) -> list[int]:
    """Dimensions, whether packed or one by one."""
    packed = [
        _read_varint(data, at)
        for span in _find_fields(data, tensor, _DIMS)
        for at in _find_starts(data, span)
    ]
    return [value for value, _ in packed] or list(_read_numbers(data, tensor, _DIMS))


def _find_starts(data: bytes, span: ByteSpan) -> Iterator[int]:
    at, end = span
    while at < end:
        yield at
        at = _read_varint(data, at)[1]


def _walk_fields(data: bytes, span: ByteSpan) -> Iterator[tuple[int, int, ByteSpan]]:
    """(field number, wire type, where its value lies) of a message's fields."""
    at, end = span
    while at < end:
        key, at = _read_varint(data, at)
        wire = key & 7
        if wire == _LENGTH_DELIMITED:
            size, at = _read_varint(data, at)
            stop = at + size
        elif wire == _VARINT:
            stop = _read_varint(data, at)[1]
        else:
            stop = at + {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[wire]
        yield key >> 3, wire, (at, stop)
        at = stop


def _find_fields(data: bytes, span: ByteSpan, number: int) -> Iterator[ByteSpan]:
    return (
        at
        for field, wire, at in _walk_fields(data, span)
        if (field, wire) == (number, _LENGTH_DELIMITED)
    )


def _read_numbers(data: bytes, span: ByteSpan, number: int) -> Iterator[int]:
    for field, wire, at in _walk_fields(data, span):
        if (field, wire) == (number, _VARINT):
            yield _read_varint(data, at[0])[0]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number and where the next field begins."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


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
