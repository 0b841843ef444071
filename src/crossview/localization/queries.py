"""From a photo and hints to what the network is shown, with every assumption put into words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from crossview.arrays import F32, U8
from crossview.errors import BadImage, InvalidValue
from crossview.index.selection import Windows
from crossview.localization.hints import Hints, KnownHeading, choose_heading, choose_prior
from crossview.model import Embedder, ModelInfo
from crossview.views.decode import (
    MAX_FILE_BYTES,
    MAX_MEMORY_BYTES,
    Photo,
    PictureSource,
    load_photo,
)
from crossview.views.decoders import DECODERS, Decoders, DecodingBudget
from crossview.views.exif import STRIP_RATIO
from crossview.views.ground import make_ground_view
from crossview.views.horizon import Tilt, estimate_tilt, find_lines
from crossview.views.lens import FLAT_LIMIT_DEG, Kind, find_horizon_px, turn_lens
from crossview.views.symmetry import roll_ground

FovSource = Literal["panorama", "exif", "given", "assumed", "unused"]
Picture = PictureSource | Photo

USUAL_FOV_DEG = 65.0  # stands for the width of a photo that no file tells and no model asks
TRIED_FOV_DEG = (50.0, 65.0, 80.0, 100.0)  # of the long side, when the file says nothing
PHOTOS_TOGETHER = 32  # that are decoded at a time
MANY_PHOTOS, ANY_PHOTOS = 8, 1
MOST_HELD_BYTES = 500_000_000  # of their pixels: a large one is located alone
_LEAST_TILT_DEG = 1.0  # less is less than a row of most networks' strips, and counts as level
_STRIPS_TOGETHER = 64  # strips per call of the network
_MOST_BEARINGS = 4096  # windows that the common bearing is taken from


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a photo may have been made: one guess of its lens, and how it was held.

    ``tilt``: estimated for this lens, where nothing tells the horizon; ``horizon_px`` is then from
    it, if the lines of the photo tell it and the camera was not about level.
    """

    kind: Kind
    fov_deg: float
    source: FovSource
    horizon_px: float | None
    tilt: Tilt | None = None


@dataclass(frozen=True, kw_only=True)
class Query:
    """One photo, its hints, and a strip and a vector for each reading of it."""

    photo: str
    sha256: str
    hints: Hints
    readings: tuple[Reading, ...]
    heading: KnownHeading | None  # that the search relies on: given, or from the file
    heading_wanted: bool  # none is known, and one would help
    turned_deg: float  # where the photo's middle lies in the strips, clockwise from theirs
    assumptions: tuple[str, ...]  # that hold for all readings
    warnings: tuple[str, ...]
    strips: tuple[U8, ...] = field(default=(), repr=False)  # [h, w, 3], what the network is shown
    vectors: F32 = field(repr=False)  # [readings, D]

    def describe_reading(self, chosen: int) -> tuple[str, ...]:
        """What is assumed of the lens and the tilt, if the photo is read in the chosen way."""
        reading, told = self.readings[chosen], []
        if reading.source == "assumed":
            tried = ", ".join(f"{guess.fov_deg:g}" for guess in self.readings)
            told.append(f"field of view assumed: {reading.fov_deg:g} degrees (best of {tried})")
        tilt = reading.tilt
        if tilt is not None and tilt.is_told:
            way = "level"
            if reading.horizon_px is not None:
                side = "up" if tilt.pitch_deg > 0.0 else "down"
                way = f"{abs(tilt.pitch_deg):.0f} degrees {side}"
            within = max(round(tilt.sigma_deg), 1)
            told.append(
                f"tilt estimated: {way}, give or take {within}, from the lines of the photo"
            )
        elif reading.horizon_px is None and reading.source != "unused":
            told.append("level camera assumed")
        return tuple(told)


def open_photo(picture: Picture) -> Photo:
    """A decoded photo from what :func:`load_photo` takes, or one that is decoded already."""
    return picture if isinstance(picture, Photo) else load_photo(picture)


def find_common_bearing(index: Windows, bins: int) -> float:
    """Where up points in most windows, in degrees from a turn of the model: in [-step/2, step/2).

    All turns are alike, so bearings are averaged on a circle of one step. Grids of a projection
    differ by little; where windows point anywhere, their mean says nothing and harms nothing.
    """
    step_deg = 360.0 / bins
    some = index.sample_bearings(_MOST_BEARINGS)
    mean = np.exp(2j * np.pi * np.asarray(some, np.float64) / step_deg).mean()
    return float(np.angle(mean)) / (2.0 * np.pi) * step_deg


def make_queries(
    pictures: Sequence[Picture],
    hints: Sequence[Hints],
    embedder: Embedder,
    up_bearing_deg: float = 0.0,
) -> Iterator[Query]:
    """A query per picture, in order; strips are embedded together, photos are not kept.

    ``up_bearing_deg``: see :func:`prepare_query`.
    """
    waiting: list[Query] = []
    for picture, picture_hints in zip(pictures, hints, strict=True):
        photo = open_photo(picture)
        waiting.append(prepare_query(photo, picture_hints, embedder.info, up_bearing_deg))
        if sum(len(query.strips) for query in waiting) >= _STRIPS_TOGETHER:
            yield from embed_queries(waiting, embedder)
            waiting = []
    yield from embed_queries(waiting, embedder)


def read_batches(
    paths: Sequence[str | Path], failed: Callable[[BadImage], None], *, apart: bool = False
) -> Iterator[tuple[list[Photo], int]]:
    """Photos to be located together, and how many paths they took: a few, or few bytes of pixels.

    ``failed`` is called with each that cannot be read; the others go on.
    """
    photos: list[Photo] = []
    taken = 0
    for outcome in read_photos(paths, apart=apart):
        taken += 1
        if isinstance(outcome, Photo):
            photos.append(outcome)
        else:
            failed(outcome)
        held = sum(photo.pixels.nbytes for photo in photos)
        if taken >= PHOTOS_TOGETHER or held >= MOST_HELD_BYTES:
            yield photos, taken
            photos, taken = [], 0
    if taken:
        yield photos, taken


def read_photos(paths: Sequence[str | Path], *, apart: bool = False) -> Iterator[Photo | BadImage]:
    """Each photo, or why it cannot be read, in order.

    From ``MANY_PHOTOS`` on they are decoded in processes of their own, a few in advance, with a
    deadline and a budget of memory for each. Of fewer, starting those would take most of the time;
    ``apart`` does it all the same, where nobody waits who could stop it.
    """
    if len(paths) < (ANY_PHOTOS if apart else MANY_PHOTOS):
        for path in paths:
            try:
                yield load_photo(path)
            except BadImage as problem:
                yield problem
        return
    budget = DecodingBudget(memory_bytes=MAX_MEMORY_BYTES, file_bytes=MAX_FILE_BYTES)
    with Decoders(_load_named, budget) as decoders:
        ahead: deque[Future[Photo]] = deque()
        for path in paths:  # the processes have a working folder of their own
            ahead.append(decoders.submit(Path(path).absolute(), str(path), name=str(path)))
            if len(ahead) > DECODERS:
                yield _wait_for_photo(ahead.popleft())
        while ahead:
            yield _wait_for_photo(ahead.popleft())


def _load_named(path: Path, name: str) -> Photo:
    return load_photo(path, name=name)


def _wait_for_photo(decoding: Future[Photo]) -> Photo | BadImage:
    try:
        return decoding.result()
    except BadImage as problem:
        return problem


def choose_readings(photo: Photo, hints: Hints, info: ModelInfo) -> tuple[Reading, ...]:
    """One reading if the field of view is given or known from the file, else several to try.

    Only what the model was trained on is tried, unless it covers none of them. Where neither a
    hint nor the file tells the horizon of a photo of one lens, its lines are asked for the tilt
    of the camera: of each reading, because it depends on the lens.
    """
    if info.ground.representation == "letterbox":
        return (_take_as_is(photo, hints, info),)
    readings = _list_readings(photo, hints, info)
    tilted = [each.kind == "perspective" and each.horizon_px is None for each in readings]
    if not any(tilted):
        return readings
    lines, size = find_lines(photo.pixels), (photo.pixels.shape[1], photo.pixels.shape[0])
    return tuple(
        _tilt_reading(reading, estimate_tilt(lines, reading.fov_deg), size) if lacks else reading
        for reading, lacks in zip(readings, tilted, strict=True)
    )


def _tilt_reading(reading: Reading, tilt: Tilt, size_px: tuple[int, int]) -> Reading:
    if not tilt.is_told or abs(tilt.pitch_deg) < _LEAST_TILT_DEG:
        return replace(reading, tilt=tilt)
    row_px = find_horizon_px(size_px, reading.fov_deg, tilt.pitch_deg)
    return replace(reading, tilt=tilt, horizon_px=row_px)


def _list_readings(photo: Photo, hints: Hints, info: ModelInfo) -> tuple[Reading, ...]:
    """The lenses to try, with the horizon where a hint or the file tells it."""
    horizon = photo.horizon_px
    if hints.horizon_px is not None:  # a row of the file, which may have been decoded smaller
        horizon = hints.horizon_px * photo.shrunk
    if hints.fov_deg is not None:
        partial = photo.kind == "panorama" and photo.fov_deg != 360.0
        kind: Kind = "panorama" if hints.fov_deg > FLAT_LIMIT_DEG or partial else "perspective"
        fov = photo.upright_fov_deg(hints.fov_deg)
        return (Reading(kind=kind, fov_deg=fov, source="given", horizon_px=horizon),)
    if photo.fov_deg is not None:
        source: FovSource = "panorama" if photo.kind == "panorama" else "exif"
        return (Reading(kind=photo.kind, fov_deg=photo.fov_deg, source=source, horizon_px=horizon),)
    return tuple(
        Reading(
            kind="panorama" if fov > FLAT_LIMIT_DEG else photo.kind,
            fov_deg=fov,
            source="assumed",
            horizon_px=horizon,
        )
        for fov in _choose_fovs(photo, info)[0]
    )


def _take_as_is(photo: Photo, hints: Hints, info: ModelInfo) -> Reading:
    """The one reading of a photo by a model that is shown it as it is."""
    fov_deg = hints.fov_deg or photo.fov_deg or USUAL_FOV_DEG
    if fov_deg > FLAT_LIMIT_DEG or photo.kind == "panorama":
        raise InvalidValue(
            f"{photo.path} is a panorama, and the model {info.name!r} knows photos of one lens "
            "only.\nCut a level view of some 90 degrees out of it, and give that."
        )
    return Reading(kind="perspective", fov_deg=fov_deg, source="unused", horizon_px=None)


def _choose_fovs(photo: Photo, info: ModelInfo) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fields of view to try where the file says none, and those that the model does not cover."""
    rows, columns = photo.pixels.shape[:2]
    is_strip = columns >= STRIP_RATIO * rows and bool(photo.also_try_fov_deg)
    across: tuple[float, ...] = TRIED_FOV_DEG
    if rows > columns:  # the same lenses, held upright
        across = tuple(round(turn_lens(fov, columns / rows), 1) for fov in TRIED_FOV_DEG)
    usual = (*(() if is_strip else across), *photo.also_try_fov_deg)
    covered = tuple(fov for fov in usual if info.covers(fov))
    return (covered, tuple(fov for fov in usual if fov not in covered)) if covered else (usual, ())


def prepare_file(
    data: bytes,
    name: str,
    hints: Hints,
    info: ModelInfo,
    up_bearing_deg: float,
    limits: tuple[int, int],
) -> Query:
    """:func:`prepare_query` of a photo's file: what a process that decodes has to do of a request.

    ``limits``: pixels, and bytes while it is decoded. What comes back is smaller than the photo by
    far.
    """
    photo = load_photo(data, name=name, max_pixels=limits[0], max_memory_bytes=limits[1])
    return prepare_query(photo, hints, info, up_bearing_deg)


def prepare_query(
    photo: Photo, hints: Hints, info: ModelInfo, up_bearing_deg: float = 0.0
) -> Query:
    """The query without vectors, with the strip of each reading: all that needs no network.

    A heading that is given falls between two turns of the model, in windows whose up points to
    ``up_bearing_deg``. The strips are turned by what it is off the nearest one, so that this turn
    is the heading itself, to half a column.
    """
    rows = round(len(photo.pixels) / photo.shrunk)
    if hints.horizon_px is not None and not -1 <= hints.horizon_px / rows <= 2:
        raise InvalidValue(
            f"{photo.path}: a horizon at row {hints.horizon_px:g} lies far outside of a picture "
            f"of {rows} rows."
        )
    guesses = choose_readings(photo, hints, info)
    prior, weighed = choose_prior(photo.gps, photo.gps_sigma_m, hints)
    direction = choose_heading(photo.heading, hints, info, min(guess.fov_deg for guess in guesses))
    heading = direction.heading
    columns = _count_turned_columns(heading, info, up_bearing_deg)
    query = Query(
        photo=photo.path,
        sha256=photo.sha256,
        hints=replace(hints, prior=prior, gps_prior=False),
        readings=guesses,
        heading=heading,
        heading_wanted=direction.wanted,
        turned_deg=columns * 360.0 / info.ground.width_px,
        assumptions=(
            *_list_assumptions(photo, hints, guesses, info),
            *weighed,
            *direction.assumptions,
            *_describe_north(heading, info),
        ),
        warnings=tuple(_list_warnings(guesses, heading, info)),
        vectors=np.empty((0, info.dim), np.float32),
    )
    strips = [_render_strip(photo, guess, heading, info) for guess in guesses]
    if columns:
        strips = [np.roll(strip, columns, axis=1) for strip in strips]
    return replace(query, strips=tuple(strips))


def _count_turned_columns(
    heading: KnownHeading | None, info: ModelInfo, up_bearing_deg: float
) -> int:
    """Columns to the right by which a strip is turned for the heading to be one of its turns."""
    if heading is None or heading.source != "given" or info.azimuth_bins == 1:
        return 0
    if info.ground.representation == "narrow":  # a photo's strip is no canvas to be turned
        return 0
    step_deg = 360.0 / info.azimuth_bins
    off_deg = (heading.degrees - up_bearing_deg + step_deg / 2.0) % step_deg - step_deg / 2.0
    return round(off_deg / 360.0 * info.ground.width_px)


def _render_strip(
    photo: Photo, reading: Reading, heading: KnownHeading | None, info: ModelInfo
) -> U8:
    strip = make_ground_view(
        photo.pixels,
        reading.kind,
        info.ground,
        fov_deg=reading.fov_deg,
        horizon_px=reading.horizon_px,
    )
    if info.azimuth_bins > 1 or heading is None:
        return strip
    # A model that was trained on aligned pictures expects north in the middle.
    return roll_ground(strip, -heading.degrees)


def _list_assumptions(
    photo: Photo, hints: Hints, guesses: Sequence[Reading], info: ModelInfo
) -> Iterator[str]:
    as_is = info.ground.representation == "letterbox"
    if as_is:
        yield "the photo is taken as it is: its field of view, horizon and heading play no part"
    if hints.fov_deg is None and not as_is:
        yield from photo.view_assumptions
        if guesses[0].source == "assumed":
            yield from _describe_lens(photo, info)
    yield from photo.assumptions
    if photo.gps is None or hints.gps_prior:
        return
    if hints.near != photo.gps:
        yield f"GPS in the file ({photo.gps}) shown, not used"
    else:
        yield f"GPS in the file ({photo.gps}) used as a hint"


def _describe_lens(photo: Photo, info: ModelInfo) -> Iterator[str]:
    """What is assumed of an unknown camera, other than its field of view."""
    if photo.kind == "perspective" and not photo.view_assumptions:
        yield "nothing in the file tells of a lens or a panorama: taken for a photo of one lens"
    if left_out := _choose_fovs(photo, info)[1]:
        widths = ", ".join(f"{fov:g}" for fov in left_out)
        yield f"field of view of {widths} degrees not tried: the model was not trained on it"


def _describe_north(heading: KnownHeading | None, info: ModelInfo) -> Iterator[str]:
    if heading is None and info.azimuth_bins == 1 and info.headings_seen == "aligned":
        yield "north assumed in the middle of the picture"


def _list_warnings(
    guesses: Sequence[Reading], heading: KnownHeading | None, info: ModelInfo
) -> Iterator[str]:
    """What about the picture lies outside of what the model was trained on."""
    if not any(info.covers(guess.fov_deg) for guess in guesses):
        low, high = info.fov_seen_deg
        seen = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        has = f"{guesses[0].fov_deg:.0f}" if len(guesses) == 1 else "fewer"
        yield (
            f"the model was trained on fields of view of {seen} degrees, and this picture has {has}"
        )
    if info.headings_seen == "aligned" and info.azimuth_bins == 1 and heading is None:
        yield (
            "the model was trained on pictures with north in the middle; without a heading "
            "its answer is right only if that holds here too"
        )


def embed_queries(waiting: Sequence[Query], embedder: Embedder) -> Iterator[Query]:
    """The queries with the vectors of their strips; strips of one width are embedded together."""
    strips = [strip for query in waiting for strip in query.strips]
    vectors = np.empty((len(strips), embedder.info.dim), np.float32)
    for width in sorted({strip.shape[1] for strip in strips}):
        rows = [n for n, strip in enumerate(strips) if strip.shape[1] == width]
        for first in range(0, len(rows), _STRIPS_TOGETHER):
            batch = rows[first : first + _STRIPS_TOGETHER]
            vectors[batch] = embedder.ground(np.stack([strips[n] for n in batch]))
    start = 0
    for query in waiting:
        stop = start + len(query.strips)
        yield replace(query, vectors=vectors[start:stop])
        start = stop
