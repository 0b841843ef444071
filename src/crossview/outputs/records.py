"""An answer as plain JSON values and sentences: what every format carries in the same words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from crossview.files import printable
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, distance_m
from crossview.retrieval.places import Answer, Area, Confidence, Place

COLUMNS = (
    "photo", "rank", "lat", "lon", "score", "heading_deg", "probability", "error_m",
    "openstreetmap", "kind", "fov_deg", "fov_source", "heading_source", "confidence", "assumptions",
    "warnings", "truth", "window", "sha256",
)  # fmt: skip
"""What every format says of a place. ``calibrated`` is left to formats that nest: ``confidence``
says the same in words."""

STANDS_OUT = "The first place stands out. Its score is no probability."
NOTHING_STANDS_OUT = "No place stands out, which does not mean that the photo is from elsewhere."
NOT_HERE = "Not in this region, as far as its calibration tells"
NO_PLACES = "No place was found within the given limits."

_GAPS_OF_CHANCE = 3.0
_FEWEST_PLACES = 10  # among which one can stand out
_DEGREE_DIGITS = 7  # 1 cm


def place_rows(answer: Answer) -> Iterator[dict[str, Any]]:
    """A row per place, best first, for formats without nesting; keys are some of ``COLUMNS``.

    An answer without places has one row without ``rank``: its warnings are told all the same.
    """
    about = {k: v for k, v in answer_record(answer).items() if k in COLUMNS and k != "error_m"}
    for place in answer.places:
        yield {**about, **place_record(place, answer.truth)}
    if not answer.places:
        yield about


def cell_text(value: Any) -> str:
    """A value of a row as text: lists joined by semicolons, points as latitude and longitude."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(map(str, value.values()))
    return str(value)


def answer_record(answer: Answer) -> dict[str, Any]:
    """Everything about one picture but its places and scores; what is unknown is left out."""
    record: dict[str, Any] = {
        "photo": printable(answer.photo),
        "sha256": answer.sha256,
        "kind": answer.kind,
        "fov_deg": round(answer.fov_deg, 2),
        "fov_source": answer.fov_source,
        "assumptions": [printable(text) for text in answer.assumptions],
        "warnings": [printable(text) for text in answer.warnings],
        "confidence": confidence(answer),
    }
    if answer.heading_source is not None:
        record["heading_source"] = answer.heading_source
    if answer.confidence is not None:
        record["calibrated"] = confidence_record(answer.confidence)
    if answer.truth is not None:
        record["truth"] = point_record(answer.truth)
    if answer.error_m is not None:
        record["error_m"] = round(answer.error_m, 2)
    return record


def confidence_record(known: Confidence) -> dict[str, Any]:
    """What a calibration says of one picture, without the cells of its areas."""
    return {
        "elsewhere": round(known.elsewhere, 4),
        "refused": known.refused,
        "false_reject": known.false_reject,
        "areas": [area_record(area) for area in known.areas],
        "kind": known.kind,
        "n": known.n,
        "date": known.date,
    }


def area_record(area: Area) -> dict[str, Any]:
    """How often such an area holds the truth, its size, and its share of the region."""
    return {
        "coverage": area.coverage,
        "km2": round(area.km2, 6),
        "share": round(area.share, 6),
    }


def place_record(place: Place, truth: LatLon | None) -> dict[str, Any]:
    """One place: rank, lat, lon, score; heading, probability and error only where known."""
    record: dict[str, Any] = {
        "rank": place.rank,
        **point_record(place.latlon),
        "score": round(place.score, 6),
        "window": place.window,
        "openstreetmap": map_address(place.latlon),
    }
    if place.heading_deg is not None:
        record["heading_deg"] = round(place.heading_deg, 2) % 360.0
    if place.probability is not None:
        record["probability"] = round(place.probability, 4)
    if truth is not None:
        record["error_m"] = round(distance_m(place.latlon, truth), 2)
    return record


def map_address(point: LatLon) -> str:
    """The address of a page of openstreetmap.org that marks the point. Nothing is fetched."""
    lat, lon = (f"{value:.{_DEGREE_DIGITS}f}" for value in (point.lat, point.lon))
    return f"https://www.openstreetmap.org/?mlat={lat}&mlon={lon}#map=19/{lat}/{lon}"


def footprint_record(footprint: Footprint) -> dict[str, Any]:
    """The ground rectangle of a place's best window."""
    return {
        **point_record(footprint.centre),
        "width_m": round(footprint.width_m, 3),
        "height_m": round(footprint.height_m, 3),
        "up_bearing_deg": round(footprint.up_bearing_deg, 4),
    }


def point_record(point: LatLon) -> dict[str, float]:
    """``lat`` and ``lon`` in degrees, to about a centimetre."""
    return {"lat": round(point.lat, _DEGREE_DIGITS), "lon": round(point.lon, _DEGREE_DIGITS)}


def stands_out(answer: Answer) -> bool:
    """Whether the first place leads the second by clearly more than chance would make it.

    With a calibration: whether it is likelier right than not, and the region not refused.
    Without one, a rule of thumb:
    Among n independent normal scores of spread s, the best leads the second by about
    s / sqrt(2 ln n), exponentially distributed. "Clearly" is three times that lead: 5 % of the
    pictures that show nothing of the region. s is the distance from the median to the 84th
    percentile of the scores of all windows that were searched; n is how many places fit side by
    side into them, since windows overlap. Of fewer than 10 places none is said to stand out. How
    reliable that was on a town: docs/calibration.md.
    """
    if answer.confidence is not None:
        return not answer.confidence.refused and (answer.places[0].probability or 0.0) > 0.5
    scores = answer.scores[np.isfinite(answer.scores)]
    searched = len(scores) if answer.searched_places is None else answer.searched_places
    second = answer.second
    if second is None and len(answer.places) > 1:
        second = answer.places[1].score
    if second is None or not answer.places or searched < _FEWEST_PLACES:
        return False
    median, upper = np.quantile(scores, [0.5, 0.84])
    lead_of_chance = float(upper - median) / math.sqrt(2.0 * math.log(searched))
    return answer.places[0].score - second > _GAPS_OF_CHANCE * lead_of_chance


def confidence(answer: Answer) -> str:
    """A sentence or two on how far to trust the first place.

    Probabilities and areas only where the index's calibration measured such pictures.
    """
    if not answer.places:
        return NO_PLACES
    if answer.confidence is not None:
        return _calibrated(answer, answer.confidence)
    said = STANDS_OUT if stands_out(answer) else NOTHING_STANDS_OUT
    return f"{said} Not calibrated for it: {answer.unmeasured}." if answer.unmeasured else said


def _calibrated(answer: Answer, known: Confidence) -> str:
    """What a calibration says of one picture, and on what it rests."""
    chance = answer.places[0].probability or 0.0
    areas = [f"within {area_text(area)} with {_percent(area.coverage)}" for area in known.areas]
    said = f"First place within 25 m: {_percent(chance)}. The truth lies {', '.join(areas)}."
    if known.refused:
        said = (
            f"{NOT_HERE} (which says so of {_percent(known.false_reject)} of the photos that are). "
            f"If it is: {said[0].lower()}{said[1:]}"
        )
    return f"{said} Calibrated on {known.n} {known.kind} of this region, {known.date}."


def area_text(area: Area) -> str:
    """Size of an area and its share of the region: ``0.012 km² (2 % of the region)``."""
    return f"{square_text(area.km2)} ({_percent(area.share)} of the region)"


def square_text(km2: float) -> str:
    """The size of an area, in square metres where it is small: ``0.012 km²``, ``800 m²``."""
    return f"{km2:.2g} km²" if km2 >= 0.01 else f"{km2 * 1e6:.0f} m²"


def _percent(share: float) -> str:
    """In whole percent, except near 0 and 1, where rounding would claim certainty."""
    if 0.0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1.0:
        return "more than 99 %"
    return f"{100.0 * share:.0f} %"


def distinct(messages: Iterable[str]) -> list[str]:
    """Each message once, in the order of its first appearance."""
    return [printable(message) for message in dict.fromkeys(messages)]


def short_names(paths: Sequence[str]) -> list[str]:
    """File names without folders (which may tell whose computer it was), longer where not unique.

    The same path twice keeps the same name.
    """
    parts = [PurePath(path.replace("\\", "/")).parts or (path,) for path in paths]
    names = [tail[-1] for tail in parts]
    for length in range(2, max(map(len, parts), default=1) + 1):
        owners: dict[str, set[str]] = {}
        for name, path in zip(names, paths, strict=True):
            owners.setdefault(name, set()).add(path)
        names = [
            name if len(owners[name]) == 1 else "/".join(tail[-length:])
            for name, tail in zip(names, parts, strict=True)
        ]
    return [printable(name) for name in names]
