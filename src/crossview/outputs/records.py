"""An answer as plain JSON values and sentences: what every format carries in the same words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview.files import printable
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, Polygon, measure_distance_m, outline_sector
from crossview.localization.answer import (
    Answer,
    Area,
    Claim,
    Confidence,
    Contribution,
    Place,
    PriorShift,
    SharedSpot,
)
from crossview.texts import phrase

if TYPE_CHECKING:
    from crossview.localization.track import Track, TrackPoint

COLUMNS = (
    "photo", "rank", "lat", "lon", "position_sigma_m", "score", "heading_deg", "heading_sigma_deg",
    "probability", "error_m", "openstreetmap", "kind", "fov_deg", "fov_source", "heading_source",
    "confidence", "advice", "assumptions", "warnings", "truth", "window", "sha256",
)  # fmt: skip
"""What every format says of a place. Formats that nest add ``calibrated``, ``prior``,
``together`` and ``spot``; ``confidence`` says the same in words."""

TRACK_COLUMNS = (
    "photo", "time", "elapsed_s", "lat", "lon", "position_sigma_m", "heading_deg",
    "heading_sigma_deg", "lost", "fits", "error_m", "openstreetmap", "truth",
)  # fmt: skip
"""What every format says of a point of a track."""

CLAIM_COLUMNS = (
    "claim_lat", "claim_lon", "claim_says", "claim_inside", "claim_rank", "claim_windows",
    "claim_percentile", "claim_score", "claim_heading_deg", "claim_probability", "claim_listed",
)  # fmt: skip
"""What formats without nesting say of a claimed place; absent where no place was claimed."""

_GAPS_OF_CHANCE = 3.0
_FEWEST_PLACES = 10  # among fewer, none can stand out
_DEGREE_DIGITS = 7  # about 1 cm
_VIEW_SHARE = 0.62  # of a window's width
_ALL_AROUND_DEG = 359.0
_CONTRADICTED = 0.5  # of what is believed
_LITTLE_BITS = 1.0  # less than half of the ground is excluded


def build_rows(answer: Answer) -> Iterator[dict[str, Any]]:
    """A row per place, best first, for formats without nesting; keys are some of ``COLUMNS``.

    An answer without places has one row without ``rank``: it still has warnings.
    """
    photo = {k: v for k, v in describe_answer(answer).items() if k in COLUMNS and k != "error_m"}
    for place in answer.places:
        yield {**photo, **describe_place(place, answer.truth)}
    if not answer.places:
        yield photo


def build_claim_row(answer: Answer) -> dict[str, Any]:
    """The claimed place of a photo; keys are some of ``CLAIM_COLUMNS``, none without a claim."""
    if answer.claim is None:
        return {}
    facts = {f"claim_{name}": value for name, value in describe_claim(answer.claim).items()}
    return {name: facts[name] for name in CLAIM_COLUMNS if name in facts}


def format_cell(value: Any) -> str:
    """A value of a row as text: lists joined by semicolons, points as latitude and longitude."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(map(str, value.values()))
    return str(value)


def describe_answer(answer: Answer) -> dict[str, Any]:
    """All facts of one photo besides places and scores; what is unknown is left out."""
    record: dict[str, Any] = {
        "photo": printable(answer.photo),
        "sha256": answer.sha256,
        "kind": answer.kind,
        "fov_deg": round(answer.fov_deg, 2),
        "fov_source": answer.fov_source,
        "assumptions": [printable(text) for text in answer.assumptions],
        "warnings": [printable(text) for text in answer.warnings],
        "confidence": explain_confidence(answer),
    }
    if answer.heading_source is not None:
        record["heading_source"] = answer.heading_source
    if answer.heading_wanted:
        record["advice"] = phrase("advice.heading")
    if answer.confidence is not None:
        record["calibrated"] = describe_confidence(answer.confidence)
    if answer.claim is not None:
        record["claim"] = describe_claim(answer.claim)
    if answer.prior is not None:
        record["prior"] = describe_prior(answer.prior)
    if answer.together:
        record["together"] = [describe_contribution(each) for each in answer.together]
    if answer.spot is not None:
        record["spot"] = {
            "turns": answer.spot.turns,
            "mean": describe_point(answer.spot.mean),
            "spread_m": round(answer.spot.spread_m, 2),
        }
    if answer.truth is not None:
        record["truth"] = describe_point(answer.truth)
    if answer.error_m is not None:
        record["error_m"] = round(answer.error_m, 2)
    return record


def describe_prior(shift: PriorShift) -> dict[str, Any]:
    """A place that was roughly known, and how far the picture moved what is believed of it."""
    return {
        **describe_point(shift.prior.place),
        "sigma_m": round(shift.prior.sigma_m, 2),
        "source": shift.prior.source,
        "first_moved_m": round(shift.first_moved_m, 2),
        "mean": describe_point(shift.mean),
        "mean_moved_m": round(shift.mean_moved_m, 2),
        "spread_m": round(shift.spread_m, 2),
        "bits": round(shift.bits, 3),
        "holds": round(shift.holds, 4),
        "says": explain_prior(shift),
    }


def describe_contribution(contribution: Contribution) -> dict[str, Any]:
    """What one of several photos of one spot says of their first place."""
    record: dict[str, Any] = {
        "photo": printable(contribution.photo),
        "sha256": contribution.sha256,
        "score": round(contribution.score, 6),
        "bits": round(contribution.bits, 3),
        "foreign": round(contribution.foreign, 4),
    }
    if contribution.heading_deg is not None:
        record["heading_deg"] = round(contribution.heading_deg, 2) % 360.0
    if contribution.alone is not None:
        record["alone"] = describe_point(contribution.alone)
    if contribution.alone_m is not None:
        record["alone_m"] = round(contribution.alone_m, 2)
    return record


def describe_claim(claim: Claim) -> dict[str, Any]:
    """A claimed place, where it stands, and the same in words; what is unknown is left out."""
    record: dict[str, Any] = {
        **describe_point(claim.latlon),
        "openstreetmap": make_map_link(claim.latlon),
        "inside": claim.inside,
        "nearest_m": round(claim.nearest_m, 2),
        "says": explain_claim(claim),
    }
    if (standing := claim.standing) is None:
        return record
    record |= {
        "rank": standing.rank,
        "windows": standing.windows,
        "percentile": round(standing.percentile, 4),
        "score": round(standing.score, 6),
        "window": standing.window,
        "footprint": describe_footprint(standing.footprint),
    }
    if standing.heading_deg is not None:
        record["heading_deg"] = round(standing.heading_deg, 2) % 360.0
    if standing.listed is not None:
        record["listed"] = standing.listed
    if standing.probability is not None:
        record["probability"] = round(standing.probability, 4)
    if standing.areas is not None:
        record["areas"] = list(standing.areas)
    return record


def describe_confidence(confidence: Confidence) -> dict[str, Any]:
    """What a calibration says of one photo, without the cells of its areas."""
    record: dict[str, Any] = {
        "elsewhere": round(confidence.elsewhere, 4),
        "refused": confidence.refused,
        "false_reject": confidence.false_reject,
        "areas": [describe_area(area) for area in confidence.areas],
        "kind": confidence.kind,
        "n": confidence.n,
        "date": confidence.date,
    }
    if confidence.carried_from:
        record["carried_from"] = list(confidence.carried_from)
    return record


def describe_area(area: Area) -> dict[str, Any]:
    """The probability that the area holds the truth, its size, and its share of the region."""
    return {
        "coverage": area.coverage,
        "km2": round(area.km2, 6),
        "share": round(area.share, 6),
    }


def describe_place(place: Place, truth: LatLon | None) -> dict[str, Any]:
    """One place: rank, lat, lon, score; heading, probability and error only where known."""
    record: dict[str, Any] = {
        "rank": place.rank,
        **describe_point(place.latlon),
        "score": round(place.score, 6),
        "window": place.window,
        "openstreetmap": make_map_link(place.latlon),
    }
    if place.position_sigma_m is not None:
        record["position_sigma_m"] = round(place.position_sigma_m, 2)
    if place.heading_deg is not None:
        record["heading_deg"] = round(place.heading_deg, 2) % 360.0
    if place.heading_sigma_deg is not None:
        record["heading_sigma_deg"] = round(place.heading_sigma_deg, 2)
    if place.probability is not None:
        record["probability"] = round(place.probability, 4)
    if truth is not None:
        record["error_m"] = round(measure_distance_m(place.latlon, truth), 2)
    return record


def describe_view(place: Place, fov_deg: float) -> dict[str, Any] | None:
    """What the camera saw, as pages draw it: a ring of (latitude, longitude), and its length.

    None where the heading is not known. Longitudes may run on beyond 180.
    """
    if (polygon := outline_view(place, fov_deg)) is None:
        return None
    ring = [(lat, round(lon, _DEGREE_DIGITS)) for lon, lat in polygon[0]]
    return {"length_m": measure_view_m(place.footprint.width_m), "ring": ring}


def outline_view(place: Place, fov_deg: float) -> Polygon | None:
    """A wedge from the place along its heading; of pictures all around, a circle about the place.

    It says which way and how wide the camera looked; how far it saw, nobody knows: it is drawn
    :func:`measure_view_m` long. None where the heading is not known.
    """
    if place.heading_deg is None:
        return None
    width_deg = 360.0 if sees_all_around(fov_deg) else fov_deg
    length_m = measure_view_m(place.footprint.width_m)
    return outline_sector(place.latlon, place.heading_deg, width_deg, length_m)


def sees_all_around(fov_deg: float) -> bool:
    """Whether a picture of this field of view has no edges: an arrow shows more than a wedge."""
    return fov_deg >= _ALL_AROUND_DEG


def measure_view_m(footprint_m: float) -> float:
    """How long a view is drawn: to somewhat beyond the edge of a window of this width."""
    return round(_VIEW_SHARE * footprint_m, 2)


def outline_position(place: Place) -> Polygon | None:
    """The circle about the place that holds two of three cameras where the place is right.

    None where nothing says how far off a position is.
    """
    if not place.position_sigma_m:
        return None
    return outline_sector(place.latlon, 0.0, 360.0, place.position_sigma_m)


def describe_track(track: Track) -> dict[str, Any]:
    """A track in figures, with what was assumed; what is unknown is left out.

    ``length_m`` is that of its pieces that are found, straight from point to point.
    """
    pieces = split_track(track)
    steps = [pair for piece in pieces for pair in pairwise(piece)]
    record: dict[str, Any] = {
        "source": printable(track.source),
        "points": len(track.points),
        "lost": sum(point.lost for point in track.points),
        "foreign": sum(map(is_foreign, track.points)),
        "length_m": round(sum(measure_distance_m(a.latlon, b.latlon) for a, b in steps), 2),
        "assumptions": [printable(text) for text in track.assumptions],
        "warnings": [printable(text) for text in track.warnings],
    }
    if track.errors_m:
        record["median_error_m"] = round(float(np.median(track.errors_m)), 2)
        record["within_25m"] = round(float(np.mean(np.array(track.errors_m) <= 25.0)), 4)
    return record


def is_foreign(point: TrackPoint) -> bool:
    """Whether the picture of a point that is found probably shows something else.

    Where it was taken is then told by the pictures before and after it.
    """
    return not point.lost and point.fits < _CONTRADICTED


def describe_track_point(point: TrackPoint) -> dict[str, Any]:
    """One point of a track; keys are some of ``TRACK_COLUMNS``, what is unknown is left out."""
    record: dict[str, Any] = {"photo": printable(point.photo)}
    if point.time is not None:
        record["time"] = format_time(point.time)
    if point.elapsed_s is not None:
        record["elapsed_s"] = round(point.elapsed_s, 3)
    record |= describe_point(point.latlon)
    record["position_sigma_m"] = round(point.position_sigma_m, 2)
    if point.heading_deg is not None:
        record["heading_deg"] = round(point.heading_deg, 2) % 360.0
    if point.heading_sigma_deg is not None:
        record["heading_sigma_deg"] = round(point.heading_sigma_deg, 2)
    record |= {"lost": point.lost, "fits": round(point.fits, 4)}
    if point.error_m is not None:
        record["error_m"] = round(point.error_m, 2)
    record["openstreetmap"] = make_map_link(point.latlon)
    if point.truth is not None:
        record["truth"] = describe_point(point.truth)
    return record


def format_time(time: datetime) -> str:
    """A time as XML and JSON write it: UTC with a Z; what a clock of no zone showed, without."""
    if time.tzinfo is None:
        return time.isoformat(timespec="milliseconds")
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def split_track(track: Track) -> list[list[TrackPoint]]:
    """The pieces of a track between its lost points, in their order."""
    runs = groupby(track.points, key=lambda point: point.lost)
    return [list(points) for lost, points in runs if not lost]


def list_gaps(track: Track) -> list[tuple[LatLon, LatLon]]:
    """The ends of the pieces on both sides of each time that the track was lost."""
    return [(a[-1].latlon, b[0].latlon) for a, b in pairwise(split_track(track))]


def trace_truth(track: Track) -> list[LatLon]:
    """Where the camera is known to have been, in the order of the points."""
    return [point.truth for point in track.points if point.truth is not None]


def explain_track(track: Track) -> str:
    """A sentence or two on how much of a track was found, how well, and how far off it is."""
    facts = describe_track(track)
    found = [point.position_sigma_m for point in track.points if not point.lost]
    counts = {"found": len(found), "total": len(track.points)}
    sentences = [phrase("track.found" if found else "track.none_found", **counts)]
    if found:
        sigma = float(np.median(found))
        sentences.append(phrase("track.known_to", metres=sigma, length=facts["length_m"]))
    if facts["foreign"]:
        sentences.append(phrase("track.foreign", count=facts["foreign"]))
    if "median_error_m" in facts:
        off, near = facts["median_error_m"], _format_percent(facts["within_25m"])
        sentences.append(phrase("track.errors", metres=off, near=near))
    return " ".join(sentences)


def make_map_link(point: LatLon) -> str:
    """The address of a page of openstreetmap.org that marks the point. Nothing is fetched."""
    lat, lon = (f"{value:.{_DEGREE_DIGITS}f}" for value in (point.lat, point.lon))
    return f"https://www.openstreetmap.org/?mlat={lat}&mlon={lon}#map=19/{lat}/{lon}"


def describe_footprint(footprint: Footprint) -> dict[str, Any]:
    """The ground rectangle of a place's best window."""
    return {
        **describe_point(footprint.centre),
        "width_m": round(footprint.width_m, 3),
        "height_m": round(footprint.height_m, 3),
        "up_bearing_deg": round(footprint.up_bearing_deg, 4),
    }


def describe_point(point: LatLon) -> dict[str, float]:
    """``lat`` and ``lon`` in degrees, to about a centimetre."""
    return {"lat": round(point.lat, _DEGREE_DIGITS), "lon": round(point.lon, _DEGREE_DIGITS)}


def stands_out(answer: Answer) -> bool:
    """Whether the first place leads the second by clearly more than chance would make it.

    With a calibration: whether it is likelier right than not, and the region not refused.
    Without one, a rule of thumb: among n independent normal scores of spread s, the best leads the
    second by about s / sqrt(2 ln n), exponentially distributed. "Clearly" is three times that
    lead; 5 % of the photos that show nothing of the region exceed it. s is the distance from the
    median to the 84th percentile of the scores of all windows that were searched; n is the number
    of places that fit side by side into them, since windows overlap. Of fewer than 10 places, none
    stands out. With a prior, or several photos: whether most of the posterior lies within 25 m of
    the first place. How reliable this was on a town: docs/calibration.md.
    """
    if answer.confidence is not None:
        return not answer.confidence.refused and (answer.places[0].probability or 0.0) > 0.5
    if (weighed := answer.spot or answer.prior) is not None:
        return weighed.first_share > 0.5
    finite = np.isfinite(answer.scores)
    scores = answer.scores[finite]
    searched = len(scores) if answer.searched_places is None else answer.searched_places
    second = answer.second
    if second is None and len(answer.places) > 1:
        second = answer.places[1].score
    if second is None or not answer.places or searched < _FEWEST_PLACES:
        return False
    shares = [0.5, 0.84]
    if answer.held is None:
        median, upper = np.quantile(scores, shares)
    else:
        weights = answer.held.weights[finite]
        median, upper = np.quantile(scores, shares, weights=weights, method="inverted_cdf")
    lead_of_chance = float(upper - median) / math.sqrt(2.0 * math.log(searched))
    return answer.places[0].score - second > _GAPS_OF_CHANCE * lead_of_chance


def explain_confidence(answer: Answer) -> str:
    """A sentence or two on how far to trust the first place, and on what it rests.

    Probabilities and areas only where the index's calibration measured such photos.
    """
    if not answer.places:
        return phrase("confidence.no_places")
    sentences = [_explain_first_place(answer)]
    if answer.together:
        sentences.append(explain_together(answer.together, answer.spot))
    if answer.prior is not None:
        sentences.append(explain_prior(answer.prior))
    return " ".join(sentences)


def _explain_first_place(answer: Answer) -> str:
    if answer.confidence is not None:
        return _explain_calibrated(answer, answer.confidence)
    lead = "stands_out" if stands_out(answer) else "nothing_stands_out"
    sentences = [phrase(f"confidence.{lead}")]
    if answer.unmeasured:
        sentences.append(phrase("confidence.unmeasured", reason=answer.unmeasured))
    return " ".join(sentences)


def _explain_calibrated(answer: Answer, confidence: Confidence) -> str:
    """What a calibration says of one photo, and on what it rests."""
    areas = [
        phrase("confidence.area", area=format_area(a), probability=_format_percent(a.coverage))
        for a in confidence.areas
    ]
    probability = _format_percent(answer.places[0].probability or 0.0)
    text = " ".join(
        [
            phrase("confidence.first_place", probability=probability),
            phrase("confidence.areas", areas=", ".join(areas)),
        ]
    )
    if confidence.refused:
        text = phrase(
            "confidence.refused",
            false_reject=_format_percent(confidence.false_reject),
            sentence=f"{text[0].lower()}{text[1:]}",
        )
    if pose := explain_pose(answer.places[0]):
        text = f"{text} {pose}"
    source = {"n": confidence.n, "kind": confidence.kind, "date": confidence.date}
    if not confidence.carried_from:
        return f"{text} {phrase('confidence.calibrated_on', **source)}"
    regions = ", ".join(map(printable, confidence.carried_from))
    return f"{text} {phrase('confidence.carried_from', regions=regions, **source)}"


def explain_pose(place: Place) -> str:
    """How far off position and heading are where the place is right; "" where nobody knows."""
    if place.position_sigma_m is None:
        return ""
    metres = {"metres": place.position_sigma_m}
    if place.heading_sigma_deg is None:
        return phrase("confidence.position", **metres)
    return phrase("confidence.pose", degrees=place.heading_sigma_deg, **metres)


def explain_prior(shift: PriorShift) -> str:
    """How far a picture moved the place that was roughly known, and whether it fits it at all."""
    values = {
        "place": str(shift.prior.place),
        "sigma": _format_distance(shift.prior.sigma_m),
        "first": _format_distance(shift.first_moved_m),
        "mean": _format_distance(shift.mean_moved_m),
        "spread": _format_distance(shift.spread_m),
    }
    sentences = [phrase(f"prior.{shift.prior.source}", **values), phrase("prior.moved", **values)]
    if shift.holds < _CONTRADICTED:
        sentences.append(phrase("prior.contradicted"))
    elif shift.bits < _LITTLE_BITS:
        sentences.append(phrase("prior.little"))
    return " ".join(sentences)


def explain_together(contributions: Sequence[Contribution], spot: SharedSpot | None = None) -> str:
    """That several photos have one answer, how far it spreads, and which hardly belong to it."""
    sentences = [phrase("together.photos", count=len(contributions))]
    if spot is not None:
        sentences.append(phrase("together.spread", spread=_format_distance(spot.spread_m)))
    foreign = [one.photo for one in contributions if one.foreign > _CONTRADICTED]
    if foreign:
        names = ", ".join(shorten_names(foreign))
        sentences.append(phrase("together.foreign", count=len(foreign), names=names))
    return " ".join(sentences)


def explain_contribution(contribution: Contribution) -> str:
    """What one of several photos of one spot adds, on one line without its name."""
    record = describe_contribution(contribution)
    parts = [phrase("together.adds", bits=record["bits"])]
    if "heading_deg" in record:
        parts.append(phrase("together.heading", degrees=record["heading_deg"]))
    if "alone_m" in record:
        parts.append(phrase("together.alone", distance=_format_distance(record["alone_m"])))
    if record["foreign"] > _CONTRADICTED:
        parts.append(phrase("together.doubtful"))
    return ", ".join(parts)


def explain_claim(claim: Claim) -> str:
    """Where a claimed place stands, in sentences that promise nothing."""
    place = str(claim.latlon)
    if (standing := claim.standing) is None:
        if claim.inside:
            return phrase("claim.not_searched", place=place)
        return phrase("claim.outside", place=place, distance=_format_distance(claim.nearest_m))
    worse = _format_percent(standing.percentile / 100.0)
    ranks = {"rank": standing.rank, "windows": standing.windows}
    sentences = [phrase("claim.ranked", place=place, share=worse, **ranks)]
    if standing.listed is not None:
        sentences.append(phrase("claim.listed", rank=standing.listed))
    if standing.probability is not None:
        stated = _format_percent(standing.probability)
        sentences.append(phrase("claim.probability", probability=stated))
    if standing.areas:
        smallest = _format_percent(min(standing.areas))
        sentences.append(phrase("claim.in_area", probability=smallest))
    elif standing.areas is not None:
        sentences.append(phrase("claim.in_no_area"))
    return " ".join([*sentences, phrase("claim.no_proof")])


def _format_distance(distance_m: float) -> str:
    if distance_m < 1000.0:
        return phrase("claim.metres", metres=distance_m)
    return phrase("claim.kilometres", kilometres=distance_m / 1000.0)


def format_area(area: Area) -> str:
    """Size of an area and its share of the region: ``0.012 km² (2 % of the region)``."""
    share = _format_percent(area.share)
    return phrase("confidence.area_size", size=format_km2(area.km2), share=share)


def format_km2(km2: float) -> str:
    """The size of an area, in square metres where it is small: ``0.012 km²``, ``800 m²``."""
    if km2 >= 0.01:
        return phrase("confidence.km2", km2=km2)
    return phrase("confidence.m2", m2=km2 * 1e6)


def _format_percent(share: float) -> str:
    """A share in whole percent, except near 0 and 1, where rounding would claim certainty."""
    if 0.0 < share < 0.01:
        return phrase("confidence.nearly_none")
    if 0.99 < share < 1.0:
        return phrase("confidence.nearly_all")
    return phrase("confidence.percent", percent=100.0 * share)


def drop_repeats(messages: Iterable[str]) -> list[str]:
    """Each message once, in the order of its first appearance."""
    return [printable(message) for message in dict.fromkeys(messages)]


def shorten_names(paths: Sequence[str]) -> list[str]:
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
