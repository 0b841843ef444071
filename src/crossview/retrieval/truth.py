"""How far answers are from where pictures were really taken."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import Bool
from crossview.errors import BadData, InvalidValue, require
from crossview.geo.points import LatLon, distance_m
from crossview.retrieval.places import Answer
from crossview.stats import wilson

RIGHT_WITHIN_M = 25.0
RANKS = (1, 5, 10)


class Truths:
    """Where pictures were taken, from a ``places.csv`` (columns file, lat, lon at least)."""

    def __init__(self, path: Path, places: dict[str, LatLon]) -> None:
        self._folder = path.parent.resolve()
        self._named: dict[str, list[tuple[Path, LatLon]]] = {}
        for file, place in places.items():
            self._named.setdefault(Path(file).name, []).append((Path(file), place))

    @staticmethod
    def read(path: str | Path) -> Truths:
        """Read a CSV file; :class:`BadData` names the row that cannot be used."""
        places: dict[str, LatLon] = {}
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            raise BadData(f"{path} cannot be read as a list of places: {problem}.") from problem
        rows = csv.DictReader(text.splitlines())
        if missing := {"file", "lat", "lon"} - set(rows.fieldnames or ()):
            raise BadData(
                f"{path} lacks the columns {', '.join(sorted(missing))}.\n"
                "Expected: file,lat,lon and perhaps heading_deg,fov_deg,kind."
            )
        for number, row in enumerate(rows, 2):
            try:
                places[row["file"]] = LatLon(float(row["lat"]), float(row["lon"]))
            except (TypeError, ValueError) as problem:
                raise BadData(f"{path}, line {number}: no place in {row}.") from problem
        return Truths(Path(path), places)

    def photos(self) -> list[Path]:
        """The listed photos, paths counted from the list's folder; in the list's order by name."""
        return [self._folder / file for some in self._named.values() for file, _ in some]

    def of(self, photo: str) -> LatLon | None:
        """The truth of a photo; None if the list does not hold it, or not clearly.

        A listed path counts from the list's folder; else its end must be the end of the photo's
        path; else the file's name decides, if the list holds it once.
        """
        named = self._named.get(Path(photo).name, [])
        full = Path(photo).resolve()
        same = [place for file, place in named if (self._folder / file).resolve() == full]
        ends = [place for file, place in named if full.parts[-len(file.parts) :] == file.parts]
        for found in (same, ends, [place for _, place in named]):
            if len(found) == 1:
                return found[0]
        return None


def with_truth(answer: Answer, truth: LatLon | None) -> Answer:
    """The answer with the truth and the first place's error in metres, where it is known."""
    if truth is None:
        return answer
    error_m = distance_m(answer.places[0].latlon, truth) if answer.places else None
    return replace(answer, truth=truth, error_m=error_m)


def rank_of_truth(answer: Answer, truth: LatLon, within_m: float = RIGHT_WITHIN_M) -> float:
    """Rank (from 1) of the first listed place within ``within_m`` of the truth; inf if none is."""
    near = [p.rank for p in answer.places if distance_m(p.latlon, truth) <= within_m]
    return min(near, default=math.inf)


def hits(ranks: ArrayLike, k: int) -> Bool:
    """[Q] whether the first right one is among the first ``k``: ranks count from 1.

    0 and inf both say that there is none.
    """
    found = np.asarray(ranks)
    return np.asarray((found >= 1) & (found <= k))


def summary(answers: Sequence[Answer], truths: Sequence[LatLon], n_places: int) -> dict[str, Any]:
    """Accuracy over pictures of known truth, as shares in [0, 1] and metres.

    ``n`` pictures; ``within_25m``: the first place's pin within 25 m, with its 95 % interval
    (Wilson, over pictures); ``median_error_m`` of the first place (no place counts as infinitely
    far); ``recall_at_k``: a place within 25 m among the first k, left out where fewer than k
    places were asked for (``n_places``).
    """
    require(len(answers) == len(truths), f"{len(answers)} answers, but {len(truths)} truths.")
    if not answers:
        raise InvalidValue("no picture of known truth: nothing to measure.")
    pairs = list(zip(answers, truths, strict=True))
    errors = [distance_m(a.places[0].latlon, t) if a.places else math.inf for a, t in pairs]
    ranks = np.array([rank_of_truth(a, t) for a, t in pairs])
    right = int((np.array(errors) <= RIGHT_WITHIN_M).sum())
    result: dict[str, Any] = {
        "n": len(pairs),
        "within_25m": right / len(pairs),
        "within_25m_interval": list(wilson(right, len(pairs))),
        "median_error_m": float(np.median(errors)),
    }
    for k in RANKS:
        if k <= n_places:
            result[f"recall_at_{k}"] = float(hits(ranks, k).mean())
    return result
