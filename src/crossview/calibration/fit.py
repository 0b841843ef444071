"""Fitting a calibration: temperature, odds of being from elsewhere, sets of stated coverage.

*Sets*: split conformal prediction (Vovk et al., "Algorithmic learning in a random world", 2005) on
how far the true cell's score lies below the best one. That number involves nothing fitted, so a
future photo that is exchangeable with the ``n`` known ones is covered with the probability asked
or more, whatever the model and for every ``n``. How far luck in the choice of the known photos can
move the coverage of one calibration follows a beta distribution (Vovk, "Conditional validity of
inductive conformal predictors", 2012); asking for five photos beyond the set keeps that in bounds.
With strata (Mondrian conformal prediction, same book) each group of pictures of about one light is
covered for itself, and so, nearly, is each condition that the light tells apart: how bright the
ground is against the sky, which is least by day and most by night.

*Probability*: the one temperature at which the probabilities of the places of all known photos to
lie within 25 m have the highest likelihood.

*Spread*: of the photos whose first place is right, the quantile of 68.27 % of the errors of
position and heading, in widths of the summit that each was refined on.

*Elsewhere*: each known photo serves a second time with the ground that it shows taken out of the
region, which makes it a photo from elsewhere; a logistic regression tells the two apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, F64
from crossview.calibration.known_photos import KnownPhotos
from crossview.errors import require
from crossview.localization.calibration_record import Fit, Reach, Spread, Stratum
from crossview.stats import WITHIN_SIGMAS

FEWEST_RIGHT = 20  # first places that a sigma takes
_LEAST_SIGMA = 1e-6  # of photos that are exact, as synthetic ones may be
MOST_STRATA = 20
FEWEST_BEYOND = 5  # known photos that lie outside of the set, on average
_TEMPERATURES = np.geomspace(1e-3, 1.0, 25)  # in cosines
# The golden section and Newton's steps are by hand: a base install calibrates, without scipy.
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_REFINEMENTS = 10
_LEAST_PROBABILITY = 1e-6
_RIDGE = 1e-3
_NEWTON_STEPS = 40


@dataclass(frozen=True, kw_only=True)
class CalibrationGoal:
    """What a calibration is to state.

    ``coverages`` in (0, 1); ``false_reject``: share of the region's own photos that may be refused;
    ``share`` of future photos that are from elsewhere, an assumption. ``strata``: groups of
    pictures by light, each of which is covered; by prominence where the light is not known.
    """

    coverages: tuple[float, ...] = (0.9, 0.95)
    false_reject: float = 0.05
    share: float = 0.05
    strata: int = 1

    def __post_init__(self) -> None:
        require(len(self.coverages) > 0, "at least one coverage must be asked for.")
        for name, value in (
            *(("a coverage", coverage) for coverage in self.coverages),
            ("the share of refused photos", self.false_reject),
            ("the share of photos from elsewhere", self.share),
        ):
            require(0.0 < value < 1.0, f"{name} lies between 0 and 1, got {value}.")
        require(
            1 <= self.strata <= MOST_STRATA,
            f"there may be 1 to {MOST_STRATA} strata, got {self.strata}.",
        )

    @property
    def photos(self) -> int:
        """Known photos of one kind that it takes."""
        to_refuse = math.ceil(1.0 / self.false_reject - 1e-9) - 1
        return max(to_refuse, *(self.strata * photos_needed(one) for one in self.coverages))


def photos_needed(coverage: float) -> int:
    """How many known photos a coverage takes: five are to lie outside of the set."""
    return math.ceil(FEWEST_BEYOND / (1.0 - coverage) - 1e-9)


def fit(photos: KnownPhotos, wanted: CalibrationGoal) -> Fit:
    """Fit everything to known photos of one kind; how many must be there the caller checks."""
    temperature = best_temperature(photos)
    inside = evidences(photos.scores, photos.counts, temperature)
    outside = evidences(photos.out_scores, photos.out_counts, temperature)
    bias, slope = separation(inside, outside[np.isfinite(outside)])
    return Fit(
        temperature=temperature,
        bias=bias,
        slope=slope,
        refused_below=-conformal_quantile(-inside, 1.0 - wanted.false_reject),
        reaches=tuple(_fit_reach(photos, coverage, wanted.strata) for coverage in wanted.coverages),
    )


def _fit_reach(photos: KnownPhotos, coverage: float, strata: int) -> Reach:
    """The limit of each stratum; edges between them say nothing of where photos were taken."""
    gaps = photos.below_best
    if strata == 1:
        return Reach(coverage=coverage, below_best=conformal_quantile(gaps, coverage))
    by_light = bool(np.isfinite(photos.ground_light).all())
    told = photos.ground_light if by_light else photos.prominence
    edges = np.quantile(told, np.arange(1, strata) / strata)
    number = np.searchsorted(edges, told, side="right")
    limits = [conformal_quantile(gaps[number == one], coverage) for one in range(strata)]
    return Reach(
        coverage=coverage,
        below_best=limits[-1],
        strata=tuple(
            Stratum(
                below_best=limit,
                ground_light_below=float(edge) if by_light else None,
                prominence_below=None if by_light else float(edge),
            )
            for edge, limit in zip(edges, limits, strict=False)
        ),
    )


def conformal_quantile(values: F64, coverage: float) -> float:
    """The value that a further one is at most equal to with probability ``coverage`` or more.

    The ceil((n + 1) coverage)-th smallest of [n]; infinity if there is none.
    """
    rank = math.ceil((len(values) + 1) * coverage - 1e-9)
    return float(np.sort(values)[rank - 1]) if rank <= len(values) else math.inf


def fit_spread(photos: KnownPhotos) -> Spread | None:
    """How far poses are off, in widths of their summits; None with too few right first places.

    A quantile of what was measured, with the finite-sample correction: no law of errors is assumed,
    and a few gross ones change nothing.
    """
    right = photos.hits[:, 0]
    refined = right & np.isfinite(photos.peak_m)
    if right.sum() < FEWEST_RIGHT:
        return None
    centre_m = _measure_sigma(photos.centre_error_m[right])
    turned = right & np.isfinite(photos.peak_deg) & np.isfinite(photos.heading_error_deg)
    off, off_deg = photos.error_m / photos.peak_m, photos.heading_error_deg / photos.peak_deg
    enough = refined.sum() >= FEWEST_RIGHT
    return Spread(
        position=_measure_sigma(off[refined]) if enough else None,
        centre_m=centre_m,
        heading=_measure_sigma(off_deg[turned]) if turned.sum() >= FEWEST_RIGHT else None,
    )


def _measure_sigma(errors: F64) -> float:
    return max(conformal_quantile(errors, WITHIN_SIGMAS[0]), _LEAST_SIGMA)


def evidences(scores: F32, counts: F32, temperature: float) -> F64:
    """:func:`posterior.measure_evidence` of tallies [n, M]; -inf where a tally is empty."""
    if not scores.size:
        return np.full(len(scores), -np.inf)
    best = scores[:, :1]
    powers = np.exp((scores - best) / np.float32(temperature))
    cells = counts.sum(1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.log((counts * powers).sum(1, dtype=np.float64) / cells)
    return np.where(cells > 0, best[:, 0] / temperature + means, -np.inf)


def place_masses(photos: KnownPhotos, temperature: float) -> F64:
    """Softmax mass [n, K] of the ground within 25 m of each place, before 'elsewhere'."""
    total = evidences(photos.scores, photos.counts, temperature) + np.log(photos.cells)
    powers = np.exp(photos.near_scores / temperature - total[:, None, None])
    masses: F64 = (powers * photos.near_shares).sum(2)
    return masses


def probabilities(photos: KnownPhotos, fitted: Fit, share: float) -> F64:
    """What is stated [n, K]: the probability of each place to lie within 25 m."""
    inside = evidences(photos.scores, photos.counts, fitted.temperature)
    here = 1.0 - fitted.elsewhere(inside, share)
    stated: F64 = here[:, None] * place_masses(photos, fitted.temperature)
    return stated


def best_temperature(photos: KnownPhotos) -> float:
    """The temperature of the highest likelihood, by a grid and a golden-section search."""
    losses = [_loss(photos, float(temperature)) for temperature in _TEMPERATURES]
    best = int(np.argmin(losses))
    around = _TEMPERATURES[[max(best - 1, 0), min(best + 1, len(_TEMPERATURES) - 1)]]
    low, high = map(float, np.log(around))
    for _ in range(_REFINEMENTS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _loss(photos, math.exp(left)) <= _loss(photos, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)


def _loss(photos: KnownPhotos, temperature: float) -> float:
    """Mean logarithmic loss of the places' probabilities, each place a yes or no of its own."""
    stated = np.clip(
        place_masses(photos, temperature), _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY
    )
    losses = -np.log(np.where(photos.hits, stated, 1.0 - stated))
    return float(losses[photos.places].mean())


def separation(inside: F64, outside: F64) -> tuple[float, float]:
    """Bias and slope >= 0 of the log odds ``bias - slope * evidence`` of being from elsewhere.

    Logistic regression in which both sides weigh the same. Without any from outside: (0, 0).
    """
    if not len(outside):
        return 0.0, 0.0
    evidence = np.r_[inside, outside]
    label = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    weight = 0.5 / np.where(label == 0.0, len(inside), len(outside))
    middle, spread = float(evidence.mean()), float(evidence.std()) or 1.0
    design = np.stack([np.ones(len(evidence)), (middle - evidence) / spread], axis=1)
    solution = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ solution, -50.0, 50.0)))
        slope = design.T @ (weight * (chance - label)) + _RIDGE * solution * [0.0, 1.0]
        curve = (design * (weight * chance * (1.0 - chance))[:, None]).T @ design
        solution = solution - np.linalg.solve(curve + _RIDGE * np.eye(2), slope)
    steep = max(float(solution[1]), 0.0) / spread
    bias = float(solution[0]) + middle * steep
    return (bias, steep) if steep > 0.0 else (0.0, 0.0)


def explain_too_few(what: str, count: int, wanted: CalibrationGoal) -> str:
    """Why ``count`` known photos do not suffice, and what to do."""
    enough = [c for c in sorted(wanted.coverages) if count >= photos_needed(c)]
    least = min(wanted.coverages)
    advice = (
        f"Ask for less: --coverage {100 * enough[-1]:g}."
        if enough
        else f"Bring {photos_needed(least)} of a kind, for a coverage of {100 * least:g} %."
    )
    return (
        f"{what}: {count} known photos are too few for a coverage of "
        f"{100 * max(wanted.coverages):g} %, which takes {wanted.photos}. {advice}"
    )
