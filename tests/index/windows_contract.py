"""What every engine answers alike: checks of an index against the slow, obvious way.

``CHECKS`` take an index that :func:`fill` made of ``TOWN``, behind any engine: a folder in
``test_windows.py``, databases in ``tests/services/test_databases.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from crossview.errors import CannotWrite, InvalidValue, ModelMismatch
from crossview.geo.perimeters import parse_perimeter
from crossview.geo.points import LatLon, measure_distances_m, move_point
from crossview.imagery.provenance import ImageryInfo, SourceOptions
from crossview.index.candidates import SearchArea
from crossview.index.similarity import Asked, Facing
from crossview.index.store import Manifest, ModelFacts
from crossview.localization.search import pick_apart

ORIGIN = LatLon(47.5, 8.7)
SIDE, STRIDE_M, DIM, BINS, UNIT = 20, 10.0, 24, 6, 57


@dataclass(frozen=True)
class Town:
    """400 windows in a square, the vectors of neighbours alike."""

    vectors: np.ndarray
    places: np.ndarray

    @property
    def count(self):
        return len(self.vectors)

    def jpeg(self, row):
        return f"picture {row}".encode() * (1 + row % 3)

    def units(self):
        """(number, vectors, places, thumbnails) of eight units; the last is smaller."""
        for unit, start in enumerate(range(0, self.count, UNIT)):
            rows = slice(start, min(start + UNIT, self.count))
            jpegs = [self.jpeg(row) for row in range(rows.start, rows.stop)]
            yield unit, self.vectors[rows], self.places[rows], jpegs


def _make_vectors():
    rng = np.random.default_rng(3)
    coarse = rng.normal(size=(SIDE + 2, SIDE + 2, DIM))
    smooth = sum(coarse[i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3))
    vectors = smooth.reshape(-1, DIM) + 0.3 * rng.normal(size=(SIDE * SIDE, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _make_places():
    spots = [
        move_point(ORIGIN, east_m=STRIDE_M * (n % SIDE), north_m=STRIDE_M * (n // SIDE))
        for n in range(SIDE * SIDE)
    ]
    return np.array([[spot.lat, spot.lon, n % 7 - 3.0] for n, spot in enumerate(spots)])


TOWN = Town(_make_vectors(), _make_places())
IMAGERY = ImageryInfo(
    sources=("a.tif",), attribution="(c) Town", date="", metres_per_px=0.5, synthetic=None,
    bounds=(47.4, 8.6, 47.6, 8.8), options=SourceOptions(), stretched=None, signature="ab" * 32,
    warnings=(),
)  # fmt: skip
MANIFEST = Manifest(
    model=ModelFacts("toy", "cd" * 32, DIM, BINS), model_synthetic=False, demo_only=False,
    coarse=False, imagery=IMAGERY, footprint_m=40.0, stride_m=STRIDE_M, metres_per_px=0.5,
    windows=TOWN.count, area_km2=0.04, segments=(), created="2026-01-01T00:00:00+00:00",
)  # fmt: skip


def fill(writer):
    """Put all units in an order of no meaning, one of them twice, and seal."""
    units = list(TOWN.units())
    for n in (3, 0, 5, 7, 1, 6, 2, 4):
        assert writer.put(*units[n]) is True
    assert writer.put(*units[5]) is False
    with pytest.raises(CannotWrite, match="holds another unit 2 already"):
        writer.put(2, *units[1][1:])
    writer.seal(MANIFEST)


def ask(row=123, fov=1.0, **changes):
    """A picture of what a window shows, of which the first part of the bins is seen."""
    seen = (np.arange(BINS) < fov * BINS).astype(np.float32)
    noise = 0.02 * np.random.default_rng(row).normal(size=DIM)
    return replace(Asked((TOWN.vectors[row] + noise).astype(np.float32), seen), **changes)


def score_slowly(asked):
    """Scores and turns [400], by loops."""
    query = asked.vector.reshape(BINS, -1).astype(np.float64)
    length = np.sqrt((query**2).sum(1) @ asked.seen)
    best, turns = np.full(TOWN.count, -np.inf), np.zeros(TOWN.count)
    for row, vector in enumerate(TOWN.vectors.reshape(-1, BINS, DIM // BINS).astype(np.float64)):
        costs = np.zeros(BINS)
        if asked.facing is not None:
            costs = asked.facing.price(TOWN.places[row : row + 1, 2], BINS)[0]
        for turn in range(BINS):
            product = energy = 0.0
            for k in range(BINS):
                weight = asked.seen[k]
                product += weight * (query[k] @ vector[(k + turn) % BINS])
                energy += weight * (vector[(k + turn) % BINS] ** 2).sum()
            score = product / length / np.sqrt(energy) - costs[turn]
            if score > best[row]:
                best[row], turns[row] = score, turn
    return best, turns * 360.0 / BINS


READINGS = {
    "panorama": ask(),
    "photo": ask(fov=0.5),
    "heading in a file": ask(fov=0.5, facing=Facing(40.0, 31.0, None, 0.0)),
    "heading of a person": ask(fov=0.5, facing=Facing(200.0, 180.0, 25.0, 10.0)),
}


def check_facts(windows):
    assert windows.count == TOWN.count
    assert windows.manifest.model == MANIFEST.model
    assert len(windows.fingerprint) == 64
    windows.require_model("cd" * 32)
    with pytest.raises(ModelMismatch, match=r"toy.*this model is eeeeeeeeeeee"):
        windows.require_model("e" * 64)


def check_contents(windows):
    rows = np.array([0, 399, 56, 57, 200, 58])
    np.testing.assert_array_equal(windows.take_vectors(rows), TOWN.vectors[rows])
    np.testing.assert_array_equal(windows.take_places(rows), TOWN.places[rows])
    assert [windows.thumbnail(int(row)) for row in rows] == [TOWN.jpeg(int(row)) for row in rows]
    assert windows.footprint(57).centre == LatLon(*TOWN.places[57, :2])
    np.testing.assert_array_equal(windows.sample_bearings(100), TOWN.places[::4, 2])
    with pytest.raises(InvalidValue, match="windows 0 to 399"):
        windows.thumbnail(400)


def check_best(windows):
    for asked in READINGS.values():
        scores, headings = score_slowly(asked)
        found = windows.best([asked], 30)
        wanted = np.sort(np.argsort(-scores)[:30])
        np.testing.assert_array_equal(found.numbers, wanted)
        np.testing.assert_allclose(found.scores[0], scores[wanted], atol=2e-6)
        np.testing.assert_allclose(found.heading_deg[0], headings[wanted], atol=1e-4)
        np.testing.assert_array_equal(found.places, TOWN.places[wanted])
        assert found.chosen.all()
        assert found.complete_above[0] == pytest.approx(scores[wanted].min(), abs=2e-6)
        assert found.searched == TOWN.count


def check_several_readings(windows):
    asked = [READINGS["panorama"], READINGS["photo"]]
    found = windows.best(asked, 10)
    for own, one in zip(found.scores, asked, strict=True):
        scores, _ = score_slowly(one)
        assert {*np.argsort(-scores)[:10]} <= {*found.numbers}
        np.testing.assert_allclose(own, scores[found.numbers], atol=2e-6)


def check_samples(windows):
    asked = READINGS["photo"]
    scores, _ = score_slowly(asked)
    found = windows.best([asked], 20, drawn=60)
    np.testing.assert_allclose(found.scores[0], scores[found.numbers], atol=2e-6)
    weights = found.weigh()
    assert found.chosen.sum() == 20
    assert 60 <= len(found.numbers) <= 80
    assert weights.sum() == pytest.approx(TOWN.count)
    assert (weights[found.chosen] == 1.0).all()
    again = windows.best([asked], 20, drawn=60)
    np.testing.assert_array_equal(found.numbers, again.numbers)
    other = windows.best([asked], 20, drawn=60, seed=1)
    assert {*found.numbers} != {*other.numbers}
    means = [_weigh_mean(windows, asked, seed) for seed in range(12)]
    assert np.mean(means) == pytest.approx(scores.mean(), abs=4.0 * np.std(means) / np.sqrt(12))
    whole = windows.best([asked], 5, drawn=1000)
    assert len(whole.numbers) == TOWN.count
    assert (whole.weigh() == 1.0).all()


def _weigh_mean(windows, asked, seed):
    found = windows.best([asked], 20, drawn=60, seed=seed)
    return found.weigh() @ found.scores[0] / TOWN.count


def check_above(windows):
    asked = READINGS["photo"]
    scores, _ = score_slowly(asked)
    floor = float(np.sort(scores)[-77] - 1e-5)
    found = windows.above(asked, floor, most=500)
    np.testing.assert_array_equal(found.numbers, np.flatnonzero(scores >= floor))
    assert found.complete_above[0] <= floor + 1e-6
    few = windows.above(asked, floor, most=10)
    np.testing.assert_array_equal(few.numbers, np.sort(np.argsort(-scores)[:10]))
    assert few.complete_above[0] > floor


def check_scores_of_some(windows):
    rows = np.array([3, 56, 57, 58, 399])
    for asked in READINGS.values():
        scores, headings = score_slowly(asked)
        found = windows.score([asked], rows)
        np.testing.assert_array_equal(found.numbers, rows)
        np.testing.assert_allclose(found.scores[0], scores[rows], atol=2e-6)
        np.testing.assert_allclose(found.heading_deg[0], headings[rows], atol=1e-4)
    assert len(windows.score([asked], rows[:0]).numbers) == 0


def check_near(windows):
    places = [LatLon(*TOWN.places[row, :2]) for row in (45, 300)]
    lat, lon = np.ascontiguousarray(TOWN.places[:, :2].T)
    wanted = [measure_distances_m(place, lat, lon) <= 25.0 for place in places]
    np.testing.assert_array_equal(windows.near(places, 25.0), np.flatnonzero(wanted[0] | wanted[1]))
    assert len(windows.near([LatLon(-47.5, 8.7)], 25.0)) == 0
    assert len(windows.near([], 25.0)) == 0


def check_limits(windows):
    middle = LatLon(*TOWN.places[210, :2])
    corners = [TOWN.places[row, 1::-1].tolist() for row in (42, 57, 357, 42)]
    area = parse_perimeter({"type": "Polygon", "coordinates": [corners]})
    lat, lon = np.ascontiguousarray(TOWN.places[:, :2].T)
    asked = READINGS["photo"]
    scores, _ = score_slowly(asked)
    for limits in (SearchArea(middle, 55.0), SearchArea(area=area), SearchArea(middle, 55.0, area)):
        inside = np.flatnonzero(limits.contains(lat, lon))
        assert 0 < len(inside) < TOWN.count
        found = windows.best([asked], 5, limits, drawn=1000)
        np.testing.assert_array_equal(found.numbers, inside)
        assert found.searched == len(inside)
        best = windows.best([asked], 5, limits)
        np.testing.assert_array_equal(
            best.numbers, np.sort(inside[np.argsort(-scores[inside])[:5]])
        )
    nothing = windows.best([asked], 5, SearchArea(LatLon(-47.5, 8.7), 100.0), drawn=10)
    assert (nothing.searched, len(nothing.numbers)) == (0, 0)


def check_places_are_those_of_all(windows):
    """Greedy merging of the best windows alone gives the places of all."""
    asked = READINGS["photo"]
    scores, _ = score_slowly(asked)
    lat, lon = np.ascontiguousarray(TOWN.places[:, :2].T)
    every = pick_apart(scores, lat, lon, 20.0, 5)
    found = windows.best([asked], 60)
    some = pick_apart(found.scores[0], *np.ascontiguousarray(found.places[:, :2].T), 20.0, 5)
    assert found.numbers[some].tolist() == every


CHECKS = [value for name, value in sorted(globals().items()) if name.startswith("check_")]
