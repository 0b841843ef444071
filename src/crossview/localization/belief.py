"""What several photos say together: of all windows, and of one spot that they were taken at.

The likelihood of a photo at a window is exp(score / temperature), so that the posterior of a single
photo is the softmax of its scores. Photos are independent, given where the camera stood. A photo
may be foreign, taken elsewhere or showing nothing that the model knows: then all windows are alike
to it, so that one such photo cannot outweigh the others.

Where relative turns are known, the posterior is over windows and over the turn of all photos in
common, which is summed out; each photo may be off its relative turn as far as that is uncertain.
Where they are not, the best turn of each photo counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import F32, F64
from crossview.errors import InvalidValue, require
from crossview.geo.points import measure_distance_m
from crossview.index.selection import Held, Windows, count_windows
from crossview.index.similarity import score_turns
from crossview.localization.answer import Answer, Contribution, Place, SharedSpot, number_windows
from crossview.localization.hints import GIVEN_SIGMA_DEG, Hints, Prior, match_hints
from crossview.localization.locate import require_ready
from crossview.localization.posterior import (
    compute_log_prior,
    compute_probability,
    find_right_cells,
    find_temperature,
    measure_middle,
    measure_shift,
)
from crossview.localization.queries import Picture, Query, find_common_bearing, make_queries
from crossview.localization.refinement import refine_places
from crossview.localization.search import (
    SearchResult,
    count_searched_places,
    hold_together,
    mark_searched,
    price_turns,
    rank_places,
    score_surroundings,
    search,
    turn_to_north,
)
from crossview.model import Embedder
from crossview.views.crops import compute_bin_coverage

FOREIGN_SHARE = 0.1  # of the photos that are said to be of one spot
MOST_TOGETHER = 100  # photos
_SEVERAL = "several photos were taken together, which the calibration did not have"


def measure_log_likelihood(index: Windows, query: Query, temperature: float) -> F64:
    """Logarithm of the likelihood [N] of each window, at the best turn of the best reading.

    Up to a constant of the photo; -inf where the hints exclude a window. ``temperature`` in
    cosines.
    """
    _require_temperature(temperature)
    return _divide(search(index, [query])[0].scores, temperature)


def measure_turns(index: Held, query: Query, temperature: float, reading: int = 0) -> F64:
    """:func:`measure_log_likelihood` of every turn, [N, J]; the best of a row is the window's.

    At turn s the photo's middle looks 360 s / J + ``query.turned_deg`` degrees clockwise from the
    window's up. Turns that a known heading excludes are -inf, others cost what they do in a search.
    ``reading``: which of the query's.
    """
    _require_temperature(temperature)
    bins = index.manifest.model.azimuth_bins
    seen = compute_bin_coverage(query.readings[reading].fov_deg, bins, query.turned_deg)
    turns = np.empty((index.count, bins))
    for rows, block in index.blocks():
        cosines = score_turns(query.vectors[reading], block, bins, seen)
        costs = price_turns(query, index.up_bearing_deg[rows], bins)
        turns[rows] = cosines if costs is None else cosines - costs
    turns /= temperature
    if query.hints.near is not None or query.hints.area is not None:
        turns[~mark_searched(index, query.hints)] = -np.inf
    return turns


def normalise(log_weights: F64, each: F64 | None = None) -> F64:
    """Weights of any shape whose logarithms are known up to a constant, of sum 1.

    ``each`` [N]: how many windows each of the rows stands for, and has the weight of together.
    Raises :class:`InvalidValue` where all are -inf.
    """
    highest = log_weights.max()
    require(bool(np.isfinite(highest)), "nothing is left: every window is excluded by some hint.")
    weights: F64 = np.exp(log_weights - highest)
    if each is not None:
        weights = (weights.T * each).T
    weights /= weights.sum()
    return weights


def locate_together(
    index: Windows,
    embedder: Embedder,
    photos: Sequence[Picture],
    hints: Hints | Sequence[Hints] = Hints(),  # noqa: B008 - frozen
    turns_deg: Sequence[float] | None = None,
) -> Answer:
    """One answer for photos that were taken at one spot, as by somebody who turns around.

    ``turns_deg``: for each photo how far its middle lies clockwise from that of the first, good to
    5 degrees; None: by the directions in the files if all of them have one, else unknown. A heading
    that is given is that of the first photo. Raises as :func:`locate`, and :class:`InvalidValue`
    for fewer than two photos, or turns that do not fit them.
    """
    require_ready(index, embedder)
    count = len(photos)
    require(
        2 <= count <= MOST_TOGETHER,
        f"two to {MOST_TOGETHER} photos of one spot have an answer together, got {count}.",
    )
    all_hints = turn_hints(hints, count, turns_deg)
    bearing = find_common_bearing(index, embedder.info.azimuth_bins)
    queries = list(make_queries(photos, all_hints, embedder, bearing))
    return answer_together(index, queries, turns_deg)


def answer_together(
    index: Windows,
    queries: Sequence[Query],
    turns_deg: Sequence[float] | None = None,
    results: Sequence[SearchResult] | None = None,
) -> Answer:
    """:func:`locate_together` for photos that are embedded, and perhaps searched for, already."""
    require(len(queries) >= 2, f"two photos have an answer together, got {len(queries)}.")
    found = search(index, queries) if results is None else results
    held, found = hold_together(index, queries, found)
    return number_windows(held, _make_answer(held, queries, found, turns_deg))


def parse_turns(text: str) -> list[float]:
    """Degrees with commas between them; raises :class:`InvalidValue` for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as problem:
        raise InvalidValue(
            f"{text!r} are no turns. Write one in degrees for each photo: 0,90,180,270"
        ) from problem


def turn_hints(
    hints: Hints | Sequence[Hints], count: int, turns_deg: Sequence[float] | None
) -> list[Hints]:
    """The hints of each photo; a heading that is given for all is the first one's."""
    all_hints = match_hints(hints, count)
    if turns_deg is not None:
        require(
            len(turns_deg) == count,
            f"{count} photos, but {len(turns_deg)} turns: give one for each, 0 for the first.",
        )
        require(
            all(math.isfinite(turn) and abs(turn) <= 360.0 for turn in turns_deg),
            f"turns lie in [-360, 360] degrees, clockwise, got {list(turns_deg)}.",
        )
    if not isinstance(hints, Hints) or hints.heading_deg is None:
        return all_hints
    if turns_deg is None:
        raise InvalidValue(
            "a heading belongs to one photo, and how the others are turned is not given.\n"
            "Give the turns too, such as 0,90,180,270, or no heading."
        )
    headings = [(hints.heading_deg + turn - turns_deg[0]) % 360.0 for turn in turns_deg]
    return [replace(hints, heading_deg=heading) for heading in headings]


@dataclass(frozen=True, kw_only=True)
class _View:
    """What one photo says of N windows, at F common turns of all photos (1: turns are unknown).

    ``odds`` [N, F]: how many times as likely it makes them as an average one, or as a foreign photo
    would. ``heading_deg`` [N, F] of its middle there, clockwise from the window's up.
    """

    temperature: float
    scores: F32
    odds: F64
    heading_deg: F32


def _make_answer(
    index: Held,
    queries: Sequence[Query],
    results: Sequence[SearchResult],
    turns_deg: Sequence[float] | None,
) -> Answer:
    turns, relative = _relate(index, queries, turns_deg)
    views = [
        _view(index, query, result, None if relative is None else relative[n])
        for n, (query, result) in enumerate(zip(queries, results, strict=True))
    ]
    joint = sum_log_odds([view.odds for view in views])
    scores: F32 = np.mean([view.scores for view in views], axis=0, dtype=np.float32)
    joint[~np.isfinite(scores)] = -np.inf
    per_window = np.logaddexp.reduce(joint, axis=1)
    beside = normalise_rows(joint)
    prior = _choose_prior(queries)
    if prior is not None:
        per_window = per_window + compute_log_prior(index, prior)
    posterior = normalise(per_window, index.weights)
    # Places are ranked and refined by what the photos say on average, in cosines, and the prior.
    cosine = np.mean([view.temperature for view in views]) / len(views)
    weighed = np.where(np.isfinite(per_window), per_window * cosine, np.nan)
    headings = [
        np.take_along_axis(view.heading_deg, joint.argmax(axis=1)[:, None], axis=1)[:, 0]
        for view in views
    ]
    wanted = queries[0].hints.places
    ranked = rank_places(index, scores, headings[0], max(wanted, 2), weighed - scores)
    answer = replace(
        _describe(index, queries, results, turns),
        places=_refine(index, queries[0], results[0], weighed, ranked[:wanted]),
        scores=scores,
        second=ranked[1].score if len(ranked) > 1 else None,
        searched_places=count_searched_places(index, scores),
    )
    first = answer.places[0]
    mean, spread_m = measure_middle(index, posterior)
    contributions = [
        _contribute(index, query, view, posterior[:, None] * beside, (first, heading))
        for query, view, heading in zip(queries, views, headings, strict=True)
    ]
    spot = SharedSpot(
        turns=turns,
        mean=mean,
        spread_m=spread_m,
        first_share=compute_probability(index, posterior, first.latlon),
    )
    shift = None if prior is None else measure_shift(index, prior, posterior, first.latlon)
    return replace(answer, together=tuple(contributions), spot=spot, prior=shift)


def _relate(
    index: Held, queries: Sequence[Query], turns_deg: Sequence[float] | None
) -> tuple[str, list[tuple[float, float]] | None]:
    """Where relative turns come from, and each photo's with its error; None: they are unknown."""
    if index.manifest.model.azimuth_bins == 1:
        return "unknown", None
    if turns_deg is not None:
        return "given", [(turn, GIVEN_SIGMA_DEG) for turn in turns_deg]
    known = [query.heading for query in queries if query.heading is not None]
    if len(known) < len(queries):
        return "unknown", None
    return "file", [(heading.degrees, heading.sigma_deg) for heading in known]


def _view(
    index: Held, query: Query, result: SearchResult, turn: tuple[float, float] | None
) -> _View:
    """What a photo says, turned by (degrees, their standard deviation) if that is known."""
    temperature = find_temperature(index, _describe(index, [query], [result], "unknown"))
    scores = result.scores.astype(np.float64)
    if turn is None:
        table = scores[:, None] / temperature
        heading = result.heading_deg[:, None].astype(np.float64)
    else:
        turns = measure_turns(index, query, temperature, result.reading)
        table, heading = turn_together(turns, query.turned_deg, *turn)
    table[~np.isfinite(scores)] = -np.inf
    odds = normalise(table, index.weights)
    odds *= count_windows(index, np.isfinite(scores)) * table.shape[1]
    if index.weights is not None:
        odds /= index.weights[:, None]
    return _View(
        temperature=temperature,
        scores=result.scores,
        odds=odds,
        heading_deg=heading.astype(np.float32),
    )


def turn_together(
    turns: F64, turned_deg: float, turn_deg: float, sigma_deg: float
) -> tuple[F64, F64]:
    """Log likelihoods [N, J] of one photo by the common turn of all, from those of its own turns.

    Common turn f is 360 f / J degrees; this photo's middle lies ``turn_deg`` clockwise from it,
    give or take ``sigma_deg`` (a normal density, with the spread of a turn added). Its own turn s
    is 360 s / J + ``turned_deg`` degrees. Also its likeliest heading [N, J].
    """
    bins = turns.shape[1]
    step_deg = 360.0 / bins
    own_deg = np.arange(bins) * step_deg + turned_deg
    off = own_deg[None, :] - (np.arange(bins) * step_deg + turn_deg)[:, None]
    off = (off + 180.0) % 360.0 - 180.0
    fits = np.exp(-(off**2) / (2.0 * (sigma_deg**2 + step_deg**2 / 12.0)))
    with np.errstate(divide="ignore"):
        log_fits = np.log(fits / fits.sum(axis=1, keepdims=True))
    table, heading = np.empty_like(turns), np.empty_like(turns)
    for common in range(bins):
        both = turns + log_fits[common]
        table[:, common] = np.logaddexp.reduce(both, axis=1)
        heading[:, common] = own_deg[both.argmax(axis=1)]
    return table, heading


def sum_log_odds(odds: Sequence[F64]) -> F64:
    """Logarithm [N, F] of how much likelier several photos make each window than an average one.

    ``odds`` [N, F] of each photo. A share ``FOREIGN_SHARE`` of all photos is foreign, and says
    nothing.
    """
    joint: F64 = np.zeros_like(odds[0])
    for each in odds:
        joint += np.log((1.0 - FOREIGN_SHARE) * each + FOREIGN_SHARE)
    return joint


def normalise_rows(log_weights: F64) -> F64:
    """:func:`normalise` of each row of [N, F]; a row of -inf gets zeros."""
    highest = log_weights.max(axis=1, keepdims=True)
    weights = np.exp(log_weights - np.where(np.isfinite(highest), highest, 0.0))
    rows: F64 = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    return rows


def _choose_prior(queries: Sequence[Query]) -> Prior | None:
    """The one prior of a spot: errors of one receiver at one spot are alike, so the best counts."""
    priors = [query.hints.prior for query in queries if query.hints.prior is not None]
    return min(priors, key=lambda prior: prior.sigma_m, default=None)


def _refine(
    index: Held, query: Query, result: SearchResult, weighed: F64, places: Sequence[Place]
) -> tuple[Place, ...]:
    """The places at the summits of what all photos say [N]; headings are those of the first."""
    searched = replace(result, scores=weighed.astype(np.float32))
    around = score_surroundings(index, query, searched, places)
    joint = [replace(one, scores=weighed[one.rows]) for one in around]
    return refine_places(index, query, places, joint)


def _describe(
    index: Held, queries: Sequence[Query], results: Sequence[SearchResult], turns: str
) -> Answer:
    """An answer without places: what was asked, and what was assumed."""
    first, used = queries[0], queries[0].readings[results[0].reading]
    assumptions = [
        text
        for query, result in zip(queries, results, strict=True)
        for text in (*query.describe_reading(result.reading), *query.assumptions)
    ]
    if len(queries) > 1:
        assumptions = [f"{len(queries)} photos taken at one spot, as told", *assumptions]
    return Answer(
        photo=first.photo,
        sha256=first.sha256,
        kind=used.kind,
        fov_deg=used.fov_deg,
        fov_source=used.source,
        heading_source=None if first.heading is None else first.heading.source,
        heading_wanted=turns == "unknown" and any(query.heading_wanted for query in queries),
        assumptions=tuple(dict.fromkeys(assumptions)),
        places=(),
        scores=np.empty(0, np.float32),
        warnings=(
            *index.manifest.warnings,
            *dict.fromkeys(text for query in queries for text in query.warnings),
        ),
        unmeasured="" if index.manifest.calibration is None else _SEVERAL,
    )


def _contribute(
    index: Held, query: Query, view: _View, posterior: F64, found: tuple[Place, F32]
) -> Contribution:
    """What a photo says of the first place of all; ``posterior`` [N, F] of windows and turns."""
    place, heading_deg = found
    rows, shares = find_right_cells(index, place.latlon)
    alone = view.odds.mean(axis=1)
    best = int(alone.argmax())
    foreign = FOREIGN_SHARE / ((1.0 - FOREIGN_SHARE) * view.odds + FOREIGN_SHARE)
    pin = index.footprint(best).centre
    return Contribution(
        photo=query.photo,
        sha256=query.sha256,
        score=float(view.scores[place.window]),
        heading_deg=turn_to_north(heading_deg[place.window], place.footprint),
        bits=math.log2(max(float(alone[rows] @ shares / shares.sum()), 1e-30)),
        foreign=float((posterior * foreign).sum()),
        alone=pin,
        alone_m=measure_distance_m(pin, place.latlon),
    )


def _divide(scores: F32, temperature: float) -> F64:
    log_likelihood = scores.astype(np.float64) / temperature
    log_likelihood[np.isnan(log_likelihood)] = -np.inf
    return log_likelihood


def _require_temperature(temperature: float) -> None:
    require(0.0 < temperature < np.inf, f"a temperature is > 0, got {temperature}.")
