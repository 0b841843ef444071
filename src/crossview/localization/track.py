"""The path of a camera from many pictures: a hidden Markov model over the windows of a region.

The state is the window that the camera stands in, or "lost": out of the region, or nowhere that
the model knows. A step moves it as far as the time that passed and a speed limit allow. Each
picture weighs the windows by its scores, as far as it is not foreign. Forward and backward over
all pictures (Rabiner, "A tutorial on hidden Markov models", 1989) gives each point what all of
them say, those that came later included.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from crossview.arrays import F64, I64
from crossview.errors import InvalidValue, require
from crossview.geo.points import LatLon, find_middle, move_point, project_to_local_m
from crossview.index.store import Index
from crossview.localization.hints import Hints
from crossview.localization.locate import require_ready
from crossview.localization.queries import Query, find_common_bearing, make_queries, read_photos
from crossview.localization.search import search
from crossview.model import Embedder
from crossview.street.own_photos import OwnPhotoOptions, find_time
from crossview.views.decode import Photo, read_photo_header

_TEMPERATURE = 0.02
_BLOCK = 64  # cells: side of a block of the grid
_SHOWN_PX = 480  # longest side of the small copy of a picture
_WITHIN = 0.6827  # of the posterior within one sigma


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """What is known of the way, and what is assumed.

    ``most_speed_m_s`` limits steps between pictures whose times are known, ``most_step_m`` others.
    ``foreign_share``: of pictures that show another place, or nothing that the model knows.
    """

    most_speed_m_s: float = 3.0
    most_step_m: float = 30.0
    foreign_share: float = 0.1
    temperature: float | None = None
    hints: Hints = field(default_factory=Hints)

    def __post_init__(self) -> None:
        for name in ("most_speed_m_s", "most_step_m"):
            value = getattr(self, name)
            require(0.0 < value < 1e6, f"{name} must be > 0, got {value}.")
        require(
            0.0 <= self.foreign_share < 1.0,
            f"the share of foreign pictures lies in [0, 1), got {self.foreign_share}.",
        )


@dataclass(frozen=True, kw_only=True)
class TrackPoint:
    """Where the camera was at one picture, as all pictures together say.

    ``position_sigma_m``: radius about the place that holds 68 % of what is believed;
    ``heading_sigma_deg``: half the width of the range about the heading that does. Of a ``lost``
    point the place is the best guess that is left, and worth little.
    """

    photo: str  # a file, or a video and the time in it
    elapsed_s: float | None  # since the first picture; None: times are not known
    time: datetime | None  # in UTC; without a zone what the camera's clock showed
    latlon: LatLon
    position_sigma_m: float
    heading_deg: float | None  # of the picture's middle, clockwise from true north
    heading_sigma_deg: float | None
    lost: bool
    fits: float  # probability that the picture shows the place, and is not foreign
    picture: bytes = field(default=b"", repr=False)  # a small JPEG file
    truth: LatLon | None = None
    error_m: float | None = None  # where the truth is known


@dataclass(frozen=True, kw_only=True)
class Track:
    """A path: its points in the order of time, and everything that was assumed."""

    source: str  # the video, or the photos in words
    points: tuple[TrackPoint, ...]
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def errors_m(self) -> tuple[float, ...]:
        """Of the points whose truth is known, lost ones included."""
        return tuple(p.error_m for p in self.points if p.error_m is not None)


@dataclass(frozen=True, kw_only=True)
class _Sighting:
    """A picture of the track, as the filter takes it."""

    name: str
    time: datetime | None
    query: Query
    picture: bytes


def locate_track(
    index: Index,
    embedder: Embedder,
    photos: Sequence[str | Path],
    options: TrackOptions | None = None,
) -> Track:
    """The path along which ``photos`` were taken, in the order of their times."""
    options = options or TrackOptions()
    require(len(photos) > 0, "a track needs photos, and none was given.")
    require_ready(index, embedder)
    sightings = sorted(
        _see_photos(index, embedder, photos, options), key=lambda s: (s.time is None, s.time)
    )
    if any(sighting.time is None for sighting in sightings):
        raise InvalidValue("photos without times")
    return _follow(index, sightings, options)


def _see_photos(
    index: Index, embedder: Embedder, paths: Sequence[str | Path], options: TrackOptions
) -> Iterator[_Sighting]:
    bearing = find_common_bearing(index, embedder.info.azimuth_bins)
    for path, outcome in zip(paths, read_photos(list(paths)), strict=True):
        if not isinstance(outcome, Photo):
            raise outcome
        (query,) = make_queries([outcome], [options.hints], embedder, bearing)
        capture = read_photo_header(path)[1]
        yield _Sighting(
            name=outcome.path,
            time=find_time(capture, OwnPhotoOptions()) or capture.clock,
            query=query,
            picture=_shrink(outcome),
        )


def _shrink(photo: Photo) -> bytes:
    """A small JPEG file of a picture."""
    image = Image.fromarray(photo.pixels)
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()


class _Ground:
    """The windows of a region as cells of a grid, in blocks, so that empty ground costs nothing."""

    def __init__(self, east_m: F64, north_m: F64, cell_m: float) -> None:
        self.cell_m = cell_m
        column = np.round(east_m / cell_m).astype(np.int64)
        row = np.round(north_m / cell_m).astype(np.int64)
        block_row, block_column = row // _BLOCK, column // _BLOCK
        pairs = np.stack([block_row, block_column], axis=1)
        blocks, slot = np.unique(pairs, axis=0, return_inverse=True)
        self.blocks = [(int(r), int(c)) for r, c in blocks]
        self.slots = {pair: n for n, pair in enumerate(self.blocks)}
        self.at: I64 = (
            (slot.reshape(-1) * _BLOCK + (row - block_row * _BLOCK)) * _BLOCK
            + column
            - block_column * _BLOCK
        )
        self.crowd = np.maximum(np.bincount(self.at, minlength=self.size), 1)

    @property
    def size(self) -> int:
        return len(self.blocks) * _BLOCK * _BLOCK

    def spread(self, mass: F64, reach_m: float) -> F64:
        """Mass [N] after a step of at most ``reach_m`` in any direction; what leaves is gone."""
        radius = max(1, math.ceil(reach_m / self.cell_m))
        kernel = _make_disk(reach_m / self.cell_m, radius)
        cells = np.bincount(self.at, mass, self.size).reshape(-1, _BLOCK, _BLOCK)
        out = np.zeros_like(cells)
        reach = math.ceil(radius / _BLOCK)
        for slot in np.flatnonzero(cells.any(axis=(1, 2))):
            padded = np.pad(cells[slot], radius)
            moved = cv2.filter2D(padded, cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)
            canvas = np.zeros(((2 * reach + 1) * _BLOCK,) * 2)
            first = reach * _BLOCK - radius
            canvas[first : first + len(moved), first : first + len(moved)] = moved
            row, column = self.blocks[slot]
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    other = self.slots.get((row + down, column + right))
                    if other is not None:
                        y, x = (down + reach) * _BLOCK, (right + reach) * _BLOCK
                        out[other] += canvas[y : y + _BLOCK, x : x + _BLOCK]
        spread: F64 = np.maximum(out.reshape(-1)[self.at] / self.crowd[self.at], 0.0)
        return spread


def _make_disk(radius: float, half: int) -> F64:
    """Shares of the cells [2 half + 1, 2 half + 1] of a step within ``radius`` cells."""
    off = np.arange(-half, half + 1)
    far = np.hypot(off[:, None], off[None, :])
    disk = np.clip(radius + 0.5 - far, 0.0, 1.0)
    kernel: F64 = disk / disk.sum()
    return kernel


def _follow(index: Index, sightings: Sequence[_Sighting], options: TrackOptions) -> Track:
    """Filter forward, smooth backward, and read the points off."""
    origin = find_middle(index.lat, index.lon)
    east, north = project_to_local_m(origin, index.lat, index.lon)
    ground = _Ground(east, north, index.manifest.stride_m)
    temperature = options.temperature or _TEMPERATURE
    results = [search(index, [sighting.query])[0] for sighting in sightings]
    fitting: list[F64] = []
    for result in results:
        scores = np.asarray(result.scores, np.float64)
        ratio = np.exp((scores - np.nanmax(scores)) / temperature)
        ratio = np.nan_to_num(ratio, nan=0.0)
        fitting.append(ratio / ratio.mean())
    share = options.foreign_share
    reaches = [
        options.most_speed_m_s * ((b.time - a.time).total_seconds() + 1.0)
        if a.time is not None and b.time is not None
        else options.most_step_m
        for a, b in itertools.pairwise(sightings)
    ]
    forward: list[F64] = []
    belief = np.full(index.count, 1.0 / index.count)
    for n, likely in enumerate(fitting):
        if n:
            belief = ground.spread(belief, reaches[n - 1]) + 1e-3 / index.count
        belief *= (1.0 - share) * likely + share
        belief /= belief.sum()
        forward.append(belief)
    smooth = [forward[-1]]
    for n in range(len(forward) - 2, -1, -1):
        ahead = ground.spread(forward[n], reaches[n]) + 1e-3 / index.count
        backward = ground.spread(smooth[0] / ahead, reaches[n]) + 1e-3 / index.count
        belief = forward[n] * backward
        smooth.insert(0, belief / belief.sum())
    points = []
    for sighting, result, belief, likely in zip(sightings, results, smooth, fitting, strict=True):
        best = int(np.argmax(belief))
        near = np.hypot(east - east[best], north - north[best]) <= index.manifest.footprint_m / 2.0
        weights = belief[near] / belief[near].sum()
        x, y = float(weights @ east[near]), float(weights @ north[near])
        far = np.hypot(east - x, north - y)
        order = np.argsort(far)
        at = int(np.searchsorted(np.cumsum(belief[order]), _WITHIN))
        heading = float(result.heading_deg[best] + index.up_bearing_deg[best]) % 360.0
        known = not math.isnan(heading)
        fits = float(belief @ ((1.0 - share) * likely / ((1.0 - share) * likely + share)))
        points.append(
            TrackPoint(
                photo=sighting.name,
                elapsed_s=None
                if sighting.time is None or sightings[0].time is None
                else (sighting.time - sightings[0].time).total_seconds(),
                time=sighting.time,
                latlon=move_point(origin, east_m=x, north_m=y),
                position_sigma_m=float(far[order][min(at, len(order) - 1)]),
                heading_deg=heading if known else None,
                heading_sigma_deg=360.0 / index.manifest.model.azimuth_bins / 2.0
                if known
                else None,
                lost=fits < 0.5 and bool(belief[best] < 0.01),
                fits=fits,
                picture=sighting.picture,
            )
        )
    assumptions = tuple(dict.fromkeys(a for s in sightings for a in s.query.assumptions))
    warnings = (*index.manifest.warnings, *(w for s in sightings for w in s.query.warnings))
    return Track(
        source=f"{len(sightings)} photos",
        points=tuple(points),
        assumptions=assumptions,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def add_truths(track: Track, truths: Sequence[LatLon | None]) -> Track:
    """The track with what is known of where it went, and how far off its points are."""
    from crossview.geo.points import measure_distance_m

    require(len(truths) == len(track.points), f"{len(track.points)} points, {len(truths)} truths.")
    points = (
        replace(p, truth=t, error_m=None if t is None else measure_distance_m(p.latlon, t))
        for p, t in zip(track.points, truths, strict=True)
    )
    return replace(track, points=tuple(points))
