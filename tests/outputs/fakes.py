"""Answers and an index that need neither model nor imagery."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import numpy as np
from PIL import Image

from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, measure_distance_m, move_point
from crossview.localization.answer import Answer, Claim, Contribution, Place, PriorShift, Standing
from crossview.localization.hints import Prior
from crossview.localization.track import Track, TrackPoint

ORIGIN = LatLon(-12.25, 60.5)
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028 \x07 straße 東京.jpg"


def place(rank=1, *, at=ORIGIN, score=0.5, heading_deg=30.0, window=0, **known):
    """A place with a footprint of 50 m; ``known`` are fields that only a calibration fills."""
    footprint = Footprint(at, 0.5, 100, 100, up_bearing_deg=0.5)
    return Place(
        rank=rank, latlon=at, score=score, heading_deg=heading_deg, footprint=footprint,
        window=window, **known,
    )  # fmt: skip


def claim(at=ORIGIN, *, outside=False, **changes):
    """A claimed place that stands third; or one that lies outside of the region."""
    facts = {
        "rank": 3, "windows": 8464, "percentile": 99.9764, "score": 0.41, "heading_deg": 123.456,
        "footprint": Footprint(at, 0.5, 100, 100), "window": 7, "listed": 2, **changes,
    }  # fmt: skip
    if outside:
        return Claim(latlon=at, inside=False, nearest_m=5300.0, standing=None)
    return Claim(latlon=at, inside=True, nearest_m=12.345, standing=Standing(**facts))


def prior_shift(at=ORIGIN, *, sigma_m=30.0, source="given", **changes):
    """A place that was known to 30 m, and that a picture moved by 12 m."""
    facts = {
        "prior": Prior(place=at, sigma_m=sigma_m, source=source),
        "mean": move_point(at, east_m=10.0, north_m=0.0),
        "spread_m": 3.21, "mean_moved_m": 10.0, "first_moved_m": 12.345, "bits": 6.54321,
        "holds": 0.98765, "first_share": 0.9, **changes,
    }  # fmt: skip
    return PriorShift(**facts)


def contribution(photo="b.jpg", **changes):
    """What a photo of the same spot adds."""
    facts = {
        "photo": photo, "sha256": "cd" * 32, "score": 0.5432109, "heading_deg": 123.456,
        "bits": 3.2109, "foreign": 0.012345, "alone": move_point(ORIGIN, east_m=0.0, north_m=40.0),
        "alone_m": 40.0, **changes,
    }  # fmt: skip
    return Contribution(**facts)


def answer(photo="a.jpg", *, places=None, truth=None, scores=None, **changes):
    """An answer of two places 100 m apart over 50 windows."""
    if places is None:
        places = (
            place(1, score=0.9, window=3),
            place(2, at=move_point(ORIGIN, east_m=100, north_m=0), score=0.4, heading_deg=None),
        )
    if scores is None:
        scores = np.random.default_rng(0).normal(0.1, 0.1, 50).astype(np.float32)
    error_m = measure_distance_m(truth, places[0].latlon) if truth and places else None
    facts = {
        "sha256": "ab" * 32, "kind": "perspective", "fov_deg": 65.0, "fov_source": "assumed",
        "assumptions": ("field of view assumed",), **changes,
    }  # fmt: skip
    return Answer(
        photo=photo, places=tuple(places), truth=truth, error_m=error_m, scores=scores, **facts
    )


def answers_of(index, count, *, seed=0, heading_deg=45.0, truth=True):
    """Answers with random scores over the windows of a real index."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        scores = rng.normal(0.1, 0.1, index.count).astype(np.float32)
        best = np.argsort(-scores)[:10].tolist()
        places = [
            Place(
                rank=rank, latlon=index.footprint(row).centre, score=float(scores[row]),
                heading_deg=heading_deg, footprint=index.footprint(row), window=row,
            )
            for rank, row in enumerate(best, 1)
        ]  # fmt: skip
        there = move_point(places[0].latlon, east_m=10, north_m=0) if truth else None
        made.append(answer(f"photo {number}.jpg", places=places, scores=scores, truth=there))
    return made


def photo_pixels(seed=0, height=300, width=400):
    """A noisy picture, which compresses as badly as a real one."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def _make_jpeg():
    stream = io.BytesIO()
    Image.fromarray(photo_pixels(height=60, width=80)).save(stream, "JPEG")
    return stream.getvalue()


JPEG = _make_jpeg()
START = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)


def track(count=8, *, lost=(3, 4), at=ORIGIN, times=True, truth=False, step_m=9.0, **changes):
    """A way to the east of ``count`` points ``step_m`` apart; some of them are lost."""
    points = []
    for number in range(count):
        here = move_point(at, east_m=step_m * number, north_m=0.0)
        there = move_point(here, east_m=0.0, north_m=3.0) if truth else None
        facts = {
            "photo": f"drive/{number:03d}.jpg", "elapsed_s": 2.0 * number if times else None,
            "time": START + timedelta(seconds=2.0 * number) if times else None, "latlon": here,
            "position_sigma_m": 30.0 if number in lost else 2.5, "heading_deg": 90.0,
            "heading_sigma_deg": 4.0, "lost": number in lost,
            "fits": 0.1 if number in lost else 0.97, "picture": JPEG, "truth": there,
            "error_m": 3.0 if truth else None,
        }  # fmt: skip
        points.append(TrackPoint(**facts))
    told = {"source": f"{count} photos", "assumptions": ("camera held level",), **changes}
    return Track(points=tuple(points), **told)
