"""What night, snow and an outdated picture from above cost, and whether a calibration still covers.

    make bench NAME=conditions    ten towns; about 25 minutes of one core, most of it for pictures

The same places of ten unseen towns (five of a style seen in training, five of one never seen) are
pictured by day, by night, in snow, and after three of ten buildings were replaced. Headings are
unknown. A calibration is fitted to nine towns and judged on the tenth: once to pictures of all
conditions, once to those of the day alone. Then the index is given heights, and the skylines of
some of the pictures are checked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _towns, harness
from benchmarks.harness import format_share, measure_share
from crossview.calibration.calibrate import judge
from crossview.calibration.fit import CalibrationGoal, fit
from crossview.calibration.known_photos import KnownPhotos, make_known_photo
from crossview.files import writing
from crossview.geo.points import LatLon, measure_distance_m
from crossview.index.build import give_heights
from crossview.index.store import Index
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints
from crossview.localization.locate import get_index_model
from crossview.localization.queries import Query, make_queries
from crossview.localization.search import SearchResult, rank_places, search
from crossview.localization.skyline import check_skyline
from crossview.model import Embedder, open_model
from crossview.views.colour import measure_ground_light
from crossview.worlds.camera import Shot, draw_camera_places, render_panorama, render_photo
from crossview.worlds.changes import CHANGES_VERSION, Changes, start_changed_drive
from crossview.worlds.town import TOWN_VERSION, build_town
from crossview.worlds.write import write_height_map

CONDITIONS = {
    "day": Changes(),
    "night": Changes(night=True),
    "snow": Changes(snow=True),
    "outdated": Changes(outdated=0.3),
}
KINDS = {360.0: "panoramas", 90.0: "photos of 90 degrees"}
SIZES = {360.0: (512, 256), 90.0: (320, 240)}
GOAL = CalibrationGoal()
STRATA = 4
PLACES = 3  # of which probabilities are fitted
TOGETHER = 20  # pictures located at a time
RIGHT_M = 25.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictured:
    """Pictures [n] of one town in one condition, located without heights."""

    town: _towns.DemoTown
    fov_deg: float
    condition: str
    scores: np.ndarray  # [n, N]
    heading_deg: np.ndarray  # [n, N]
    strips: np.ndarray  # [n, h, w, 3]
    truths: np.ndarray  # [n, 2]


def main() -> None:
    """Picture, locate, calibrate, check skylines; print tables and one JSON line."""
    wanted = _arguments()
    embedder = open_model("town", threads=wanted.threads)
    towns = list(_towns.demo_towns(wanted.root, wanted.seeds))
    found = [part for town in towns for part in _picture_town(town, wanted, embedder)]
    known = {(p.town.folder.name, p.fov_deg, p.condition): _know(p) for p in found}
    recall = _measure_recall(found)
    coverage = {
        "all conditions": _cover(known, towns, GOAL),
        f"all conditions, {STRATA} strata": _cover(known, towns, replace(GOAL, strata=STRATA)),
        "each condition by itself": _cover(known, towns, GOAL, on=None),
        "day alone": _cover(known, towns, GOAL, on=("day",)),
    }
    skylines = _check_skylines(found, wanted, embedder) if wanted.skylines else {}
    print("\n".join(_table(recall, coverage, skylines)))
    harness.report(
        name="conditions",
        ratios={},
        n=sum(len(part.truths) for part in found),
        threads=wanted.threads or os.cpu_count() or 1,
        medians={},
        town_version=TOWN_VERSION,
        changes_version=CHANGES_VERSION,
        model=embedder.fingerprint[:12],
        pictures=wanted.pictures,
        recall=recall,
        coverage=coverage,
        skylines=skylines,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/towns"))
    parser.add_argument("--kept", type=Path, default=Path("runs/conditions"), help="what is kept")
    parser.add_argument("--seeds", type=int, default=5, help="towns of each style")
    parser.add_argument("--pictures", type=int, default=40, help="of each kind, condition and town")
    parser.add_argument("--skylines", type=int, default=20, help="of them checked by heights")
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def _picture_town(
    town: _towns.DemoTown, wanted: argparse.Namespace, embedder: Embedder
) -> Iterator[Pictured]:
    """All kinds and conditions of one town; what is there already is not made again."""
    built = None
    index = Index.open(town.index)
    for name, changes in CONDITIONS.items():
        version = f"{TOWN_VERSION}-{CHANGES_VERSION}-{wanted.pictures}"
        file = wanted.kept / f"{town.style}-{town.seed}-{name}-{version}.npz"
        if not file.is_file():
            built = built or build_town(town.style, town.seed)
            arrays = {}
            for fov in KINDS:
                shots = list(_draw_shots(built, fov, wanted.pictures))
                arrays |= _locate_shots(index, embedder, built, changes, shots)
            file.parent.mkdir(parents=True, exist_ok=True)
            with writing(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, **arrays)
            print(f"pictured {town.style}-{town.seed} {name}", file=sys.stderr, flush=True)
        with np.load(file) as kept:
            for fov in KINDS:
                yield Pictured(
                    town=town, fov_deg=fov, condition=name,
                    **{key: kept[f"{key}_{fov:g}"]
                       for key in ("scores", "heading_deg", "strips", "truths")},
                )  # fmt: skip


def _draw_shots(town: Any, fov: float, count: int) -> Iterator[Shot]:
    """The same places and headings in every condition."""
    headings = town.seed_generator(f"conditions {fov:g}").uniform(0.0, 360.0, count)
    places = draw_camera_places(town, count, f"conditions {fov:g}")
    for n, (east, south) in enumerate(places):
        yield Shot(float(east), float(south), float(headings[n]), fov, 0.0, *SIZES[fov], n)


def _locate_shots(
    index: Index, embedder: Embedder, town: Any, changes: Changes, shots: Sequence[Shot]
) -> dict[str, np.ndarray]:
    drive = start_changed_drive(town, changes)
    fov = shots[0].fov_deg
    take = render_panorama if fov == 360.0 else render_photo
    rows: list[tuple[Any, ...]] = []
    for first in range(0, len(shots), TOGETHER):
        part = shots[first : first + TOGETHER]
        pictures = [take(drive, shot) for shot in part]
        queries = list(make_queries(pictures, [Hints(fov_deg=fov)] * len(part), embedder))
        for query, result in zip(queries, search(index, queries), strict=True):
            rows.append((result.scores, result.heading_deg, query.strips[0]))
    truths = [town.site.latlon(shot.east_m, shot.south_m) for shot in shots]
    return {
        f"scores_{fov:g}": np.stack([row[0] for row in rows]),
        f"heading_deg_{fov:g}": np.stack([row[1] for row in rows]),
        f"strips_{fov:g}": np.stack([row[2] for row in rows]),
        f"truths_{fov:g}": np.array([[place.lat, place.lon] for place in truths]),
    }


def _know(part: Pictured) -> KnownPhotos:
    """What the pictures tell a calibration."""
    index = Index.open(part.town.index)
    known = [
        make_known_photo(index, _answer(index, part, row), LatLon(*part.truths[row]))
        for row in range(len(part.truths))
    ]
    return KnownPhotos.of([one for one in known if one is not None])


def _answer(index: Index, part: Pictured, row: int) -> Answer:
    panorama = part.fov_deg == 360.0
    return Answer(
        photo=str(row), sha256="", kind="panorama" if panorama else "perspective",
        fov_deg=part.fov_deg, fov_source="panorama" if panorama else "given", assumptions=(),
        places=rank_places(index, part.scores[row], part.heading_deg[row], PLACES),
        scores=part.scores[row], ground_light=_measure_light(index, part.strips[row]),
    )  # fmt: skip


def _measure_light(index: Index, strip: np.ndarray) -> float:
    return measure_ground_light(strip, get_index_model(index).info.ground.mean_colour)


def _errors_m(index: Index, scores: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """How far the first place of each picture [n] is off."""
    best = np.nanargmax(scores, axis=1)
    return np.array([
        measure_distance_m(index.footprint(int(row)).centre, LatLon(*truth))
        for row, truth in zip(best, truths, strict=True)
    ])  # fmt: skip


def _measure_recall(found: Sequence[Pictured]) -> dict[str, dict[str, float]]:
    """Within 25 m by kind, style and condition; intervals resample towns."""
    shares = {}
    for fov, kind in KINDS.items():
        for style in dict.fromkeys(part.town.style for part in found):
            for condition in CONDITIONS:
                flags: list[float] = []
                clusters: list[int] = []
                for part in found:
                    if (part.fov_deg, part.town.style, part.condition) == (fov, style, condition):
                        errors = _errors_m(Index.open(part.town.index), part.scores, part.truths)
                        flags += (errors <= RIGHT_M).tolist()
                        clusters += [part.town.seed] * len(errors)
                shares[f"{kind}, {style}, {condition}"] = measure_share(flags, clusters)
    return shares


def _cover(
    known: dict[tuple[str, float, str], KnownPhotos],
    towns: Sequence[_towns.DemoTown],
    goal: CalibrationGoal,
    on: tuple[str, ...] | None = tuple(CONDITIONS),
) -> dict[str, dict[str, float]]:
    """Coverage of the areas by kind and condition: each town by a fit to all the others.

    ``on``: the conditions that are calibrated on, together; None: each on its own.
    """
    covered: dict[str, list[tuple[float, int]]] = {}
    for fov, kind in KINDS.items():
        for number, town in enumerate(towns):
            others = {key: photos for key, photos in known.items() if key[0] != town.folder.name}
            fits = {
                these: fit(
                    _join([others[key] for key in others if key[1] == fov and key[2] in these]),
                    goal,
                )
                for these in ([on] if on else [(condition,) for condition in CONDITIONS])
            }
            for condition in CONDITIONS:
                fitted = fits[on or (condition,)]
                outcome = judge(known[town.folder.name, fov, condition], fitted, goal.share)
                for column, coverage in enumerate(goal.coverages):
                    key = f"{kind}, {condition}, {100 * coverage:g} %"
                    flags = outcome.covered[:, column].tolist()
                    covered.setdefault(key, []).extend((flag, number) for flag in flags)
                    area = f"{kind}, {condition}, area {100 * coverage:g} %"
                    shares = outcome.area[:, column].tolist()
                    covered.setdefault(area, []).extend((share, number) for share in shares)
    return {
        key: (
            {"value": float(np.median([flag for flag, _ in pairs])), "n": len(pairs)}
            if "area" in key
            else measure_share([flag for flag, _ in pairs], [town for _, town in pairs])
        )
        for key, pairs in covered.items()
    }


def _join(parts: Sequence[KnownPhotos]) -> KnownPhotos:
    """Several groups as one, padded with cells that count nothing."""
    widest: dict[str, tuple[int, ...]] = {}
    arrays = [vars(part) for part in parts]
    for name in arrays[0]:
        widest[name] = tuple(np.max([array[name].shape[1:] for array in arrays], axis=0, initial=0))
    joined = {}
    for name, shape in widest.items():
        padded = []
        for array in arrays:
            spare = [int(most) - n for most, n in zip(shape, array[name].shape[1:], strict=True)]
            mode = "edge" if name in {"scores", "out_scores"} else "constant"
            padded.append(np.pad(array[name], [(0, 0), *((0, n) for n in spare)], mode=mode))
        joined[name] = np.concatenate(padded)
    joined["spot"] = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return replace(parts[0], **joined)


def _check_skylines(
    found: Sequence[Pictured], wanted: argparse.Namespace, embedder: Embedder
) -> dict[str, dict[str, Any]]:
    """First places before and after the check, by kind, style and condition."""
    told: dict[str, list[tuple[bool, bool, bool, int]]] = {}
    for part in found:
        index = _index_with_heights(part.town, wanted.kept)
        strips = list(part.strips[: wanted.skylines])
        hints = Hints(fov_deg=part.fov_deg)
        for row, strip in enumerate(strips):
            query = _dress(strip, hints)
            before = SearchResult(0, part.scores[row], part.heading_deg[row])
            after = check_skyline(index, embedder, query, before)
            both = np.stack([before.scores, after.scores])
            truths = np.stack([part.truths[row]] * 2)
            right = _errors_m(index, both, truths) <= RIGHT_M
            moved = bool(np.argmax(both[0]) != np.argmax(both[1]))
            key = f"{KINDS[part.fov_deg]}, {part.town.style}, {part.condition}"
            told.setdefault(key, []).append((*right.tolist(), moved, part.town.seed))
        print(f"checked {part.town.style}-{part.town.seed} {part.condition}", file=sys.stderr)
    figures = {}
    for key, rows in told.items():
        was, now, moved, town = (np.array(column) for column in zip(*rows, strict=True))
        figures[key] = {
            "before": measure_share(was, town),
            "after": measure_share(now, town),
            "wrong": int((~was).sum()),
            "wrong_demoted": int((~was & moved).sum()),
            "wrong_put_right": int((~was & now).sum()),
            "right": int(was.sum()),
            "right_lost": int((was & ~now).sum()),
        }
    return figures


def _dress(strip: np.ndarray, hints: Hints) -> Query:
    """A query that has its strip: all that skylines are found in."""
    return Query(
        photo="", sha256="", hints=hints, readings=(), heading=None, heading_wanted=True,
        turned_deg=0.0, assumptions=(), warnings=(), strips=(strip,),
        vectors=np.empty((0, 0), np.float32),
    )  # fmt: skip


def _index_with_heights(town: _towns.DemoTown, kept: Path) -> Index:
    """A copy of the town's index that was given the town's heights, made unless it is there."""
    folder = kept / f"{town.style}-{town.seed}-{TOWN_VERSION}"
    path = folder / "model.cvx"
    if not (path.is_dir() and Index.open(path).manifest.heights is not None):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(town.index, path)
        write_height_map(folder / "heights.tif", build_town(town.style, town.seed))
        give_heights(path, folder / "heights.tif")
    return Index.open(path)


def _table(
    recall: dict[str, dict[str, float]],
    coverage: dict[str, dict[str, dict[str, float]]],
    skylines: dict[str, dict[str, Any]],
) -> Iterator[str]:
    """The figures as Markdown."""
    yield "| within 25 m | " + " | ".join(CONDITIONS) + " |"
    for key in dict.fromkeys(key.rpartition(", ")[0] for key in recall):
        yield (
            f"| {key} | "
            + " | ".join(format_share(recall[f"{key}, {c}"]) for c in CONDITIONS)
            + " |"
        )
    yield ""
    yield "| calibrated on | asked | " + " | ".join(CONDITIONS) + " |"
    for mixed, shares in coverage.items():
        for kind in KINDS.values():
            for asked in (f"{100 * c:g} %" for c in GOAL.coverages):
                cells = [
                    f"{format_share(shares[f'{kind}, {c}, {asked}'])}, area "
                    f"{100 * shares[f'{kind}, {c}, area {asked}']['value']:.2g} %"
                    for c in CONDITIONS
                ]
                yield f"| {mixed}: {kind} | {asked} | " + " | ".join(cells) + " |"
    yield ""
    yield "| skylines checked | within 25 m before | after | wrong demoted | right lost |"
    for key, told in skylines.items():
        yield (
            f"| {key} | {format_share(told['before'])} | {format_share(told['after'])} "
            f"| {told['wrong_demoted']} of {told['wrong']} ({told['wrong_put_right']} put right) "
            f"| {told['right_lost']} of {told['right']} |"
        )


if __name__ == "__main__":
    main()
