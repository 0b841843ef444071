"""How far to trust an answer: what the index's calibration says of it, and nothing beyond that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crossview.arrays import F64
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.answer import Answer, Area, Confidence, Place
from crossview.localization.calibration_record import CHOSEN_BY, Calibrated, Calibration, Fit
from crossview.localization.hints import Hints
from crossview.localization.posterior import cells_within, evidence, masses

if TYPE_CHECKING:
    from crossview.index.store import Index

_UNMEASURED_HINTS = {
    "heading_deg": "a heading was given",
    "horizon_px": "a horizon was given",
    "near": "only a part of the region was searched",
}


def with_confidence(index: Index, answer: Answer, hints: Hints) -> Answer:
    """The answer with probabilities and areas, if the index was calibrated for such pictures.

    With a calibration that does not fit this picture, ``unmeasured`` tells why. Raises
    :class:`BadIndex` for a damaged calibration.
    """
    if index.manifest.calibration is None or not answer.places:
        return answer
    calibration = Calibration.from_json(index.manifest.calibration)
    kind = calibration.of(answer)
    given = [said for name, said in _UNMEASURED_HINTS.items() if getattr(hints, name) is not None]
    if kind is None:
        return replace(answer, unmeasured=_of_another_kind(answer, calibration))
    if given:
        return replace(answer, unmeasured=f"{given[0]}, which the calibration did not have")
    return _stated(index, answer, calibration, kind)


def _of_another_kind(answer: Answer, calibration: Calibration) -> str:
    """Why no kind of a calibration covers a picture."""
    if calibration.of(replace(answer, heading_source=None)) is not None:
        return (
            "the heading in the file was used, which the calibration did not have "
            "(--ignore-direction leaves it out)"
        )
    if answer.fov_source == "assumed" and any(
        kind.assumed and kind.fov_chosen_by != CHOSEN_BY for kind in calibration.kinds
    ):
        return "the calibration is of an earlier choice of unknown fields of view; calibrate again"
    measured = ", ".join(kind.name for kind in calibration.kinds)
    return f"the calibration was made on {measured}"


def _stated(index: Index, answer: Answer, calibration: Calibration, kind: Calibrated) -> Answer:
    found = evidence(answer.scores, kind.fit.temperature)
    elsewhere = float(kind.fit.elsewhere(found, calibration.share))
    mass = (1.0 - elsewhere) * masses(answer.scores, kind.fit.temperature)
    confidence = Confidence(
        elsewhere=elsewhere,
        refused=found < kind.fit.refused_below,
        false_reject=calibration.false_reject,
        areas=tuple(areas(index, answer, kind.fit)),
        kind=kind.name,
        n=kind.n,
        date=calibration.created[:10],
    )
    stated = tuple(replace(p, probability=_probability(index, mass, p)) for p in answer.places)
    return replace(answer, places=stated, confidence=confidence)


def _probability(index: Index, mass: F64, place: Place) -> float:
    """Of lying within 25 m of the place's pin."""
    rows, shares = cells_within(
        index.lat, index.lon, index.manifest.stride_m, place.latlon, RIGHT_WITHIN_M
    )
    return float(mass[rows] @ shares)


def areas(index: Index, answer: Answer, fit: Fit) -> Iterator[Area]:
    """The calibrated sets of one picture, which always hold its best cell."""
    scores = np.asarray(answer.scores, np.float64)
    below_best = np.nanmax(scores) - scores
    searched = int(np.isfinite(scores).sum())
    for reach in fit.reaches:
        rows = np.flatnonzero(below_best <= reach.below_best)  # not where it is NaN
        yield Area(
            coverage=reach.coverage,
            rows=rows,
            km2=len(rows) * (index.manifest.stride_m / 1000.0) ** 2,
            share=len(rows) / searched,
            lat=index.lat[rows],
            lon=index.lon[rows],
            cell_m=index.manifest.stride_m,
            up_bearing_deg=float(np.median(index.up_bearing_deg[rows])),
        )
