"""One calibration per kind of picture, as far as the numbers of known photos allow, and its worth.

The worth is measured on photos that the fit has not seen: whether stated probabilities come true,
and what refusing pictures from elsewhere costs; also with photos that are known to be from outside
of the region. Expected calibration error as in Guo et al., "On calibration of modern neural
networks" (ICML 2017), over bins of equal mass rather than equal width, so that no bin rests on a
handful of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossview._version import __version__
from crossview.arrays import F64, I64, Bool
from crossview.calibration.fit import (
    CalibrationGoal,
    evidences,
    explain_too_few,
    fit,
    fit_spread,
    probabilities,
)
from crossview.calibration.known_photos import KnownPhoto, KnownPhotos
from crossview.errors import InvalidValue, require
from crossview.index.store import Index, write_manifest
from crossview.localization.accuracy import RANKS
from crossview.localization.answer import Answer
from crossview.localization.calibration_record import (
    CHOSEN_BY,
    Calibrated,
    Calibration,
    Carried,
    Fit,
    Reach,
    Spread,
)
from crossview.localization.posterior import measure_evidence
from crossview.stats import WITHIN_SIGMAS, cluster_interval, quantile_interval, wilson

BINS = 15
_DRAWS = 200


FOLDS = 5
_SEED = 0
_CURVE_POINTS = 61
PANORAMA_DEG = 300.0  # a picture at least this wide counts as a panorama
_WIDTHS_DEG = (0.0, 55.0, 80.0, 120.0, PANORAMA_DEG)  # classes of photos
_UNKNOWN_LENS = "photos of unknown lens"
_DIRECTED = " with their files' headings"


@dataclass(frozen=True, eq=False)
class Reliability:
    """Per bin [B], from low to high: mean stated probability, share that came true, and n."""

    stated: F64
    came_true: F64
    n: I64

    @property
    def error(self) -> float:
        """Expected calibration error: the gap of a bin, averaged over all pictures."""
        return float(np.average(np.abs(self.stated - self.came_true), weights=self.n))


def measure_reliability(probability: ArrayLike, right: ArrayLike, bins: int = BINS) -> Reliability:
    """Group pictures by stated probability [n] into ``bins`` of equal mass.

    Equal probabilities are never parted, so the order of the pictures changes nothing; there may
    then be fewer bins. Raises :class:`InvalidValue` for values outside of [0, 1].
    """
    stated, came_true = _check(probability, right)
    order = np.argsort(stated, kind="stable")
    rising = stated[order]
    cuts = np.linspace(0, len(rising), bins + 1)[1:-1].astype(np.int64)
    # A cut within a run of equal values moves to the run's nearer end.
    low = np.searchsorted(rising, rising[cuts], side="left")
    high = np.searchsorted(rising, rising[cuts], side="right")
    edges = np.unique(np.r_[0, np.where(cuts - low <= high - cuts, low, high), len(rising)])
    count = np.diff(edges)
    sums = (np.add.reduceat(values[order], edges[:-1]) for values in (stated, came_true))
    mean_stated, mean_true = (total / count for total in sums)
    return Reliability(mean_stated, mean_true, count)


def calibration_error(probability: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error in [0, 1] of stated probabilities [n]."""
    return measure_reliability(probability, right, bins).error


def error_by_chance(probability: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error that perfectly calibrated probabilities [n] would show.

    Small samples show some: bins of few pictures never come out even. Mean of 200 seeded draws.
    """
    stated = np.asarray(probability, np.float64)
    rng = np.random.default_rng(0)
    draws = rng.random((_DRAWS, len(stated))) < stated
    return float(np.mean([calibration_error(stated, came_true, bins) for came_true in draws]))


def brier(probability: ArrayLike, right: ArrayLike) -> float:
    """Mean squared difference between stated probability and what came true (Brier 1950)."""
    stated, came_true = _check(probability, right)
    return float(np.mean((stated - came_true) ** 2))


@dataclass(frozen=True, eq=False)
class Rejection:
    """What each threshold [k] on the evidence costs, from accepting all to refusing all."""

    threshold: F64  # refused is what lies below
    false_reject: F64  # share of the pictures of the region that are refused
    false_accept: F64  # share of the pictures from elsewhere that are not

    @property
    def area(self) -> float:
        """Area under the curve in [0, 1]; 0.5 is chance.

        How often a picture of the region has more evidence than one from elsewhere, ties half.
        """
        return float(np.trapezoid(1.0 - self.false_reject, 1.0 - self.false_accept))


def measure_rejection(inside: ArrayLike, outside: ArrayLike) -> Rejection:
    """The curve over all thresholds, from evidence of pictures of the region and from elsewhere."""
    kept, foreign = (np.sort(np.asarray(values, np.float64)) for values in (inside, outside))
    if not len(kept) or not len(foreign):
        raise InvalidValue("a curve needs pictures of the region and pictures from elsewhere.")
    threshold = np.r_[np.unique(np.r_[kept, foreign]), np.inf]
    return Rejection(threshold, _below(kept, threshold), 1.0 - _below(foreign, threshold))


def _below(rising: F64, thresholds: F64) -> F64:
    """Share [k] of the values that lie below each threshold."""
    count: I64 = np.asarray(np.searchsorted(rising, thresholds, side="left"))
    return count / len(rising)


def _check(probability: ArrayLike, right: ArrayLike) -> tuple[F64, F64]:
    stated, came_true = np.asarray(probability, np.float64), np.asarray(right, np.float64)
    require(
        stated.ndim == 1 and stated.shape == came_true.shape and len(stated) > 0,
        f"{stated.shape} probabilities, but {came_true.shape} outcomes.",
    )
    for values in (stated, came_true):
        require(
            bool(((values >= 0.0) & (values <= 1.0)).all()),
            "probabilities and outcomes lie in [0, 1].",
        )
    return stated, came_true


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What was stated of known photos [n], and what was true."""

    probability: F64  # [n] of the first place
    right: Bool  # [n] whether it lay within 25 m
    covered: Bool  # [n, coverages]
    area: F64  # [n, coverages] share of the region
    evidence: F64  # [n]
    evidence_taken_out: F64  # [n] with the photo's own ground taken out; -inf: not measured
    refused: Bool  # [n]
    refused_taken_out: Bool  # [n]

    @staticmethod
    def join(outcomes: list[Outcome]) -> Outcome:
        """Several groups of photos as one."""
        return Outcome(**{
            field.name: np.concatenate([getattr(outcome, field.name) for outcome in outcomes])
            for field in fields(Outcome)
        })  # fmt: skip


def judge(photos: KnownPhotos, fitted: Fit, share: float) -> Outcome:
    """What a fit states of photos, which it should not have seen."""
    evidence = evidences(photos.scores, photos.counts, fitted.temperature)
    beyond = evidences(photos.out_scores, photos.out_counts, fitted.temperature)
    told = photos.prominence, photos.ground_light
    limits = np.stack([reach.limit(*told) for reach in fitted.reaches], axis=1)
    return Outcome(
        probability=np.clip(probabilities(photos, fitted, share)[:, 0], 0.0, 1.0),
        right=photos.hits[:, 0],
        covered=photos.below_best[:, None] <= limits,
        area=np.stack([_area(photos, limit) for limit in limits.T], axis=1),
        evidence=evidence,
        evidence_taken_out=beyond,
        refused=evidence < fitted.refused_below,
        refused_taken_out=beyond < fitted.refused_below,
    )


def _area(photos: KnownPhotos, below_best: F64) -> F64:
    """Share [n] of the searched cells whose score is at most that much [n] below the best."""
    within = photos.scores[:, :1] - photos.scores <= below_best.astype(np.float32)[:, None]
    share: F64 = (photos.counts * within).sum(1, dtype=np.float64) / photos.cells
    return share


def cross_validate(photos: KnownPhotos, wanted: CalibrationGoal) -> Outcome:
    """Every photo judged by a fit to the photos of other spots, in five folds.

    Photos of one spot (100 m) stay together: they share street, light and imagery.
    """
    fold = _folds(photos.spot)
    parts, order = [], []
    for number in range(FOLDS):
        own, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(own) and len(others):
            fitted = fit(photos.take(others), wanted)
            parts.append(judge(photos.take(own), fitted, wanted.share))
            order.append(own)
    joined = Outcome.join(parts)
    back = np.argsort(np.concatenate(order))
    return Outcome(**{f.name: getattr(joined, f.name)[back] for f in fields(Outcome)})


def _folds(spot: I64) -> I64:
    """The fold of each photo: spots from the largest down, each into the emptiest fold."""
    names, sizes = np.unique(spot, return_counts=True)
    rng = np.random.default_rng(_SEED)
    shuffled = rng.permutation(len(names))
    filled, of_spot = np.zeros(FOLDS), np.zeros(len(names), np.int64)
    for number in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        of_spot[number] = int(np.argmin(filled))
        filled[of_spot[number]] += sizes[number]
    folds: I64 = of_spot[np.searchsorted(names, spot)]
    return folds


def figures(
    photos: KnownPhotos, outcome: Outcome, wanted: CalibrationGoal, cell_km2: float
) -> dict[str, Any]:
    """The figures of a calibration as JSON: shares in [0, 1], metres, square kilometres.

    Intervals (95 %) resample spots, since photos of one spot are no independent trials.
    """
    curve, places = measure_reliability(outcome.probability, outcome.right), photos.hits.shape[1]
    return {
        "n": len(photos),
        "spots": len(np.unique(photos.spot)),
        "recall": {
            str(k): estimate_share(photos.hits[:, :k].any(axis=1), photos.spot)
            for k in RANKS
            if k <= places
        },
        "within_25m_by_chance": float(photos.chance.mean()),
        "median_error_m": _median_error(photos),
        "median_error_m_by_chance": float(np.median(photos.chance_error_m)),
        "calibration_error": curve.error,
        "calibration_error_by_chance": error_by_chance(outcome.probability),
        "brier": brier(outcome.probability, outcome.right),
        "reliability": np.stack([curve.stated, curve.came_true, curve.n], axis=1).tolist(),
        "sets": list(_sets(photos, outcome, wanted, cell_km2)),
        "false_reject": estimate_share(outcome.refused, photos.spot),
        **_figures_without_ground(photos, outcome),
        **_figures_of_poses(photos),
    }


def _figures_of_poses(photos: KnownPhotos) -> dict[str, Any]:
    """How right first places are off, and how many are within one and two sigmas.

    Sigmas are of fits to the photos of other spots, as everything else.
    """
    right = photos.take(np.flatnonzero(photos.hits[:, 0]))
    position_m, heading_deg = cross_validate_sigmas(right)
    known = np.isfinite(right.heading_error_deg)
    return {
        "poses": {
            "position": {
                "centre_m": float(np.median(right.centre_error_m)) if len(right) else None,
                **_describe_errors(right.error_m, position_m, right.spot),
            },
            "heading": _describe_errors(
                right.heading_error_deg[known], heading_deg[known], right.spot[known]
            ),
        }
    }


def cross_validate_sigmas(right: KnownPhotos) -> tuple[F64, F64]:
    """Sigmas [n] of position (metres) and heading (degrees), NaN where a fit states none."""
    fold = _folds(right.spot)
    position_m, heading_deg = np.full((2, len(right)), np.nan)
    for number in range(FOLDS):
        own = np.flatnonzero(fold == number)
        spread = fit_spread(right.take(np.flatnonzero(fold != number)))
        if spread is not None:
            position_m[own], heading_deg[own] = state_sigmas(
                right.peak_m[own], right.peak_deg[own], spread
            )
    return position_m, heading_deg


def state_sigmas(peak_m: F64, peak_deg: F64, spread: Spread) -> tuple[F64, F64]:
    """Sigmas [n] of position (metres) and heading (degrees), as :meth:`Spread.add_sigmas` says.

    Widths [n] of summits are NaN where there is none; sigmas are NaN where none is stated.
    """
    position = math.nan if spread.position is None else spread.position
    heading = math.nan if spread.heading is None else spread.heading
    return np.where(np.isnan(peak_m), spread.centre_m, position * peak_m), heading * peak_deg


def _describe_errors(errors: F64, sigmas: F64, spot: I64) -> dict[str, Any]:
    """The median error and, of the errors with a sigma, the shares within one and two of them."""
    if not len(errors):
        return {"n": 0}
    low, high = quantile_interval(errors, spot, 0.5)
    stated = np.isfinite(sigmas)
    told: dict[str, Any] = {
        "n": len(errors),
        "median": {"value": float(np.median(errors)), "low": low, "high": high},
    }
    if not stated.any():
        return told
    within = errors[stated, None] <= sigmas[stated, None] * [1.0, 2.0]
    return told | {
        "median_sigma": float(np.median(sigmas[stated])),
        "within": [
            {"asked": asked, **estimate_share(within[:, number], spot[stated])}
            for number, asked in enumerate(WITHIN_SIGMAS)
        ],
    }


def estimate_share(flags: ArrayLike, clusters: ArrayLike) -> dict[str, float]:
    """A share in [0, 1] with its 95 % interval by resampling clusters [n]."""
    values = np.asarray(flags, np.float64)
    low, high = cluster_interval(values, clusters)
    return {"value": float(values.mean()), "low": low, "high": high}


def _median_error(photos: KnownPhotos) -> dict[str, float]:
    low, high = quantile_interval(photos.error_m, photos.spot, 0.5)
    return {"value": float(np.median(photos.error_m)), "low": low, "high": high}


def _sets(
    photos: KnownPhotos, outcome: Outcome, wanted: CalibrationGoal, cell_km2: float
) -> Iterator[dict[str, Any]]:
    region_km2 = photos.cells * cell_km2
    for number, coverage in enumerate(wanted.coverages):
        share = outcome.area[:, number]
        yield {
            "asked": coverage,
            "coverage": estimate_share(outcome.covered[:, number], photos.spot),
            "median_share": float(np.median(share)),
            "mean_share": float(share.mean()),
            "median_km2": float(np.median(share * region_km2)),
        }


def _figures_without_ground(photos: KnownPhotos, outcome: Outcome) -> dict[str, Any]:
    """How photos fare whose own ground was taken out of the region."""
    beyond = outcome.evidence_taken_out
    finite = np.isfinite(beyond)
    if not finite.any():
        return {}
    return {
        "false_accept": estimate_share(~outcome.refused_taken_out[finite], photos.spot[finite]),
        **refusal_figures(outcome.evidence, beyond[finite]),
    }


def refusal_figures(inside: F64, outside: F64) -> dict[str, Any]:
    """The curve of refusing by evidence: pairs of (false rejects, false accepts), and its area."""
    curve = measure_rejection(inside, outside)
    steps = np.unique(np.linspace(0, len(curve.threshold) - 1, _CURVE_POINTS).round().astype(int))
    pairs = np.stack([curve.false_reject, curve.false_accept], axis=1)[steps]
    return {"told_apart": curve.area, "refusals": pairs.tolist()}


@dataclass(frozen=True, kw_only=True)
class PhotoGroup:
    """Known photos that are calibrated together."""

    name: str
    photos: tuple[KnownPhoto, ...]

    @property
    def assumed(self) -> bool:
        """Whether nothing told their field of view."""
        return self.photos[0].assumed

    @property
    def directed(self) -> bool:
        """Whether they were located with the headings that their files tell."""
        return self.photos[0].directed


def calibrate(
    photos: Sequence[KnownPhoto], wanted: CalibrationGoal, stride_m: float
) -> Calibration:
    """Fit and measure every kind of picture of which there are enough.

    Raises :class:`InvalidValue`, which says how many it takes, if there are enough of none.
    """
    groups = [group for group in group_photos(photos, wanted) if len(group.photos) >= wanted.photos]
    if not groups:
        raise InvalidValue("\n".join(list_refusals(photos, wanted)))
    return Calibration(
        kinds=tuple(_calibrate_group(group, wanted, stride_m) for group in groups),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        share=wanted.share,
        false_reject=wanted.false_reject,
        crossview=__version__,
    )


def keep_calibration(index: Index, calibration: Calibration) -> None:
    """Write a calibration into the manifest of its index; hold the index's lock."""
    calibrated = replace(index.manifest, calibration=calibration.to_json())
    write_manifest(index.path, calibrated, index.manifest)


def group_photos(photos: Sequence[KnownPhoto], wanted: CalibrationGoal) -> list[PhotoGroup]:
    """Photos by kind: panoramas, photos whose lens nothing tells, photos by width.

    Those that were located with the heading in their files are kinds of their own. Widths with too
    few photos are put together, and calibrated as one kind if that is enough. Groups may still be
    too small.
    """
    return [
        PhotoGroup(name=f"{group.name}{ending}", photos=group.photos)
        for directed, ending in ((False, ""), (True, _DIRECTED))
        for group in _by_view([photo for photo in photos if photo.directed == directed], wanted)
    ]


def _by_view(photos: Sequence[KnownPhoto], wanted: CalibrationGoal) -> list[PhotoGroup]:
    unknown = [photo for photo in photos if photo.assumed]
    panoramas = [photo for photo in photos if not photo.assumed and photo.fov_deg >= PANORAMA_DEG]
    classes, rest = [], []
    for low, high in pairwise(_WIDTHS_DEG):
        members = [photo for photo in photos if not photo.assumed and low <= photo.fov_deg < high]
        if len(members) >= wanted.photos:
            classes.append(members)
        else:
            rest += members
    named = [("panoramas", panoramas), (_UNKNOWN_LENS, unknown)]
    named += [(_widths(members), members) for members in [*classes, rest] if members]
    return [PhotoGroup(name=name, photos=tuple(members)) for name, members in named if members]


def list_refusals(photos: Sequence[KnownPhoto], wanted: CalibrationGoal) -> Iterator[str]:
    """Which kinds have too few photos, how many it takes, and what would do."""
    small = [group for group in group_photos(photos, wanted) if len(group.photos) < wanted.photos]
    for group in small:
        yield explain_too_few(group.name, len(group.photos), wanted)
    if small and len({photo.directed for photo in photos}) > 1:
        yield (
            "Some files tell a heading and others do not; with --ignore-direction, here and for "
            "locate, they are one kind."
        )


def _widths(photos: Sequence[KnownPhoto]) -> str:
    low, high = (round(pick(photo.fov_deg for photo in photos)) for pick in (min, max))
    return f"photos of {low} degrees" if low == high else f"photos of {low} to {high} degrees"


def _calibrate_group(group: PhotoGroup, wanted: CalibrationGoal, stride_m: float) -> Calibrated:
    photos = KnownPhotos.of(group.photos)
    widths = [photo.fov_deg for photo in group.photos]
    cell_km2 = (stride_m / 1000.0) ** 2
    return Calibrated(
        name=group.name,
        fov_deg=(min(widths), max(widths)),
        assumed=group.assumed,
        directed=group.directed,
        fov_chosen_by=CHOSEN_BY,
        n=len(photos),
        fit=fit(photos, wanted),
        spread=fit_spread(photos),
        measured=figures(photos, cross_validate(photos, wanted), wanted, cell_km2),
    )


def carry_calibration(index: Index, sources: Sequence[Index]) -> Calibration:
    """The calibration of an index as others of the same model, stride and footprint have measured.

    Of several that measured one kind of picture: temperatures, odds and spreads are averaged, each
    counting with its photos; areas are the largest of theirs, and refusals the rarest. Only what
    all areas of a kind have in common is stated. Raises :class:`InvalidValue` for a source that
    does not fit or has measured nothing itself.
    """
    measured = [_open_measured(index, source) for source in sources]
    names = list(dict.fromkeys(kind.name for each in measured for kind in each.kinds))
    shares = {(each.share, each.false_reject) for each in measured}
    require(
        len(shares) == 1,
        "the calibrations that are carried over were made with different assumptions: "
        f"(share from elsewhere, share refused) {sorted(shares)}.\nCalibrate them alike.",
    )
    return replace(
        measured[0],
        kinds=tuple(
            _join_kinds([kind for each in measured for kind in each.kinds if kind.name == name])
            for name in names
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        crossview=__version__,
        carried_from=tuple(
            Carried(index=source.path.absolute().name, created=each.created)
            for source, each in zip(sources, measured, strict=True)
        ),
    )


def _open_measured(index: Index, source: Index) -> Calibration:
    """What a source knows, if it is of its own region and fits the index."""
    own, theirs = index.manifest, source.manifest
    require(
        source.path.resolve() != index.path.resolve(),
        f"{source.path} is the index itself. Name an index of another region.",
    )
    for what, ours, other in (
        ("model", own.model.fingerprint[:12], theirs.model.fingerprint[:12]),
        ("stride in metres", round(own.stride_m, 3), round(theirs.stride_m, 3)),
        ("footprint in metres", round(own.footprint_m, 3), round(theirs.footprint_m, 3)),
        ("use of heights", _say_heights(index), _say_heights(source)),
    ):
        require(
            ours == other,
            f"the calibration of {source.path} does not fit: its {what} is {other}, and that of "
            f"{index.path} is {ours}.\nCarry over from an index that was made alike.",
        )
    require(
        theirs.calibration is not None,
        f"{source.path} has no calibration to carry over.\n"
        "Calibrate it on known photos of its region first.",
    )
    calibration = Calibration.from_json(theirs.calibration or {})
    require(
        not calibration.carried_from,
        f"the calibration of {source.path} was itself carried over.\n"
        "Name the regions that it was measured on.",
    )
    require(
        not any(kind.is_outdated for kind in calibration.kinds),
        f"the calibration of {source.path} is of an earlier way to read photos.\n"
        "Calibrate that index again first.",
    )
    return calibration


def _say_heights(index: Index) -> str:
    """Skylines that are checked change scores, and so what was fitted to them."""
    return "none" if index.manifest.heights is None else "checked skylines"


def _join_kinds(kinds: Sequence[Calibrated]) -> Calibrated:
    """One kind of picture as several regions have measured it."""
    first = kinds[0]
    if len(kinds) == 1:
        return replace(first, measured={})  # on another region
    counts = np.array([float(kind.n) for kind in kinds])

    def average(values: Sequence[float]) -> float:
        return float(np.average(values, weights=counts))

    fits = [kind.fit for kind in kinds]
    common = set.intersection(*({reach.coverage for reach in fit.reaches} for fit in fits))
    return replace(
        first,
        fov_deg=(min(k.fov_deg[0] for k in kinds), max(k.fov_deg[1] for k in kinds)),
        n=sum(kind.n for kind in kinds),
        fit=Fit(
            temperature=math.exp(average([math.log(fit.temperature) for fit in fits])),
            bias=average([fit.bias for fit in fits]),
            slope=average([fit.slope for fit in fits]),
            refused_below=min(fit.refused_below for fit in fits),
            reaches=tuple(
                Reach(
                    coverage=coverage,
                    below_best=max(
                        reach.largest_limit
                        for fit in fits
                        for reach in fit.reaches
                        if reach.coverage == coverage
                    ),
                )
                for coverage in sorted(common)
            ),
        ),
        spread=_join_spreads([kind.spread for kind in kinds], counts),
        measured={},
    )


def _join_spreads(spreads: Sequence[Spread | None], counts: F64) -> Spread | None:
    """The mean of what regions measured, each counting with its photos."""
    held = [(each, n) for each, n in zip(spreads, counts, strict=True) if each is not None]

    def average(name: str) -> float | None:
        known = [(value, n) for each, n in held if (value := getattr(each, name)) is not None]
        total = sum(n for _, n in known)
        return sum(value * n for value, n in known) / total if known else None

    centre_m = average("centre_m")
    if centre_m is None:
        return None
    return Spread(centre_m=centre_m, position=average("position"), heading=average("heading"))


def add_elsewhere(calibration: Calibration, answers: Sequence[Answer]) -> Calibration:
    """The calibration with ``false_accept_elsewhere`` of each kind that the answers show."""
    kinds = [
        _measure_elsewhere(kind, [a for a in answers if calibration.find(a) is kind])
        for kind in calibration.kinds
    ]
    return replace(calibration, kinds=tuple(kinds))


def _measure_elsewhere(kind: Calibrated, answers: Sequence[Answer]) -> Calibrated:
    if not answers:
        return kind
    evidence = np.array(
        [measure_evidence(answer.scores, kind.fit.temperature) for answer in answers]
    )
    accepted = int((evidence >= kind.fit.refused_below).sum())
    low, high = wilson(accepted, len(evidence))
    share = {"value": accepted / len(evidence), "low": low, "high": high, "n": len(evidence)}
    return replace(kind, measured={**kind.measured, "false_accept_elsewhere": share})
