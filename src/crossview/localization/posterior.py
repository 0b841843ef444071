"""How far to trust an answer: how likely each piece of ground is, as the index was calibrated.

Every window owns its stride cell: the square of ground, one stride wide, whose nearest pin it is.
The posterior is a softmax of the scores over all cells, times what is left beside the probability
that the picture was taken elsewhere.

A prior weighs the cells before the picture does: a normal density about a place, and a share of all
priors (``WRONG_PRIORS``) that is taken to be wrong, of which any cell is as likely as another. So a
picture can contradict a prior, and no place is excluded by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from crossview.arrays import F64, I64
from crossview.errors import InvalidValue
from crossview.geo.points import (
    LatLon,
    measure_distance_m,
    measure_distances_m,
    move_point,
    project_to_local_m,
)
from crossview.index.selection import Held, Windows, count_windows
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.localization.answer import Answer, Area, Confidence, PriorShift
from crossview.localization.calibration_record import Calibrated, Calibration, Fit
from crossview.localization.hints import Hints, Prior

DEFAULT_TEMPERATURE = 0.02  # of a softmax over cells without a calibration, in cosines
WRONG_PRIORS = 0.05  # share of priors that say nothing of where the picture was taken
_FAR_SIGMAS = 5.0  # of a prior whose place lies outside of the region
_HALF_DIAGONAL = 0.5 * math.sqrt(2.0)  # of a cell, in strides
_SLACK = 1.05  # grids that follow a projection are not exactly square on the ground
_POINTS = 10  # per side of a cell, when its part inside of a circle is measured
_UNMEASURED_HINTS = {
    "heading_deg": "a heading was given",
    "horizon_px": "a horizon was given",
    "near": "only a part of the region was searched",
    "area": "only a part of the region was searched",
}


def add_confidence(index: Held, answer: Answer, hints: Hints) -> Answer:
    """The answer with probabilities and areas, if the index was calibrated for such pictures.

    With a calibration that does not fit this picture, ``unmeasured`` says why. Raises
    :class:`BadIndex` for a damaged calibration.
    """
    if index.manifest.calibration is None or not answer.places:
        return answer
    calibration = Calibration.from_json(index.manifest.calibration)
    kind = calibration.find(answer)
    reasons = [
        reason for name, reason in _UNMEASURED_HINTS.items() if getattr(hints, name) is not None
    ]
    if hints.rerank:  # other scores than those that were fitted
        reasons.append("windows were compared again")
    if kind is None:
        return replace(answer, unmeasured=_explain_other_kind(answer, calibration))
    if reasons:
        return replace(answer, unmeasured=f"{reasons[0]}, which the calibration did not have")
    return _state_confidence(index, answer, calibration, kind)


def compute_posterior(index: Held, answer: Answer) -> F64 | None:
    """Probability [N] of each window's cell, 0 where it was not searched.

    None where the answer has no confidence: no calibration fits the picture.
    """
    if answer.confidence is None or index.manifest.calibration is None:
        return None
    kind = Calibration.from_json(index.manifest.calibration).find(answer)
    if kind is None:
        return None
    log_prior = None if answer.prior is None else compute_log_prior(index, answer.prior.prior)
    masses = compute_masses(answer.scores, kind.fit.temperature, log_prior, index.weights)
    return (1.0 - answer.confidence.elsewhere) * masses


def compute_masses(
    scores: ArrayLike,
    temperature: float,
    log_prior: F64 | None = None,
    weights: F64 | None = None,
) -> F64:
    """Softmax [N] of cosines [N] at a temperature (in cosines); NaN was not searched and gets 0.

    ``log_prior`` [N]: logarithms of what the cells weigh before, up to a constant. ``weights`` [N]:
    how many cells each stands for, and has the mass of together; None: itself.
    """
    cosines = np.asarray(scores, np.float64)
    powers = (cosines - np.nanmax(cosines)) / temperature
    if log_prior is not None:
        powers += log_prior
        powers -= np.nanmax(powers)
    powers = np.exp(powers)
    powers[np.isnan(powers)] = 0.0
    if weights is not None:
        powers *= weights
    shares: F64 = powers / powers.sum()
    return shares


def compute_log_prior(index: Held, prior: Prior) -> F64:
    """Logarithm of the probability [N] that a prior gives to each window's cell.

    The normal density over a cell is that at its middle, with the variance of a place in the cell
    added. A share ``WRONG_PRIORS`` is spread evenly over all cells. Raises :class:`InvalidValue`
    where the prior's place lies outside of the region, by more than five standard deviations.
    """
    cells = _spread_prior(index, prior)
    log_prior: F64 = np.log((1.0 - WRONG_PRIORS) * cells + WRONG_PRIORS / index.total)
    return log_prior


def _spread_prior(index: Held, prior: Prior) -> F64:
    """Mass [N] of the normal distribution in each cell; what lies outside is missing."""
    distances = measure_distances_m(prior.place, index.lat, index.lon)
    stride_m, nearest_m = index.manifest.stride_m, float(distances.min())
    if nearest_m > _FAR_SIGMAS * prior.sigma_m + index.manifest.footprint_m:
        raise InvalidValue(
            f"the prior's place {prior.place} lies outside of the region: the nearest window is "
            f"{nearest_m / 1000:.1f} km away, more than {_FAR_SIGMAS:g} times its standard "
            f"deviation of {prior.sigma_m:g} m.\nGive another index, or no prior."
        )
    variance = prior.sigma_m**2 + stride_m**2 / 12.0
    density = np.exp(-(distances**2) / (2.0 * variance)) / (2.0 * math.pi * variance)
    masses: F64 = density * stride_m**2
    return masses


def find_temperature(
    index: Held | Windows, answer: Answer, otherwise: float = DEFAULT_TEMPERATURE
) -> float:
    """The temperature of such pictures by the index's calibration, or ``otherwise``."""
    if index.manifest.calibration is None:
        return otherwise
    kind = Calibration.from_json(index.manifest.calibration).find(answer)
    return otherwise if kind is None else kind.fit.temperature


def measure_shift(index: Held, prior: Prior, posterior: F64, first: LatLon) -> PriorShift:
    """How far a posterior [N] of sum 1, whose first place is known, moved from its prior."""
    log_prior = compute_log_prior(index, prior)
    mean, spread_m = measure_middle(index, posterior)
    held = posterior > 0.0
    whole, each = log_prior, posterior[held]
    if index.weights is not None:
        whole, each = log_prior + np.log(index.weights), each / index.weights[held]
    before = log_prior[held] - np.logaddexp.reduce(whole)
    right = 1.0 - (WRONG_PRIORS / index.total) / np.exp(log_prior)
    return PriorShift(
        prior=prior,
        mean=mean,
        spread_m=spread_m,
        mean_moved_m=measure_distance_m(prior.place, mean),
        first_moved_m=measure_distance_m(prior.place, first),
        bits=float(posterior[held] @ (np.log(each) - before)) / math.log(2.0),
        holds=float(posterior @ right),
        first_share=compute_probability(index, posterior, first),
    )


def measure_middle(index: Held, posterior: F64) -> tuple[LatLon, float]:
    """Mean of a posterior [N] of sum 1, and its standard deviation in each direction, in metres."""
    best = int(np.argmax(posterior))
    origin = LatLon(float(index.lat[best]), float(index.lon[best]))
    east, north = project_to_local_m(origin, index.lat, index.lon)
    middle = float(posterior @ east), float(posterior @ north)
    spread = posterior @ ((east - middle[0]) ** 2 + (north - middle[1]) ** 2) / 2.0
    return move_point(origin, east_m=middle[0], north_m=middle[1]), math.sqrt(
        max(float(spread), 0.0)
    )


def measure_evidence(
    scores: ArrayLike, temperature: float, weights: ArrayLike | None = None
) -> float:
    """Logarithm of the mean of exp(score / temperature) over the searched cells.

    How well the region as a whole explains the picture. ``weights``: how many cells each score
    stands for.
    """
    cosines = np.asarray(scores, np.float64)
    searched = ~np.isnan(cosines)
    count = (
        np.ones(searched.sum()) if weights is None else np.asarray(weights, np.float64)[searched]
    )
    highest = float(cosines[searched].max())
    powers = np.exp((cosines[searched] - highest) / temperature)
    return highest / temperature + math.log(float(count @ powers) / float(count.sum()))


def measure_prominence(scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """How far the best of all searched cells stands above the middle one, in cosines.

    ``weights``: how many cells each score stands for.
    """
    cosines = np.asarray(scores, np.float64)
    searched = np.flatnonzero(~np.isnan(cosines))
    order = searched[np.argsort(cosines[searched])]
    count = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]
    passed = np.cumsum(count)
    middle = order[int(np.searchsorted(passed, passed[-1] / 2.0))]
    return float(cosines[order[-1]] - cosines[middle])


def find_cell(lat: F64, lon: F64, stride_m: float, place: LatLon) -> int | None:
    """The window [N] whose cell holds a place; None where no cell does."""
    distances = measure_distances_m(place, lat, lon)
    row = int(np.argmin(distances))
    return row if distances[row] <= _HALF_DIAGONAL * _SLACK * stride_m else None


def find_cells_within(
    lat: F64, lon: F64, stride_m: float, pin: LatLon, radius_m: float
) -> tuple[I64, F64]:
    """Rows of the cells that reach into a circle about ``pin``, and the share of each inside."""
    distances = measure_distances_m(pin, lat, lon)
    rim = _HALF_DIAGONAL * stride_m
    rows = np.flatnonzero(distances < radius_m + rim)
    shares = np.ones(len(rows))
    cut = distances[rows] > radius_m - rim
    shares[cut] = _measure_shares(lat[rows[cut]], lon[rows[cut]], stride_m, pin, radius_m)
    inside = shares > 0.0
    return rows[inside], shares[inside]


def find_areas(index: Held, answer: Answer, fit: Fit) -> Iterator[Area]:
    """The calibrated sets of one picture, which always hold its best cell.

    With a prior, the smallest sets that hold so much of the posterior: no conformal guarantee knows
    of priors.
    """
    scores = np.asarray(answer.scores, np.float64)
    below_best = np.nanmax(scores) - scores
    searched = count_windows(index, np.isfinite(scores))
    prominence = measure_prominence(scores, index.weights)
    for reach in fit.reaches:
        if answer.prior is None:
            limit = reach.limit(prominence, answer.ground_light)
            if (floor := float(np.nanmax(scores) - limit)) < index.complete_above:
                raise NotComplete(floor)
            rows = np.flatnonzero(below_best <= limit)  # not where it is NaN
        else:
            log_prior = compute_log_prior(index, answer.prior.prior)
            masses = compute_masses(scores, fit.temperature, log_prior, index.weights)
            rows = find_credible(masses, reach.coverage)
        cells = count_windows(index, rows)
        yield Area(
            coverage=reach.coverage,
            rows=rows,
            km2=cells * (index.manifest.stride_m / 1000.0) ** 2,
            share=cells / searched,
            lat=index.lat[rows],
            lon=index.lon[rows],
            cell_m=index.manifest.stride_m,
            up_bearing_deg=float(np.median(index.up_bearing_deg[rows])),
        )


class NotComplete(Exception):
    """An area reaches down to scores of which windows are missing in what is held of an index."""

    def __init__(self, floor: float) -> None:
        super().__init__(f"windows that score at least {floor:g} are not all here")
        self.floor = floor


def find_credible(posterior: F64, coverage: float) -> I64:
    """The fewest rows of a posterior [N] of sum 1 that hold ``coverage`` of it, in (0, 1)."""
    order = np.argsort(-posterior, kind="stable")
    count = int(np.searchsorted(np.cumsum(posterior[order]), coverage)) + 1
    return np.sort(order[:count])


def _explain_other_kind(answer: Answer, calibration: Calibration) -> str:
    """Why no kind of a calibration covers a picture."""
    if calibration.find(replace(answer, heading_source=None)) is not None:
        return (
            "the heading in the file was used, which the calibration did not have "
            "(--ignore-direction leaves it out)"
        )
    assumed = answer.fov_source == "assumed"
    if any(kind.is_outdated and kind.assumed == assumed for kind in calibration.kinds):
        if assumed:
            return "the calibration is of an earlier choice of unknown lenses; calibrate again"
        return "the calibration is from when photos counted as level; calibrate again"
    measured = ", ".join(kind.name for kind in calibration.kinds)
    return f"the calibration was made on {measured}"


def _state_confidence(
    index: Held, answer: Answer, calibration: Calibration, kind: Calibrated
) -> Answer:
    evidence = measure_evidence(answer.scores, kind.fit.temperature, index.weights)
    share = calibration.share
    if answer.prior is not None:
        share = _weigh_elsewhere(index, answer, answer.prior.prior, share, kind.fit.temperature)
    confidence = Confidence(
        elsewhere=float(kind.fit.elsewhere(evidence, share)),
        refused=evidence < kind.fit.refused_below,
        false_reject=calibration.false_reject,
        areas=tuple(find_areas(index, answer, kind.fit)),
        kind=kind.name,
        n=kind.n,
        date=calibration.created[:10],
        carried_from=tuple(region.index for region in calibration.carried_from),
    )
    places = answer.places
    if kind.spread is not None:
        places = tuple(kind.spread.add_sigmas(place) for place in places)
    answer = replace(answer, confidence=confidence, places=places)
    posterior = compute_posterior(index, answer)
    if posterior is None:
        return answer
    stated = tuple(
        replace(p, probability=compute_probability(index, posterior, p.latlon))
        for p in answer.places
    )
    return replace(answer, places=stated)


def _weigh_elsewhere(
    index: Held, answer: Answer, prior: Prior, share: float, temperature: float
) -> float:
    """What stands for ``share`` of pictures from elsewhere once a prior is known.

    Calibrations measure how well a picture fits elsewhere against the mean of all cells; with a
    prior, cells count by their weight. Elsewhere keeps of its odds what the prior leaves outside of
    the region, and its share of wrong priors: all of them if the prior says next to nothing.
    """
    cells = _spread_prior(index, prior)
    inside = cells.sum() if index.weights is None else index.weights @ cells
    outside = max(0.0, 1.0 - float(inside))
    left = (1.0 - WRONG_PRIORS) * outside + WRONG_PRIORS
    weights = np.exp(compute_log_prior(index, prior))
    whole = weights.sum() if index.weights is None else index.weights @ weights
    masses = compute_masses(answer.scores, temperature, None, index.weights)
    gained = masses @ weights * index.total / whole
    odds = share / (1.0 - share) * left / float(gained)
    return odds / (1.0 + odds)


def compute_probability(index: Held, posterior: F64, place: LatLon) -> float:
    """Of lying within 25 m of a place; ``posterior`` [N] is that of the cells."""
    rows, shares = find_right_cells(index, place)
    return float(posterior[rows] @ shares)


def find_right_cells(index: Held, place: LatLon) -> tuple[I64, F64]:
    """Rows of the cells that have ground within 25 m of a place, and how much of each that is."""
    return find_cells_within(index.lat, index.lon, index.manifest.stride_m, place, RIGHT_WITHIN_M)


def _measure_shares(lat: F64, lon: F64, stride_m: float, pin: LatLon, radius_m: float) -> F64:
    """Share of each cell's grid of points that lies in the circle; cells count as north up."""
    east, north = project_to_local_m(pin, lat, lon)
    steps = ((np.arange(_POINTS) + 0.5) / _POINTS - 0.5) * stride_m
    off = np.hypot(
        east[:, None, None] + steps[None, :, None], north[:, None, None] + steps[None, None, :]
    )
    shares: F64 = (off <= radius_m).mean(axis=(1, 2))
    return shares
