"""The calibration on towns it was not made on: coverage, area, calibration error, refusals.

    make bench NAME=calibration                     everything; about 25 minutes of one core
    python -m benchmarks.calibration --render-only  only the towns and their pictures

Calibrated on towns of the seen styles, tested on other towns of these styles, and on towns of the
style that the packaged model has never seen. Pictures: panoramas and photos of 90 degrees, headings
unknown. Rendered towns, indexes and scores are kept below ``--root``: a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _towns, harness
from benchmarks.harness import format_share
from crossview.calibration.calibrate import (
    Outcome,
    calibrate,
    estimate_share,
    figures,
    judge,
    refusal_figures,
)
from crossview.calibration.fit import CalibrationGoal
from crossview.calibration.known_photos import KnownPhoto, KnownPhotos, make_known_photo
from crossview.files import writing
from crossview.index.store import Index
from crossview.localization.accuracy import RANKS, Truths
from crossview.localization.answer import Answer
from crossview.localization.calibration_record import Calibrated
from crossview.localization.hints import Hints
from crossview.localization.locate import locate_many
from crossview.localization.posterior import measure_evidence
from crossview.localization.search import rank_places
from crossview.model import Embedder, open_model
from crossview.reports.trust import draw_calibration
from crossview.worlds.town import TOWN_VERSION

STRIDE_M = 8.0
ELSEWHERE = 40  # pictures of each kind that every town is asked from the next town
WANTED = CalibrationGoal()
TITLES = {"test": "other towns, styles seen in training", "unseen": "a style never seen"}
TINY = _towns.Extent(calibration=(1, 9), test=(1, 3), unseen=(1, 3), side_m=320.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What one town's index answered: its own pictures, and pictures of another town."""

    town: str
    own: list[KnownPhoto]
    foreign: list[Answer]


def main() -> None:
    """Render, index, ask, measure; print a table and one JSON line."""
    wanted = _arguments()
    extent = TINY if wanted.tiny else _towns.Extent()
    towns = list(_towns.towns(extent))
    folders = [_towns.render(wanted.root, town) for town in towns]
    if wanted.render_only:
        return
    embedder = open_model(wanted.model, threads=wanted.threads)
    asked: dict[str, list[Asked]] = {part: [] for part in _towns.PARTS}
    for number, town in enumerate(towns):
        same = [n for n, other in enumerate(towns) if other.part == town.part]
        other = folders[same[(same.index(number) + 1) % len(same)]]
        asked[town.part].append(_ask(folders[number], other, embedder))
        print(f"asked {town.name}", file=sys.stderr, flush=True)
    coverages = (0.5, 0.8) if wanted.tiny else WANTED.coverages
    found = measured(asked, replace(WANTED, coverages=coverages))
    _write(wanted, found)
    print("\n".join(_table(found)))
    harness.report(
        name="calibration",
        ratios={},
        n=sum(one["n"] for one in found["test"].values()),
        threads=wanted.threads or os.cpu_count() or 1,
        medians={},
        town_version=TOWN_VERSION,
        model=embedder.fingerprint[:12],
        **{part: _short(found[part]) for part in ("test", "unseen")},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/calibration"))
    parser.add_argument("--model", default="town")
    parser.add_argument("--render-only", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="also draw the reliability diagram there")
    return parser.parse_args()


def _ask(folder: Path, other: Path, embedder: Embedder) -> Asked:
    """Index one town, unless done, and ask it; scores are kept, so that asking is done once."""
    path = _towns.indexed(folder, embedder, STRIDE_M)
    index = Index.open(path)
    truths = Truths.read(folder / "places.csv")
    own = list(_answers(index, embedder, _photos(folder), path.with_suffix(".own.npz")))
    kept = path.with_suffix(f".{other.name}.npz")
    foreign = list(_answers(index, embedder, _photos(other, ELSEWHERE), kept))
    placed = [(answer, truths.find(answer.photo)) for answer in own]
    knowns = [
        make_known_photo(index, answer, truth) for answer, truth in placed if truth is not None
    ]
    return Asked(town=folder.name, own=[one for one in knowns if one is not None], foreign=foreign)


def _photos(folder: Path, of_each: int | None = None) -> list[Path]:
    files = sorted((folder / "ground").glob("*.jpg"))
    kinds = sorted({file.stem.rsplit("_", 1)[0] for file in files})
    return [f for kind in kinds for f in [g for g in files if g.stem.startswith(kind)][:of_each]]


def _answers(
    index: Index, embedder: Embedder, photos: Sequence[Path], kept: Path
) -> Iterator[Answer]:
    """Answers without headings; scores are read from ``kept``, or written there."""
    if not kept.is_file():
        answers = locate_many(index, embedder, photos, Hints(places=1))
        scores = np.stack([answer.scores for answer in answers])
        fov = np.array([answer.fov_deg for answer in answers])
        with writing(kept) as temporary, temporary.open("wb") as stream:
            np.savez(stream, scores=scores, fov=fov)
    with np.load(kept, allow_pickle=False) as arrays:
        scores, fov = arrays["scores"], arrays["fov"]
    headings = np.full(index.count, np.nan, np.float32)
    for photo, row, width in zip(photos, scores, fov, strict=True):
        yield Answer(
            photo=str(photo),
            sha256="",
            kind="panorama" if width == 360.0 else "perspective",
            fov_deg=float(width),
            fov_source="panorama" if width == 360.0 else "exif",
            assumptions=(),
            places=rank_places(index, row, headings, max(RANKS)),
            scores=row,
        )


def measured(asked: dict[str, list[Asked]], wanted: CalibrationGoal) -> dict[str, Any]:
    """Figures of every kind of picture: held out in calibration, on other towns, on new style."""
    pool = [one for town in asked["calibration"] for one in town.own]
    calibration = calibrate(pool, wanted, STRIDE_M)
    result: dict[str, Any] = {"calibration": calibration.to_json()}
    for part in ("test", "unseen"):
        result[part] = {
            kind.name: _judged(kind, asked[part], wanted)
            for kind in calibration.kinds
        }  # fmt: skip
    return result


def _judged(kind: Calibrated, towns: Sequence[Asked], wanted: CalibrationGoal) -> dict[str, Any]:
    """A calibration on pictures of other towns; intervals resample towns."""
    own = [[one for one in town.own if _same(kind, one.fov_deg)] for town in towns]
    photos = KnownPhotos.of([one for some in own for one in some])
    photos = replace(photos, spot=np.repeat(np.arange(len(own)), [len(some) for some in own]))
    found = judge(photos, kind.fit, wanted.share)
    told = figures(photos, found, wanted, (STRIDE_M / 1000.0) ** 2)
    foreign = np.array([
        measure_evidence(answer.scores, kind.fit.temperature)
        for town in towns for answer in town.foreign if _same(kind, answer.fov_deg)
    ])  # fmt: skip
    taken_out = {"told_apart_taken_out": told["told_apart"]}
    return {**told, **taken_out, "towns": len(own), **_elsewhere(kind, found, foreign, wanted)}


def _same(kind: Calibrated, fov_deg: float) -> bool:
    return abs(fov_deg - kind.fov_deg[0]) < 1.0


def _elsewhere(
    kind: Calibrated, found: Outcome, foreign: np.ndarray, wanted: CalibrationGoal
) -> dict[str, Any]:
    """Pictures of another town: how many are accepted, and the whole curve."""
    return {
        "elsewhere_n": len(foreign),
        "false_accept_elsewhere": estimate_share(
            foreign >= kind.fit.refused_below, range(len(foreign))
        ),
        "elsewhere_stated": float(kind.fit.elsewhere(foreign, wanted.share).mean()),
        **refusal_figures(found.evidence, foreign),
    }


def _table(found: dict[str, Any]) -> Iterator[str]:
    """The figures as rows of a Markdown table."""
    yield (
        "| | n (towns) | within 25 m | error (by chance) | Brier | "
        + " | ".join(
            f"area for {100 * one['asked']:g} %: coverage, median share"
            for one in next(iter(found["test"].values()))["sets"]
        )
        + " | refused | accepted from elsewhere |"
    )
    for part, title in TITLES.items():
        for kind, told in found[part].items():
            sets = [
                f"{format_share(s['coverage'])}, {100 * s['median_share']:.2g} %"
                for s in told["sets"]
            ]
            error, chance = told["calibration_error"], told["calibration_error_by_chance"]
            yield (
                f"| {title}: {kind} | {told['n']} ({told['towns']}) "
                f"| {format_share(told['recall']['1'])} | {error:.3f} ({chance:.3f}) "
                f"| {told['brier']:.3f} | {' | '.join(sets)} "
                f"| {format_share(told['false_reject'])} "
                f"| {format_share(told['false_accept_elsewhere'])} |"
            )


def _short(kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the JSON line tells of each kind."""
    return {
        name: {
            "n": told["n"],
            "towns": told["towns"],
            "within_25m": told["recall"]["1"],
            "calibration_error": round(told["calibration_error"], 4),
            "calibration_error_by_chance": round(told["calibration_error_by_chance"], 4),
            "brier": round(told["brier"], 4),
            "sets": told["sets"],
            "false_reject": told["false_reject"],
            "false_accept_taken_out": told.get("false_accept"),
            "false_accept_elsewhere": told["false_accept_elsewhere"],
            "told_apart_elsewhere": round(told["told_apart"], 4),
        }
        for name, told in kinds.items()
    }


def _write(wanted: argparse.Namespace, found: dict[str, Any]) -> None:
    with writing(wanted.root / "measured.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if wanted.figure is not None:
        draw_calibration({title: found[part] for part, title in TITLES.items()}, wanted.figure)


if __name__ == "__main__":
    main()
