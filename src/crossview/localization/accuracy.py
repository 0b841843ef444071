"""How far answers are from where pictures were really taken."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import Bool
from crossview.errors import BadData, InvalidValue, require
from crossview.geo.points import LatLon, measure_distance_m
from crossview.lists import Folder, read_table
from crossview.localization.answer import Answer
from crossview.stats import wilson
from crossview.views.decode import Photo

NEEDED = ("file", "lat", "lon")
SAME_PLACE_M = 0.01
RIGHT_WITHIN_M = 25.0
RANKS = (1, 5, 10)


class Truths:
    """Where pictures were taken, from a ``places.csv`` (columns file, lat, lon at least)."""

    def __init__(
        self, path: Path, places: Mapping[str, LatLon], headings_deg: Mapping[str, float] = {}
    ) -> None:
        self._folder = Folder(path.parent)
        self._files = tuple(places)
        self._headings_deg = headings_deg
        self._named: dict[str, list[tuple[str, str, LatLon]]] = {}
        for file, place in places.items():
            key = self._folder.key(file)
            self._named.setdefault(posixpath.basename(key), []).append((key, file, place))

    @staticmethod
    def read(path: str | Path, *, headings: bool = False) -> Truths:
        """Read a list (:mod:`crossview.lists`); :class:`BadData` names the line that is wrong.

        A picture that is listed twice must be listed at the same place, to the centimetre.
        ``headings``: read the column ``heading_deg`` too, where there is one; of a picture that is
        listed twice, the first.
        """
        folder = Folder(Path(path).parent)
        table = read_table(Path(path), needed=NEEDED, what="list of places")
        places: dict[str, LatLon] = {}
        headings_deg: dict[str, float] = {}
        first: dict[str, tuple[str, int]] = {}  # file by what its spellings have alike
        for row in table:
            if not (file := row.text("file")):
                raise BadData(f"{row.where}: file is empty.")
            place = LatLon(*row.place())
            earlier, line = first.setdefault(folder.key(file), (file, row.line))
            if measure_distance_m(places.setdefault(earlier, place), place) > SAME_PLACE_M:
                raise BadData(
                    f"{row.where}: {file} was taken at {place}, but at {places[earlier]} in line "
                    f"{line}.\nKeep the line that is right."
                )
            heading_deg = row.number("heading_deg", -360.0, 360.0) if headings else math.nan
            if not math.isnan(heading_deg):
                headings_deg.setdefault(earlier, heading_deg)
        return Truths(Path(path), places, headings_deg)

    def photos(self) -> list[Path]:
        """The listed photos, in the list's order, paths counted from the list's folder.

        A photo that is there is named as it is on the disk, however the list spells it.
        """
        return [self._folder.file(file) for file in self._files]

    def find(self, photo: str) -> LatLon | None:
        """The truth of a photo; None if the list does not hold it, or not clearly.

        A listed path counts from the list's folder; else its end must be the end of the photo's
        path; else the file's name decides, if the list holds it once. Names are compared as
        :mod:`crossview.lists` says.
        """
        file = self._find_file(photo)
        return None if file is None else file[1]

    def find_heading(self, photo: str) -> float | None:
        """The true heading of a photo's middle, clockwise from true north, where it is listed."""
        file = self._find_file(photo)
        return None if file is None else self._headings_deg.get(file[0])

    def _find_file(self, photo: str) -> tuple[str, LatLon] | None:
        key = self._folder.key(os.path.abspath(photo))
        named = self._named.get(posixpath.basename(key), [])
        keys = {key, self._folder.key(os.path.realpath(photo))}
        same = [(name, place) for file, name, place in named if file in keys]
        ends = [(n, place) for file, n, place in named if f"/{key}".endswith(f"/{file}")]
        for files in (same, ends, [(name, place) for _, name, place in named]):
            if len(files) == 1:
                return files[0]
        return None


def true_place(photo: Photo, truths: Truths | None) -> LatLon | None:
    """Where a photo was taken: what the list says, or without a list the GPS in the file."""
    return photo.gps if truths is None else truths.find(photo.path)


def add_truth(answer: Answer, truth: LatLon | None) -> Answer:
    """The answer with the truth and the first place's error in metres, where it is known."""
    if truth is None:
        return answer
    error_m = measure_distance_m(answer.places[0].latlon, truth) if answer.places else None
    return replace(answer, truth=truth, error_m=error_m)


def rank_truth(answer: Answer, truth: LatLon, within_m: float = RIGHT_WITHIN_M) -> float:
    """Rank (from 1) of the first listed place within ``within_m`` of the truth; inf if none is."""
    near = [p.rank for p in answer.places if measure_distance_m(p.latlon, truth) <= within_m]
    return min(near, default=math.inf)


def mark_hits(ranks: ArrayLike, k: int) -> Bool:
    """[Q] whether the first right one is among the first ``k``: ranks [Q] count from 1.

    0 and inf both say that there is none.
    """
    ranked = np.asarray(ranks)
    return np.asarray((ranked >= 1) & (ranked <= k))


def summarise(answers: Sequence[Answer], truths: Sequence[LatLon], n_places: int) -> dict[str, Any]:
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
    errors = [measure_distance_m(a.places[0].latlon, t) if a.places else math.inf for a, t in pairs]
    ranks = np.array([rank_truth(a, t) for a, t in pairs])
    right = int((np.array(errors) <= RIGHT_WITHIN_M).sum())
    result: dict[str, Any] = {
        "n": len(pairs),
        "within_25m": right / len(pairs),
        "within_25m_interval": list(wilson(right, len(pairs))),
        "median_error_m": float(np.median(errors)),
    }
    for k in RANKS:
        if k <= n_places:
            result[f"recall_at_{k}"] = float(mark_hits(ranks, k).mean())
    return result
