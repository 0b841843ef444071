"""Photos of one spot with one answer, and GPS as a prior: on ten unseen towns.

    make bench NAME=together      about 5 minutes of one core, once the towns are there

Spots: four photos of 90 degrees are cut out of a panorama, about a quarter turn apart (10 degrees,
one standard deviation) from a direction that is drawn, and located with and without their relative
turns, also with one of the four from another spot of the town. Priors: the true place with normal
noise of 30 m east and north, and a standard deviation of 30 m given; the calibration is made on
other photos of the same town, without priors. Intervals are over towns.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _towns, harness
from benchmarks.harness import format_share, measure_share
from crossview.arrays import F64
from crossview.calibration.calibrate import brier, calibrate, calibration_error, error_by_chance
from crossview.calibration.fit import CalibrationGoal
from crossview.calibration.known_photos import make_known_photo
from crossview.geo.points import LatLon, measure_distance_m, move_point
from crossview.index.store import Index
from crossview.lists import read_table
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.answer import Answer
from crossview.localization.belief import answer_together
from crossview.localization.hints import Hints, Prior
from crossview.localization.locate import answer_queries
from crossview.localization.posterior import find_cell
from crossview.localization.queries import (
    Query,
    Reading,
    embed_queries,
    find_common_bearing,
    prepare_query,
)
from crossview.localization.search import search
from crossview.model import Embedder, open_model
from crossview.stats import quantile_interval
from crossview.views.crops import crop_as_photo
from crossview.views.decode import load_photo
from crossview.worlds.town import TOWN_VERSION

FOV_DEG, TURN_SIGMA_DEG, SIGMA_M = 90.0, 10.0, 30.0
GOAL = CalibrationGoal(coverages=(0.9,))
KINDS = {"photos of 90 degrees": "photo_90deg", "panoramas": "panorama"}
SPOTS = (
    "one photo", "two, turns unknown", "four, turns unknown", "four, turns given",
    "three of the spot and a foreign one, turns unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """A picture of a town, embedded, and where it was taken."""

    query: Query
    truth: LatLon


def main() -> None:
    """Locate, measure; print two tables and one JSON line."""
    wanted = _arguments()
    embedder = open_model("town", threads=wanted.threads)
    found: list[tuple[str, dict[str, list[Any]]]] = []
    for town in _towns.demo_towns(wanted.root, wanted.seeds):
        found.append((f"{town.style}-{town.seed}", _measure(town, embedder, wanted)))
        print(f"asked {town.style} {town.seed}", file=sys.stderr, flush=True)
    told: dict[str, Any] = {}
    for name in ("all", "suburb", "canals"):
        some = [(town, one) for town, one in found if name == "all" or town.startswith(name)]
        if some:
            told[name] = _summarise(some)
            print(f"\n{name}, {len(some)} towns\n" + "\n".join(_tables(told[name])))
    harness.report(
        name="together",
        ratios={},
        n=len(found) * wanted.spots,
        threads=wanted.threads or os.cpu_count() or 1,
        medians={},
        town_version=TOWN_VERSION,
        model=embedder.fingerprint[:12],
        **told,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/towns"))
    parser.add_argument("--seeds", type=int, default=5, help="towns of each style")
    parser.add_argument("--spots", type=int, default=20, help="of each town, at most 100")
    parser.add_argument("--each", type=int, default=60, help="pictures with a prior, of each kind")
    parser.add_argument("--known", type=int, default=60, help="others, to calibrate on")
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def _measure(
    town: _towns.DemoTown, embedder: Embedder, wanted: argparse.Namespace
) -> dict[str, list[Any]]:
    """What came of each spot and each picture: lists by condition."""
    index = Index.open(town.index)
    rng = np.random.default_rng(town.seed)
    shots = {kind: list(_embed(town, index, embedder, kind, wanted)) for kind in KINDS.values()}
    rows = _measure_spots(index, embedder, shots["panorama"][: wanted.spots], rng)
    known = []
    for some in shots.values():
        others = some[wanted.each :][: wanted.known]
        for shot, answer in zip(others, _ask(index, embedder, others), strict=True):
            known.append(make_known_photo(index, answer, shot.truth))
    calibration = calibrate([one for one in known if one], GOAL, index.manifest.stride_m)
    index.manifest = replace(index.manifest, calibration=calibration.to_json())
    for name, kind in KINDS.items():
        rows |= _measure_priors(index, embedder, name, shots[kind][: wanted.each], rng)
    return rows


def _embed(
    town: _towns.DemoTown, index: Index, embedder: Embedder, kind: str, wanted: argparse.Namespace
) -> Iterator[Shot]:
    bearing = find_common_bearing(index, embedder.info.azimuth_bins)
    truths, waiting = [], []
    for row in read_table(town.places, needed=("file", "lat", "lon", "kind"), what="places"):
        if row.text("kind") == kind and len(waiting) < wanted.each + wanted.known:
            photo = load_photo(town.places.parent / row.text("file"))
            waiting.append(prepare_query(photo, Hints(), embedder.info, bearing))
            truths.append(LatLon(*row.place()))
    for query, truth in zip(embed_queries(waiting, embedder), truths, strict=True):
        yield Shot(query, truth)


def _ask(index: Index, embedder: Embedder, shots: Sequence[Shot]) -> list[Answer]:
    return answer_queries(index, embedder, [shot.query for shot in shots])


def _measure_spots(
    index: Index, embedder: Embedder, spots: Sequence[Shot], rng: np.random.Generator
) -> dict[str, list[Any]]:
    """Metres of the first place, and for each photo whether it was said to be foreign."""
    turns = 90.0 * np.arange(4) + rng.normal(0.0, TURN_SIGMA_DEG, (len(spots), 4))
    turns[:, 0] = 0.0
    starts = rng.uniform(0.0, 360.0, len(spots))
    cut = [
        _cut(spot.query, start + turn, embedder)
        for spot, start, own in zip(spots, starts, turns, strict=True)
        for turn in own
    ]
    queries = list(embed_queries(cut, embedder))
    results = search(index, queries)
    rows: dict[str, list[Any]] = {name: [] for name in (*SPOTS, "foreign said", "own said")}
    for n, spot in enumerate(spots):
        own = [4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3]
        stranger = (4 * n + 4 * (len(spots) // 2)) % len(queries)

        def ask(photos: list[int], known: list[float] | None = None) -> Answer:
            some = [queries[photo] for photo in photos]
            return answer_together(index, some, known, [results[photo] for photo in photos])

        answers = [
            answer_queries(index, embedder, queries[own[0] : own[0] + 1])[0],
            ask(own[:2]),
            ask(own),
            ask(own, turns[n].tolist()),
            ask([*own[:3], stranger]),
        ]
        for name, answer in zip(SPOTS, answers, strict=True):
            rows[name].append(measure_distance_m(answer.places[0].latlon, spot.truth))
        rows["foreign said"].append(answers[4].together[3].foreign > 0.5)
        rows["own said"] += [photo.foreign > 0.5 for photo in answers[2].together]
    return rows


def _cut(panorama: Query, heading_deg: float, embedder: Embedder) -> Query:
    """A photo of 90 degrees out of the strip of a panorama, as wide as three quarters are high."""
    info = embedder.info
    columns = round(heading_deg / 360.0 * info.ground.width_px)
    strip = np.roll(panorama.strips[0], -columns, axis=1)
    reading = Reading(kind="perspective", fov_deg=FOV_DEG, source="given", horizon_px=None)
    photo = crop_as_photo(strip, info.ground, FOV_DEG, 4.0 / 3.0)
    return replace(panorama, readings=(reading,), strips=(photo,))


def _measure_priors(
    index: Index, embedder: Embedder, name: str, shots: Sequence[Shot], rng: np.random.Generator
) -> dict[str, list[Any]]:
    """Metres of GPS, picture and both; probabilities, whether they came true, areas that hold."""
    noise = rng.normal(0.0, SIGMA_M, (len(shots), 2))
    priors = [
        Prior(place=move_point(shot.truth, east_m=east, north_m=north), sigma_m=SIGMA_M)
        for shot, (east, north) in zip(shots, noise, strict=True)
    ]
    weighed = [
        Shot(replace(shot.query, hints=Hints(prior=prior)), shot.truth)
        for shot, prior in zip(shots, priors, strict=True)
    ]
    alone, both = _ask(index, embedder, shots), _ask(index, embedder, weighed)
    rows: dict[str, list[Any]] = {f"{name}: GPS alone": np.hypot(*noise.T).tolist()}
    for said, answers in (("picture alone", alone), ("both", both)):
        rows[f"{name}: {said}"] = [
            measure_distance_m(answer.places[0].latlon, shot.truth)
            for answer, shot in zip(answers, shots, strict=True)
        ]
    rows[f"{name}: mean of the posterior"] = [
        measure_distance_m(answer.prior.mean, shot.truth)
        for answer, shot in zip(both, shots, strict=True)
        if answer.prior is not None
    ]
    for said, answers in (("without", alone), ("with", both)):
        rows[f"{name}: stated {said}"] = [answer.places[0].probability for answer in answers]
        held = [
            answer.confidence is not None and _holds(index, answer, shot.truth)
            for answer, shot in zip(answers, shots, strict=True)
        ]
        rows[f"{name}: held {said}"] = held
        rows[f"{name}: share {said}"] = [
            answer.confidence.areas[0].share for answer in answers if answer.confidence is not None
        ]
    return rows


def _holds(index: Index, answer: Answer, truth: LatLon) -> bool:
    cell = find_cell(index.lat, index.lon, index.manifest.stride_m, truth)
    return answer.confidence is not None and cell in answer.confidence.areas[0].rows


def _summarise(found: Sequence[tuple[str, dict[str, list[Any]]]]) -> dict[str, Any]:
    def pool(row: str) -> tuple[F64, list[str]]:
        values = [(value, town) for town, one in found for value in one[row]]
        return np.array([float(value) for value, _ in values]), [town for _, town in values]

    told: dict[str, Any] = {}
    for name in SPOTS:
        metres, towns = pool(name)
        told[name] = measure_share(metres <= RIGHT_WITHIN_M, towns)
    for name in ("foreign said", "own said"):
        told[name] = measure_share(*pool(name))
    for name in KINDS:
        for said in ("GPS alone", "picture alone", "both", "mean of the posterior"):
            metres, towns = pool(f"{name}: {said}")
            low, high = quantile_interval(metres, towns, 0.5)
            told[f"{name}: {said}"] = {
                "median_m": float(np.median(metres)), "low": low, "high": high,
                "within": measure_share(metres <= RIGHT_WITHIN_M, towns),
            }  # fmt: skip
        for said, which in (("without", "picture alone"), ("with", "both")):
            stated = pool(f"{name}: stated {said}")[0]
            right = pool(f"{name}: {which}")[0] <= RIGHT_WITHIN_M
            told[f"{name}: probability {said}"] = {
                "stated": float(stated.mean()),
                "right": float(right.mean()),
                "error": calibration_error(stated, right),
                "by_chance": error_by_chance(stated),
                "brier": brier(stated, right),
                "area_holds": measure_share(*pool(f"{name}: held {said}")),
                "area_share": float(np.median(pool(f"{name}: share {said}")[0])),
            }
    return told


def _tables(told: dict[str, Any]) -> Iterator[str]:
    yield "| photos of one spot | within 25 m |"
    yield "|---|---|"
    for name in SPOTS:
        yield f"| {name} | {format_share(told[name])} |"
    yield (
        f"\nsaid to be foreign: {format_share(told['foreign said'])} of the foreign ones, "
        f"{format_share(told['own said'])} of the others\n"
    )
    yield "| median | GPS alone | picture alone | both | posterior's mean | both: within 25 m |"
    yield "|---|---|---|---|---|---|"
    for name in KINDS:
        cells = []
        for said in ("GPS alone", "picture alone", "both", "mean of the posterior"):
            one = told[f"{name}: {said}"]
            cells.append(f"{one['median_m']:.1f} m ({one['low']:.1f} to {one['high']:.1f})")
        yield f"| {name} | {' | '.join(cells)} | {format_share(told[f'{name}: both']['within'])} |"
    yield "\n| | stated | right | error (by chance) | Brier | area for 90 %: holds, median share |"
    yield "|---|---|---|---|---|---|"
    for name in KINDS:
        for said in ("without", "with"):
            one = told[f"{name}: probability {said}"]
            yield (
                f"| {name}, {said} GPS | {one['stated']:.3f} | {one['right']:.3f} | "
                f"{one['error']:.3f} ({one['by_chance']:.3f}) | {one['brier']:.3f} | "
                f"{format_share(one['area_holds'])}, {100.0 * one['area_share']:.2g} % |"
            )


if __name__ == "__main__":
    main()
