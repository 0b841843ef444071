"""Located photos whose place is known, reduced to what a calibration is fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossview.arrays import F32, F64, I64, Bool
from crossview.errors import CrossviewError
from crossview.geo.points import (
    LatLon,
    measure_distance_m,
    measure_distances_m,
    measure_turns_deg,
    number_square,
)
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_files
from crossview.localization.posterior import find_cell, find_cells_within, measure_prominence
from crossview.model import Embedder
from crossview.views.decode import Photo

if TYPE_CHECKING:
    from crossview.index.store import Index

SPOT_M = 100.0  # photos of one square this wide share weather, street and imagery: one spot
_KEPT = 2048  # scores kept one by one, and groups that the others are summed up in
_LEAST_LEFT = 0.5  # share of the region that must remain when a photo's own ground is taken out


Tally = tuple[F32, F32]  # scores, and how many cells have about that score


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownPhoto:
    """One photo; scores are cosines."""

    fov_deg: float
    assumed: bool  # whether nothing told its field of view
    directed: bool  # whether it was located with the heading that its file tells
    scores: Tally  # of all cells that were searched
    taken_out: Tally  # as if the region ended before the ground the photo shows; may be empty
    truth: float  # score of the cell that holds the photo's place
    near: tuple[Tally, ...]  # per place: scores of the cells within 25 m, and their shares inside
    hits: Bool  # per place: whether the truth lies within 25 m of it
    error_m: float  # of the first place
    chance: float  # share of the region's pins within 25 m of the truth
    chance_error_m: float  # median distance of the region's pins from the truth
    spot: tuple[int, int]
    centre_error_m: float  # of the middle of the first place's window
    peak_m: float | None  # of the first place, as in Place
    peak_deg: float | None
    heading_error_deg: float | None  # of the first place; None where a heading is unknown
    ground_light: float | None  # of the photo, as in Answer


def make_known_photo(
    index: Index, answer: Answer, truth: LatLon, heading_deg: float | None = None
) -> KnownPhoto | None:
    """What a located photo tells; None if no cell of the index holds its place, or no place came.

    The answer must be of the whole index: every window searched, without hints of the place.
    ``heading_deg``: the true one, clockwise from true north, where it is known.
    """
    lat, lon, stride_m = index.lat, index.lon, index.manifest.stride_m
    cell = find_cell(lat, lon, stride_m, truth)
    if cell is None or not answer.places:
        return None
    scores = np.asarray(answer.scores, np.float32)
    pins = [place.latlon for place in answer.places]
    near = [find_cells_within(lat, lon, stride_m, pin, RIGHT_WITHIN_M) for pin in pins]
    away_m = measure_distances_m(truth, lat, lon)
    errors_m = np.array([measure_distance_m(pin, truth) for pin in pins])
    return KnownPhoto(
        fov_deg=answer.fov_deg,
        assumed=answer.fov_source == "assumed",
        directed=answer.directed,
        scores=tally(scores),
        taken_out=_remove_ground(scores, away_m > index.manifest.footprint_m),
        truth=float(scores[cell]),
        near=tuple((scores[rows], shares.astype(np.float32)) for rows, shares in near),
        hits=errors_m <= RIGHT_WITHIN_M,
        error_m=float(errors_m[0]),
        chance=float((away_m <= RIGHT_WITHIN_M).mean()),
        chance_error_m=float(np.median(away_m)),
        spot=spot_number(truth),
        centre_error_m=measure_distance_m(answer.places[0].footprint.centre, truth),
        peak_m=answer.places[0].peak_m,
        peak_deg=answer.places[0].peak_deg,
        heading_error_deg=_measure_heading_error(answer.places[0].heading_deg, heading_deg),
        ground_light=answer.ground_light,
    )


def _measure_heading_error(found_deg: float | None, true_deg: float | None) -> float | None:
    if found_deg is None or true_deg is None:
        return None
    return float(measure_turns_deg(found_deg, true_deg))


@dataclass
class LeftOut:
    """Photos that are not used, by reason; ``said`` is told of each that cannot be read."""

    said: Callable[[CrossviewError], None] = lambda _problem: None
    unreadable: list[CrossviewError] = field(default_factory=list)
    unplaced: int = 0  # where they were taken is unknown
    outside: int = 0  # no cell of the index holds their place

    def fail(self, problem: CrossviewError) -> None:
        """Keep why a photo cannot be read."""
        self.unreadable.append(problem)
        self.said(problem)


def locate_known_photos(  # noqa: PLR0913, PLR0917 - photos, what is known of them, who is told
    index: Index,
    embedder: Embedder,
    paths: Sequence[Path],
    find_place: Callable[[Photo], LatLon | None],
    make_hints: Callable[[Photo], Hints],
    left_out: LeftOut,
    progress: Callable[[int, int], None],
    find_heading: Callable[[Photo], float | None] = lambda _photo: None,
) -> list[KnownPhoto]:
    """Locate photos of known place in the whole index, and keep what each tells.

    Hints must say nothing of the place. What cannot be used is counted in ``left_out``.
    """
    known: list[KnownPhoto] = []
    places: dict[str, LatLon] = {}

    def hint(photo: Photo) -> Hints | None:
        if (place := find_place(photo)) is None:
            left_out.unplaced += 1
            return None
        places[photo.path] = place
        return make_hints(photo)

    done = 0
    for located, taken in locate_files(index, embedder, paths, hint, left_out.fail):
        for photo, _, answer in located:
            heading = find_heading(photo)
            record = make_known_photo(index, answer, places[photo.path], heading)
            if record is None:
                left_out.outside += 1
            else:
                known.append(record)
        done += taken
        progress(done, len(paths))
    return known


def tally(scores: F32) -> Tally:
    """Scores from the best down; of a large region the many low ones in groups, as their means."""
    falling = np.sort(scores[np.isfinite(scores)])[::-1]
    if len(falling) <= 2 * _KEPT:
        return falling, np.ones(len(falling), np.float32)
    groups = np.array_split(falling[_KEPT:], _KEPT)
    means = np.array([group.mean() for group in groups], np.float32)
    counts = np.array([len(group) for group in groups], np.float32)
    return np.r_[falling[:_KEPT], means], np.r_[np.ones(_KEPT, np.float32), counts]


def _remove_ground(scores: F32, left: Bool) -> Tally:
    """Scores of the windows that show nothing of the ground around the photo."""
    return tally(scores[left] if left.mean() >= _LEAST_LEFT else scores[:0])


def spot_number(place: LatLon) -> tuple[int, int]:
    """Row and column of the square; the two that longitude 180 cuts are one."""
    return number_square(place, SPOT_M)


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownPhotos:
    """Many known photos [n] as arrays; M scores, K places, C cells of a place; padded with 0."""

    scores: F32  # [n, M] from the best down
    counts: F32  # [n, M] cells; 0: padding
    out_scores: F32  # [n, M'] with the photo's own ground taken out
    out_counts: F32
    near_scores: F32  # [n, K, C]
    near_shares: F32  # 0: padding
    hits: Bool  # [n, K]
    places: Bool  # [n, K] False: padding
    truth: F64  # [n]
    error_m: F64
    chance: F64
    chance_error_m: F64
    spot: I64  # [n] the same number: the same spot
    centre_error_m: F64  # NaN from here on: unknown
    peak_m: F64
    peak_deg: F64
    heading_error_deg: F64
    ground_light: F64

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def below_best(self) -> F64:
        """How far [n] the true cell's score lies below the best one."""
        gap: F64 = self.scores[:, 0].astype(np.float64) - self.truth
        return gap

    @property
    def prominence(self) -> F64:
        """How far [n] the best cell's score stands above the middle one."""
        pairs = zip(self.scores, self.counts, strict=True)
        return np.array([measure_prominence(*pair) for pair in pairs])

    @property
    def cells(self) -> F64:
        """How many cells [n] were searched."""
        cells: F64 = self.counts.sum(1, dtype=np.float64)
        return cells

    def take(self, rows: I64) -> KnownPhotos:
        """Some of the photos."""
        return KnownPhotos(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def of(photos: Sequence[KnownPhoto]) -> KnownPhotos:
        """Known photos as arrays."""
        scores, counts = _pad([photo.scores for photo in photos])
        out_scores, out_counts = _pad([photo.taken_out for photo in photos])
        most = max(len(photo.near) for photo in photos)
        empty = (np.empty(0, np.float32), np.empty(0, np.float32))
        near = [(*photo.near, *[empty] * (most - len(photo.near))) for photo in photos]
        near_scores, near_shares = _pad([place for places in near for place in places])
        spots = np.unique([photo.spot for photo in photos], axis=0, return_inverse=True)[1]
        return KnownPhotos(
            scores=scores,
            counts=counts,
            out_scores=out_scores,
            out_counts=out_counts,
            near_scores=near_scores.reshape(len(photos), most, -1),
            near_shares=near_shares.reshape(len(photos), most, -1),
            hits=np.array([np.pad(photo.hits, (0, most - len(photo.hits))) for photo in photos]),
            places=np.array([np.arange(most) < len(photo.near) for photo in photos]),
            truth=np.array([photo.truth for photo in photos]),
            error_m=np.array([photo.error_m for photo in photos]),
            chance=np.array([photo.chance for photo in photos]),
            chance_error_m=np.array([photo.chance_error_m for photo in photos]),
            spot=spots.reshape(-1),
            centre_error_m=np.array([photo.centre_error_m for photo in photos]),
            peak_m=_fill(photo.peak_m for photo in photos),
            peak_deg=_fill(photo.peak_deg for photo in photos),
            heading_error_deg=_fill(photo.heading_error_deg for photo in photos),
            ground_light=_fill(photo.ground_light for photo in photos),
        )


def _fill(values: Iterable[float | None]) -> F64:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _pad(tallies: Sequence[Tally]) -> tuple[F32, F32]:
    """Scores and counts [n, longest], filled up with the lowest score, which counts 0."""
    longest = max((len(values) for values, _ in tallies), default=0)
    scores = np.zeros((len(tallies), longest), np.float32)
    counts = np.zeros_like(scores)
    for row, (values, weights) in enumerate(tallies):
        scores[row, : len(values)] = values
        scores[row, len(values) :] = values[-1] if len(values) else 0.0
        counts[row, : len(values)] = weights
    return scores, counts
