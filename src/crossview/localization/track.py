"""The path of a camera from many pictures: a hidden Markov model over the windows of a region.

The state is the window that the camera stands in and the way that it looks, or "lost": out of the
region, or where no picture fits. A step moves the camera as far as the time that passed and a
speed limit allow, or as odometry tells, and turns it by little, seldom by anything. A picture
weighs the states by its scores at every turn, as far as it is not foreign: a foreign picture says
nothing. Forward and backward over all pictures (Rabiner, "A tutorial on hidden Markov models",
1989) gives each point what all of them say, those that came later included.

Belief moves by convolution on the grid of the index, in blocks of 64 cells, where there is any;
long steps are taken on a coarser grid. What is negligible is cut off, so that memory and time grow
with the ground that is still believed in.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from crossview.arrays import F32, F64, I64
from crossview.errors import BadData, BadImage, CrossviewError, InvalidValue, require
from crossview.geo.points import (
    LatLon,
    find_middle,
    measure_distance_m,
    move_point,
    project_to_local_m,
)
from crossview.index.selection import Windows, hold_all
from crossview.lists import read_table
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.belief import measure_turns
from crossview.localization.hints import Hints
from crossview.localization.locate import answer_queries, require_ready
from crossview.localization.posterior import find_temperature
from crossview.localization.queries import (
    Picture,
    Query,
    find_common_bearing,
    make_queries,
    open_photo,
    read_batches,
)
from crossview.localization.search import search
from crossview.model import Embedder
from crossview.stats import WITHIN_SIGMAS
from crossview.street.own_photos import OwnPhotoOptions, ReceiverTrack, find_time
from crossview.views.decode import Photo, load_photo, read_photo_header
from crossview.views.exif import Capture
from crossview.views.video import FrameOptions, is_video_name, read_video

WALKING_M_S, DRIVING_M_S = 3.0, 20.0  # limits of speed, of photos and of a video
ODOMETRY_COLUMNS = ("metres", "turn_deg", "metres_sigma", "turn_sigma_deg")
MOST_POINTS = 10_000
_BLOCK = 64  # cells: side of a block of the grid
_MOST_RADIUS = 24  # cells of a step; longer ones are taken on a coarser grid
TRACK_TEMPERATURE = 0.03  # in cosines, of a softmax over windows and turns without a calibration
_LEAST_RADIUS = 0.75  # cells; belief that moves by less never leaves its cell
_CLOCK_S = 1.0  # to which a time in a file is good
_FREE_TURN = 0.1  # of all steps: the camera looks anywhere afterwards
_CALM_S = 60.0  # after a longer time, too
_LOSE, _FIND, _LOST_AT_FIRST = 0.01, 0.1, 0.1  # of belief: to lost, and back, at each step
_CUT = 1e-6  # of belief that may be cut off at a step
_MOST_KEPT = 120_000_000  # numbers of belief that are kept over all pictures
_CELL_SIGMA = 1.0 / math.sqrt(6.0)  # of a square cell, root mean square from its middle, in sides
_SHOWN_PX = 480  # longest side of the small copy of a picture
_READ_BY = 16  # pictures of which the field of view is chosen
_MOST_SAID = 12  # assumptions about single pictures


class OdometryStep(NamedTuple):
    """From one picture to the next: the way, and how far the camera turned, clockwise."""

    metres: float
    metres_sigma: float
    turn_deg: float | None = None
    turn_sigma_deg: float = 5.0


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """What is known of the way, and what is assumed.

    ``most_speed_m_s`` limits steps between pictures whose times are known (None: 3 for photos, 20
    for a video), ``most_step_m`` the others; ``odometry`` replaces both. ``turn_sigma_deg``: how
    far the camera turns between two pictures; from 90 on it may look anywhere. ``foreign_share``:
    of pictures that show another place, or nothing that the model knows. ``seconds``: when each
    picture was taken, instead of what the files say. ``zone``: of times in files without one.
    ``start``: when a video began. ``temperature``: in cosines; None: the index's calibration's.
    ``past_only``: every point by the pictures up to it, as it would be known on the way.
    """

    order: str = "time"  # or "name"
    ignore_times: bool = False
    seconds: tuple[float, ...] | None = None
    zone: tzinfo | None = None
    start: datetime | None = None
    most_speed_m_s: float | None = None
    most_step_m: float = 30.0
    odometry: tuple[OdometryStep, ...] | None = None
    turn_sigma_deg: float = 25.0
    foreign_share: float = 0.2
    temperature: float | None = None
    past_only: bool = False
    frames: FrameOptions = field(default_factory=FrameOptions)
    hints: Hints = field(default_factory=Hints)

    def __post_init__(self) -> None:
        require(self.order in {"time", "name"}, f"order is time or name, got {self.order!r}.")
        for name in ("most_speed_m_s", "most_step_m", "temperature", "turn_sigma_deg"):
            value = getattr(self, name)
            require(value is None or 0.0 < value < 1e6, f"{name} must be > 0, got {value}.")
        require(
            0.0 <= self.foreign_share < 1.0,
            f"the share of foreign pictures lies in [0, 1), got {self.foreign_share}.",
        )
        if self.seconds is not None:
            names = [f"picture {n}" for n, _ in enumerate(self.seconds, 1)]
            _require_forward(self.seconds, names)


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


def locate_track(
    index: Windows,
    embedder: Embedder,
    pictures: Sequence[Picture] | str | Path,
    options: TrackOptions | None = None,
    *,
    failed: Callable[[CrossviewError], None] | None = None,
    progress: Callable[[str, int, int], None] = lambda _job, _done, _total: None,
) -> Track:
    """The path along which photos were taken, or a video (one path).

    Photos are taken in the order of the times in their files. ``failed`` is called with each that
    cannot be read or has no time, and the others go on; None: the first one raises. ``progress``
    gets a job in words, how much is done and how much there is. Raises :class:`BadImage`,
    :class:`BadData` and :class:`InvalidValue`.
    """
    options = options or TrackOptions()
    require_ready(index, embedder)
    if isinstance(pictures, str | Path):
        pictures = [pictures]
    if len(pictures) == 1 and _is_path(pictures[0]) and is_video_name(str(pictures[0])):
        return _locate_video(index, embedder, str(pictures[0]), options, progress)
    looks = list_looks(pictures, options, failed)
    _require_odometry(options, len(looks))
    sightings = _see(index, embedder, looks, options, failed, progress)
    return _follow(index, embedder, sightings, options, f"{len(sightings)} photos", progress)


def _locate_video(
    index: Windows,
    embedder: Embedder,
    path: str,
    options: TrackOptions,
    progress: Callable[[str, int, int], None],
) -> Track:
    video = read_video(
        path,
        options.frames,
        lambda done_s, of_s: progress("seconds of video", int(done_s), int(of_s or done_s)),
    )
    _require_odometry(options, len(video.frames))
    began = options.start or video.began
    looks = [
        Look(
            name=f"{path} at {frame.seconds:.1f} s",
            picture=frame.jpeg,
            elapsed_s=frame.seconds,
            clock_s=0.0,
            time=None if began is None else began + timedelta(seconds=frame.seconds),
        )
        for frame in video.frames
    ]
    options = replace(options, most_speed_m_s=options.most_speed_m_s or DRIVING_M_S)
    sightings = _see(index, embedder, looks, options, None, progress)
    track = _follow(index, embedder, sightings, options, path, progress)
    taken = (
        f"{len(video.frames)} frames taken of {video.looked_at} looked at: the sharpest of every "
        f"{options.frames.every_s:g} s in which the camera moved"
    )
    when: tuple[str, ...] = ()
    if options.start is None and video.began is not None:
        when = (f"begun at {video.began:%Y-%m-%d %H:%M:%S} UTC, as the video's file says",)
    return replace(track, assumptions=(taken, *video.notes, *when, *track.assumptions))


# Pictures in their order.


@dataclass(frozen=True, kw_only=True)
class Look:
    """A picture of a track before it is looked at: its name and its moment."""

    name: str
    picture: Picture
    elapsed_s: float | None
    time: datetime | None
    clock_s: float = _CLOCK_S  # to which ``elapsed_s`` is good


def list_looks(
    pictures: Sequence[Picture],
    options: TrackOptions,
    failed: Callable[[CrossviewError], None] | None = None,
) -> list[Look]:
    """Pictures in their order in time, as ``options`` has it. Only headers of files are read.

    Raises :class:`InvalidValue` where photos tell no time, or times run back.
    """
    require(len(pictures) > 0, "a track needs photos or a video, and none was given.")
    require(
        len(pictures) <= MOST_POINTS,
        f"a track has at most {MOST_POINTS:,} photos, got {len(pictures):,}.\nGive a part of them.",
    )
    names = [str(p) if _is_path(p) else f"picture {n}" for n, p in enumerate(pictures, 1)]
    if options.seconds is not None:
        require(
            len(options.seconds) == len(pictures),
            f"{len(pictures)} pictures, but {len(options.seconds)} times.",
        )
        zero = options.seconds[0]
        return [
            Look(name=name, picture=picture, elapsed_s=second - zero, time=None)
            for name, picture, second in zip(names, pictures, options.seconds, strict=True)
        ]
    if not all(_is_path(picture) for picture in pictures):
        return [
            Look(name=name, picture=picture, elapsed_s=None, time=None)
            for name, picture in zip(names, pictures, strict=True)
        ]
    captures = _read_captures(names, failed)
    if options.order == "name":
        return _order_by_name(captures, options)
    return _order_by_time(captures, options, failed)


def _is_path(picture: Picture) -> bool:
    return isinstance(picture, str | Path)


def _read_captures(
    names: Sequence[str], failed: Callable[[CrossviewError], None] | None
) -> dict[str, Capture]:
    captures = {}
    for name in names:
        try:
            captures[name] = read_photo_header(name)[1]
        except BadImage as problem:
            if failed is None:
                raise
            failed(problem)
    if not captures:
        raise BadImage("none of the photos can be read.")
    return captures


def _find_times(captures: dict[str, Capture], options: TrackOptions) -> dict[str, datetime]:
    """Times of those that tell one: all in UTC, or all as their clocks showed it."""
    own = OwnPhotoOptions(zone=options.zone)
    times = {name: find_time(capture, own) for name, capture in captures.items()}
    known = {name: time for name, time in times.items() if time is not None}
    clocks = {name: c.clock for name, c in captures.items() if c.clock is not None}
    if len(known) >= len(clocks):
        return known
    if any(c.offset is not None for c in captures.values()):
        raise InvalidValue(
            f"{len(known)} photos tell their time with its zone, and {len(clocks) - len(known)} "
            "without.\nState the zone of the others, such as --time-zone Europe/Berlin."
        )
    return clocks


def _order_by_time(
    captures: dict[str, Capture],
    options: TrackOptions,
    failed: Callable[[CrossviewError], None] | None,
) -> list[Look]:
    times = _find_times(captures, options)
    without = [name for name in captures if name not in times]
    if without and (failed is None or not times):
        raise InvalidValue(
            f"{len(without)} of {len(captures)} photos tell no time, such as {without[0]}; a track "
            "needs their order.\nTo take them in the order of their names: --order name"
        )
    for name in without:
        assert failed is not None  # noqa: S101 - said above
        failed(BadImage(f"{name}: tells no time and is left out (--order name takes it)."))
    ordered = sorted(times, key=lambda name: times[name])
    first = times[ordered[0]]
    return [
        Look(
            name=name,
            picture=name,
            elapsed_s=(times[name] - first).total_seconds(),
            time=times[name],
        )
        for name in ordered
    ]


def _order_by_name(captures: dict[str, Capture], options: TrackOptions) -> list[Look]:
    """By name, digits by their value; times count if all are known, and must then run forward."""
    ordered = sorted(captures, key=_split_digits)
    times = {} if options.ignore_times else _find_times(captures, options)
    if len(times) < len(ordered):
        return [Look(name=name, picture=name, elapsed_s=None, time=None) for name in ordered]
    first = times[ordered[0]]
    seconds = [(times[name] - first).total_seconds() for name in ordered]
    _require_forward(seconds, ordered)
    return [
        Look(name=name, picture=name, elapsed_s=second, time=times[name])
        for name, second in zip(ordered, seconds, strict=True)
    ]


def _split_digits(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _require_forward(seconds: Sequence[float], names: Sequence[str]) -> None:
    for (before, name), (after, other) in pairwise(zip(seconds, names, strict=True)):
        require(
            math.isfinite(before) and after >= before,
            f"times run back: {other} comes after {name}, but was taken {before - after:g} s "
            "earlier.\nSort them by time (--order time), or leave the times out (--ignore-times).",
        )


# Odometry.


def read_odometry(path: str | Path) -> tuple[OdometryStep, ...]:
    """Steps of a CSV with the columns metres and, where known, turn_deg and both errors.

    A line is the way from one picture to the next. Without errors 10 % of the way plus 1 m, and 5
    degrees, are taken. Raises :class:`BadData` that names the line.
    """
    table = read_table(
        Path(path), needed=ODOMETRY_COLUMNS[:1], allowed=ODOMETRY_COLUMNS, what="odometry"
    )
    steps = []
    for row in table:
        metres = row.number("metres", 0.0, 1e6)
        if math.isnan(metres):
            raise BadData(f"{row.where}: metres is empty.")
        turn = row.number("turn_deg", -360.0, 360.0)
        sigma = row.number("metres_sigma", 0.0, 1e6)
        turn_sigma = row.number("turn_sigma_deg", 0.0, 360.0)
        steps.append(
            OdometryStep(
                metres=metres,
                metres_sigma=0.1 * metres + 1.0 if math.isnan(sigma) else sigma,
                turn_deg=None if math.isnan(turn) else turn,
                turn_sigma_deg=5.0 if math.isnan(turn_sigma) else turn_sigma,
            )
        )
        if len(steps) > MOST_POINTS:
            raise BadData(f"{path} has more than {MOST_POINTS:,} lines, more than any track.")
    return tuple(steps)


def _require_odometry(options: TrackOptions, pictures: int) -> None:
    if options.odometry is not None and len(options.odometry) != pictures - 1:
        raise InvalidValue(
            f"the odometry has {len(options.odometry)} steps, and {pictures} pictures have "
            f"{pictures - 1} between them.\nGive a line for each step from a picture to the next."
        )


# Queries of the pictures.


class _Sighting(NamedTuple):
    look: Look
    query: Query
    picture: bytes  # a small JPEG file


def _see(
    index: Windows,
    embedder: Embedder,
    looks: Sequence[Look],
    options: TrackOptions,
    failed: Callable[[CrossviewError], None] | None,
    progress: Callable[[str, int, int], None],
) -> list[_Sighting]:
    bearing = find_common_bearing(index, embedder.info.azimuth_bins)
    by_name = {look.name: look for look in looks}
    sightings: list[_Sighting] = []
    done = 0
    for photos, taken in _open_batches(looks, failed):
        queries = make_queries(photos, [options.hints] * len(photos), embedder, bearing)
        for photo, query in zip(photos, queries, strict=True):
            sightings.append(_Sighting(by_name[photo.path], query, _shrink(photo)))
        done += taken
        progress("pictures", done, len(looks))
    if not sightings:
        raise BadImage("none of the pictures can be read.")
    _require_odometry(options, len(sightings))
    return sightings


def _open_batches(
    looks: Sequence[Look], failed: Callable[[CrossviewError], None] | None
) -> Iterator[tuple[list[Photo], int]]:
    def refuse(problem: CrossviewError) -> None:
        if failed is None:
            raise problem
        failed(problem)

    if all(_is_path(look.picture) for look in looks):
        yield from read_batches([look.name for look in looks], refuse)
        return
    for look in looks:
        if isinstance(look.picture, bytes):
            yield [load_photo(look.picture, name=look.name)], 1
        else:
            yield [replace(open_photo(look.picture), path=look.name)], 1


def _shrink(photo: Photo) -> bytes:
    """A small JPEG file of a picture."""
    image = Image.fromarray(photo.pixels)
    image.thumbnail((_SHOWN_PX, _SHOWN_PX))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()


# The filter.


class _Step(NamedTuple):
    """How belief moves between two pictures."""

    kernel: F32  # over cells of the grid, of sum 1
    coarse: int  # cells of the index along a cell of that grid
    turns: F32 | None  # [J] weight of every turn of the camera; None: any


class _Ground:
    """The windows [N] of a region as cells of a grid, in blocks: empty ground costs nothing.

    ``crowd``: how many windows share the cell of each.
    """

    def __init__(self, east_m: F64, north_m: F64, cell_m: float) -> None:
        column, row = _number_cells(east_m / cell_m), _number_cells(north_m / cell_m)
        block = np.stack([row // _BLOCK, column // _BLOCK], axis=1)
        blocks, slot = np.unique(block, axis=0, return_inverse=True)
        self._blocks = [(int(down), int(right)) for down, right in blocks]
        self._slots = {pair: n for n, pair in enumerate(self._blocks)}
        within = row % _BLOCK * _BLOCK + column % _BLOCK
        self._at: I64 = slot.reshape(-1) * _BLOCK * _BLOCK + within
        size = len(blocks) * _BLOCK * _BLOCK
        self.crowd: F32 = np.bincount(self._at, minlength=size)[self._at].astype(np.float32)
        self._is_crowded = bool((self.crowd > 1.0).any())

    def carry(self, values: F32, kernel: F32) -> F32:
        """[N, C]: the sum over all windows of their values, weighted by how far they lie away."""
        channels = values.shape[1]
        cells = np.zeros((len(self._blocks) * _BLOCK * _BLOCK, channels), np.float32)
        rows = np.flatnonzero(values.any(axis=1))
        if self._is_crowded:
            np.add.at(cells, self._at[rows], values[rows])
        else:
            cells[self._at[rows]] = values[rows]
        blocks = cells.reshape(-1, _BLOCK, _BLOCK, channels)
        out = np.zeros_like(blocks)
        radius = len(kernel) // 2
        for slot in np.unique(self._at[rows] // (_BLOCK * _BLOCK)):
            padded = np.pad(blocks[slot], ((radius, radius), (radius, radius), (0, 0)))
            moved = cv2.filter2D(padded, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
            self._add_around(out, slot, moved.reshape(*padded.shape), radius)
        carried: F32 = np.maximum(out.reshape(-1, channels)[self._at], 0.0)
        return carried

    def _add_around(self, out: F32, slot: int, moved: F32, radius: int) -> None:
        """Add what came of a block, which reaches ``radius`` cells beyond it, to all it reaches."""
        row, column = self._blocks[slot]
        parts = (
            (-1, slice(_BLOCK - radius, None), slice(0, radius)),
            (0, slice(None), slice(radius, radius + _BLOCK)),
            (1, slice(0, radius), slice(radius + _BLOCK, None)),
        )
        for down, theirs_y, ours_y in parts:
            for right, theirs_x, ours_x in parts:
                other = self._slots.get((row + down, column + right))
                if other is not None:
                    out[other, theirs_y, theirs_x] += moved[ours_y, ours_x]


def _number_cells(position: F64) -> I64:
    """Whole numbers of positions [N] in cells, whose borders lie where the fewest windows are."""
    phase = float(np.angle(np.exp(2j * np.pi * position).mean())) / (2.0 * np.pi)
    numbers: I64 = np.round(position - phase).astype(np.int64)
    return numbers


class _Kept(NamedTuple):
    """Belief after a picture, where it is not negligible."""

    rows: I64
    mass: F32  # [rows, J]
    lost: float


class _Model:
    """The region as the filter sees it: how belief moves, and what a picture says."""

    def __init__(
        self,
        index: Windows,
        embedder: Embedder,
        sightings: Sequence[_Sighting],
        options: TrackOptions,
    ) -> None:
        hints = options.hints
        self.index, self.options = hold_all(index, hints.near, hints.within_m), options
        lat, lon = self.index.lat, self.index.lon
        self.origin = find_middle(lat, lon)
        east, north = project_to_local_m(self.origin, lat, lon)
        self.east, self.north = east, north
        up = math.radians(float(np.median(self.index.up_bearing_deg)))
        self._along = east * math.cos(up) - north * math.sin(up)  # the axes of the index's grid
        self._across = east * math.sin(up) + north * math.cos(up)
        self._grounds: dict[int, _Ground] = {}
        self.stride_m = index.manifest.stride_m
        self.bins = index.manifest.model.azimuth_bins
        self.reading = _choose_common_reading(index, [s.query for s in sightings])
        self.temperature = options.temperature or _find_temperature(
            index, embedder, sightings[0].query
        )
        self.kept_rows = max(1024, _MOST_KEPT // (len(sightings) * self.bins))

    def ground(self, coarse: int) -> _Ground:
        """The grid whose cells are ``coarse`` strides wide."""
        if coarse not in self._grounds:
            cell_m = coarse * self.stride_m
            self._grounds[coarse] = _Ground(self._along, self._across, cell_m)
        return self._grounds[coarse]

    def weigh(self, query: Query) -> tuple[F32, F64]:
        """What a picture multiplies belief by [N, J]; and the bearings of turn 0 [N], degrees.

        Of a picture that fits it is exp(score / temperature) over the mean of all states, of a
        foreign one 1. Column h is the way h * 360 / J degrees from north, and the bearing. Windows
        that the hints exclude have 0 in all columns.
        """
        reading = self.reading if len(query.readings) > 1 else 0
        turns = measure_turns(self.index, query, self.temperature, reading)
        tried = np.isfinite(turns)
        turns -= turns.max()
        weights = np.exp(turns, out=turns)
        weights *= tried.sum() / weights.sum()
        bearing = self.index.up_bearing_deg + query.turned_deg
        step_deg = 360.0 / self.bins
        shift = np.round(bearing / step_deg).astype(np.int64)
        for by in np.unique(shift % self.bins):
            if by:
                rows = shift % self.bins == by
                weights[rows] = np.roll(weights[rows], by, axis=1)
        share = self.options.foreign_share
        mixed = np.where(tried.any(axis=1, keepdims=True), (1.0 - share) * weights + share, 0.0)
        return mixed.astype(np.float32), bearing - shift * step_deg

    def move(self, kept: _Kept, step: _Step) -> tuple[F32, float]:
        """Belief [N, J] and lost before the next picture."""
        ground = self.ground(step.coarse)
        full = np.zeros((self.index.count, self.bins), np.float32)
        full[kept.rows] = kept.mass
        moved = ground.carry(full, step.kernel) / ground.crowd[:, None]
        moved = _turn(moved, step.turns)
        inside = float(kept.mass.sum())
        left = inside - float(moved.sum(dtype=np.float64))
        moved *= 1.0 - _LOSE
        moved += kept.lost * _FIND / moved.size
        return moved, kept.lost * (1.0 - _FIND) + inside * _LOSE + max(left, 0.0) * (1.0 - _LOSE)

    def look_back(self, ratio: F32, lost_ratio: float, step: _Step) -> tuple[F32, float]:
        """What the later pictures say of each state [N, J], and of lost: the adjoint of move."""
        ground = self.ground(step.coarse)
        turned = _turn(ratio, None if step.turns is None else np.roll(step.turns[::-1], 1))
        back = (1.0 - _LOSE) * ground.carry(turned / ground.crowd[:, None], step.kernel)
        whole = np.ones((self.index.count, 1), np.float32) / ground.crowd[:, None]
        stays = (1.0 - _LOSE) * ground.carry(whole, step.kernel)
        back += np.maximum(1.0 - stays, 0.0) * lost_ratio
        found = float(ratio.mean(dtype=np.float64)) * _FIND
        return back, found + (1.0 - _FIND) * lost_ratio

    def keep(self, belief: F32, lost: float) -> _Kept:
        """Belief of sum 1, without what is negligible."""
        whole = float(belief.sum(dtype=np.float64)) + lost
        if not whole > 0.0:
            raise InvalidValue("nothing is left: the hints of some picture exclude every window.")
        per_row = belief.sum(axis=1)
        order = np.argsort(-per_row, kind="stable")
        sums = np.cumsum(per_row[order], dtype=np.float64)
        count = int(np.searchsorted(sums, sums[-1] * (1.0 - _CUT))) + 1
        rows = np.sort(order[: min(count, self.kept_rows)])
        mass = belief[rows] / whole
        return _Kept(rows, mass.astype(np.float32), lost / whole)


def _turn(belief: F32, turns: F32 | None) -> F32:
    """Belief [N, J] after the camera turned, by weights [J] of every turn; None: anywhere."""
    if belief.shape[1] == 1:
        return belief
    if turns is None:
        mean: F32 = np.repeat(belief.mean(axis=1, keepdims=True), belief.shape[1], axis=1)
        return mean
    bins = len(turns)
    matrix = turns[(np.arange(bins)[None, :] - np.arange(bins)[:, None]) % bins]
    turned: F32 = belief @ matrix.astype(np.float32)
    return turned


def _choose_common_reading(index: Windows, queries: Sequence[Query]) -> int:
    """Which of several fields of view is taken: the one that most pictures choose."""
    several = [query for query in queries if len(query.readings) > 1]
    if not several:
        return 0
    some = several[:: math.ceil(len(several) / _READ_BY)]
    chosen = [result.reading for result in search(index, some)]
    return int(np.bincount(chosen).argmax())


def _find_temperature(index: Windows, embedder: Embedder, query: Query) -> float:
    """That of the index's calibration for such pictures, if it has one."""
    if index.manifest.calibration is None:
        return TRACK_TEMPERATURE
    (answer,) = answer_queries(index, embedder, [query])
    return find_temperature(index, answer, TRACK_TEMPERATURE)


def _plan_steps(looks: Sequence[Look], options: TrackOptions, model: _Model) -> Iterator[_Step]:
    for n, (before, after) in enumerate(pairwise(looks)):
        if options.odometry is not None:
            told = options.odometry[n]
            reach_m, known = told.metres + 3.0 * told.metres_sigma, told
        elif before.elapsed_s is None or after.elapsed_s is None:
            reach_m, known = options.most_step_m, None
        else:
            speed = options.most_speed_m_s or WALKING_M_S
            reach_m = speed * (after.elapsed_s - before.elapsed_s + after.clock_s)
            known = None
        coarse = max(1, math.ceil(reach_m / model.stride_m / _MOST_RADIUS))
        cell_m = coarse * model.stride_m
        kernel = _make_disk(reach_m / cell_m) if known is None else _make_ring(known, cell_m)
        elapsed_s = (after.elapsed_s or 0.0) - (before.elapsed_s or 0.0)
        yield _Step(kernel, coarse, _weigh_turns(options, known, elapsed_s, model.bins))


def _make_disk(radius: float) -> F32:
    """A step of up to ``radius`` cells, all places in reach alike."""
    radius = max(radius, _LEAST_RADIUS)
    far = _measure_cells(radius)
    disk = np.clip(radius + 0.5 - far, 0.0, 1.0)
    kernel: F32 = (disk / disk.sum()).astype(np.float32)
    return kernel


def _make_ring(step: OdometryStep, cell_m: float) -> F32:
    """A step of a known length in any direction."""
    sigma = math.hypot(step.metres_sigma / cell_m, _CELL_SIGMA)
    far = _measure_cells(min(step.metres / cell_m + 3.0 * sigma, _MOST_RADIUS + 3.0))
    ring = np.exp(-0.5 * ((far - step.metres / cell_m) / sigma) ** 2)
    kernel: F32 = (ring / ring.sum()).astype(np.float32)
    return kernel


def _measure_cells(radius: float) -> F64:
    half = min(max(1, math.ceil(radius)), _BLOCK // 2)
    off = np.arange(-half, half + 1)
    far: F64 = np.hypot(off[:, None], off[None, :])
    return far


def _weigh_turns(
    options: TrackOptions, step: OdometryStep | None, elapsed_s: float, bins: int
) -> F32 | None:
    """Weights [J] of how far the camera turned; None: it may look anywhere."""
    turn_deg, sigma_deg = 0.0, options.turn_sigma_deg
    if step is not None and step.turn_deg is not None:
        turn_deg, sigma_deg = step.turn_deg, step.turn_sigma_deg
    elif elapsed_s > _CALM_S or sigma_deg >= 90.0:
        return None
    step_deg = 360.0 / bins
    off = (np.arange(bins) * step_deg - turn_deg + 180.0) % 360.0 - 180.0
    sigma = math.hypot(sigma_deg, 0.3 * step_deg)
    near = np.exp(-0.5 * (off / sigma) ** 2)
    weights: F32 = ((1.0 - _FREE_TURN) * near / near.sum() + _FREE_TURN / bins).astype(np.float32)
    return weights


class _View(NamedTuple):
    """Of the states that are kept: whether the picture fits, and the bearings of column 0."""

    fits: F32  # [rows, J], probability
    off_deg: F64  # [rows]


def _follow(
    index: Windows,
    embedder: Embedder,
    sightings: Sequence[_Sighting],
    options: TrackOptions,
    source: str,
    progress: Callable[[str, int, int], None],
) -> Track:
    """Filter forward, smooth backward, and read the points off."""
    model = _Model(index, embedder, sightings, options)
    steps = list(_plan_steps([sighting.look for sighting in sightings], options, model))
    forward: list[_Kept] = []
    views: list[_View] = []
    windows = model.index.count
    states = windows * model.bins
    belief = np.full((windows, model.bins), (1.0 - _LOST_AT_FIRST) / states, np.float32)
    lost = _LOST_AT_FIRST
    for n, sighting in enumerate(sightings):
        if n:
            belief, lost = model.move(forward[-1], steps[n - 1])
        mixed, off_deg = model.weigh(sighting.query)
        kept = model.keep(belief * mixed, lost)
        forward.append(kept)
        fits = 1.0 - options.foreign_share / np.maximum(mixed[kept.rows], 1e-30)
        views.append(_View(fits.astype(np.float32), off_deg[kept.rows]))
        progress("steps", n + 1, len(sightings))
    smooth = forward if options.past_only else _smooth(model, forward, steps)
    points = [
        _read_point(model, sighting, kept, view, elapsed_from=sightings[0].look.elapsed_s)
        for sighting, kept, view in zip(sightings, smooth, views, strict=True)
    ]
    warnings = (*index.manifest.warnings, *(w for s in sightings for w in s.query.warnings))
    return Track(
        source=source,
        points=tuple(points),
        assumptions=tuple(_list_assumptions(model, sightings)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _smooth(model: _Model, forward: Sequence[_Kept], steps: Sequence[_Step]) -> list[_Kept]:
    """Belief at each picture by all pictures, on the states that the filter kept."""
    smooth = [forward[-1]]
    for kept, step in zip(reversed(forward[:-1]), reversed(steps), strict=True):
        later = smooth[-1]
        ahead, lost_ahead = model.move(kept, step)
        ratio = np.zeros_like(ahead)
        ratio[later.rows] = later.mass / np.maximum(ahead[later.rows], 1e-30)
        back, lost_back = model.look_back(ratio, later.lost / max(lost_ahead, 1e-30), step)
        mass = kept.mass * back[kept.rows]
        lost = kept.lost * lost_back
        whole = float(mass.sum(dtype=np.float64)) + lost
        smooth.append(_Kept(kept.rows, (mass / whole).astype(np.float32), lost / whole))
    return smooth[::-1]


def _read_point(
    model: _Model, sighting: _Sighting, kept: _Kept, view: _View, *, elapsed_from: float | None
) -> TrackPoint:
    """Where the camera was: the middle of what is believed around the window believed most."""
    mass = np.asarray(kept.mass, np.float64) + 1e-30
    per_row = mass.sum(axis=1)
    east, north = model.east[kept.rows], model.north[kept.rows]
    best = int(per_row.argmax())
    near = np.hypot(east - east[best], north - north[best]) <= RIGHT_WITHIN_M
    shares = per_row[near] / per_row[near].sum()
    x, y = float(shares @ east[near]), float(shares @ north[near])
    off_m = np.hypot(np.hypot(east - x, north - y), _CELL_SIGMA * model.stride_m)
    heading_deg, heading_sigma_deg = None, None
    if model.bins > 1:
        heading_deg, heading_sigma_deg = _read_heading(mass[near], view.off_deg[near])
    look = sighting.look
    elapsed_s = None
    if look.elapsed_s is not None and elapsed_from is not None:
        elapsed_s = look.elapsed_s - elapsed_from
    return TrackPoint(
        photo=look.name,
        elapsed_s=elapsed_s,
        time=look.time,
        latlon=move_point(model.origin, east_m=x, north_m=y),
        position_sigma_m=_find_radius(off_m, per_row),
        heading_deg=heading_deg,
        heading_sigma_deg=heading_sigma_deg,
        lost=kept.lost > 0.5,
        fits=float((mass * view.fits).sum() / mass.sum()),
        picture=sighting.picture,
    )


def _read_heading(mass: F64, off_deg: F64) -> tuple[float, float]:
    """The mean way that the camera looks, of belief [n, J], and how far off it may be."""
    step_deg = 360.0 / mass.shape[1]
    angles = np.arange(mass.shape[1]) * step_deg + off_deg[:, None]
    mean_deg = math.degrees(float(np.angle((mass * np.exp(1j * np.radians(angles))).sum())))
    off = np.abs((angles - mean_deg + 180.0) % 360.0 - 180.0)
    off = np.hypot(off, step_deg / math.sqrt(12.0))
    return mean_deg % 360.0 % 360.0, min(_find_radius(off.ravel(), mass.ravel()), 180.0)


def _find_radius(off: F64, mass: F64) -> float:
    """The distance within which 68 % of ``mass`` lie."""
    order = np.argsort(off)
    sums = np.cumsum(mass[order])
    at = int(np.searchsorted(sums, WITHIN_SIGMAS[0] * sums[-1]))
    return float(off[order[min(at, len(off) - 1)]])


def _list_assumptions(model: _Model, sightings: Sequence[_Sighting]) -> Iterator[str]:
    options, queries = model.options, [sighting.query for sighting in sightings]
    several = [query for query in queries if len(query.readings) > 1]
    if several:
        fov = several[0].readings[model.reading].fov_deg
        tried = ", ".join(f"{reading.fov_deg:g}" for reading in several[0].readings)
        yield f"field of view assumed: {fov:g} degrees (best of {tried} for most pictures)"
    if options.past_only:
        yield "every point by the pictures up to it alone"
    if options.odometry is not None:
        yield "steps as the odometry tells them"
    elif any(sighting.look.elapsed_s is None for sighting in sightings):
        yield f"steps of up to {options.most_step_m:g} m, since times are not known"
    else:
        speed = options.most_speed_m_s or WALKING_M_S
        yield f"a speed of up to {speed:g} m/s ({3.6 * speed:.0f} km/h)"
    if model.bins > 1 and options.turn_sigma_deg < 90.0:
        yield (
            f"the camera turns by about {options.turn_sigma_deg:g} degrees between two pictures, "
            f"and by anything in {_FREE_TURN:.0%} of the steps and after a minute"
        )
    yield f"{options.foreign_share:.0%} of the pictures may show something else"
    said = list(dict.fromkeys(text for query in queries for text in query.assumptions))
    yield from said[:_MOST_SAID]
    if len(said) > _MOST_SAID:
        yield f"and {len(said) - _MOST_SAID} more like these"


# Truth.


def find_truths(track: Track, recorded: ReceiverTrack) -> list[LatLon | None]:
    """Where a receiver was at the time of each point, between its fixes; None: it does not say.

    Raises :class:`InvalidValue` where the times of the track have no zone, or none agrees.
    """
    times = [point.time for point in track.points]
    if all(time is None for time in times):
        raise InvalidValue(
            "the times of the track are not known, so a recorded track cannot be compared.\n"
            "State when a video began with --start."
        )
    if any(time is not None and time.utcoffset() is None for time in times):
        raise InvalidValue(
            "the photos tell their time without a zone, and a recorded track is in UTC.\n"
            "State the zone, such as --time-zone Europe/Berlin."
        )
    found = [None if time is None else recorded.find(time.astimezone(UTC)) for time in times]
    if not any(found):
        known = sorted(time for time in times if time is not None)
        raise InvalidValue(
            f"the recorded track has no points from {known[0]:%Y-%m-%d %H:%M:%S} to "
            f"{known[-1]:%Y-%m-%d %H:%M:%S} UTC, when the pictures were taken.\n"
            "Is the zone of their times right (--time-zone)?"
        )
    return [None if place is None else place[0] for place in found]


def add_truths(track: Track, truths: Sequence[LatLon | None]) -> Track:
    """The track with what is known of where it went, and how far off its points are."""
    require(len(truths) == len(track.points), f"{len(track.points)} points, {len(truths)} truths.")
    points = (
        replace(p, truth=t, error_m=None if t is None else measure_distance_m(p.latlon, t))
        for p, t in zip(track.points, truths, strict=True)
    )
    return replace(track, points=tuple(points))
