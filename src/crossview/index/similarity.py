"""How alike a ground vector and aerial vectors are, at the best heading.

A model with J azimuth bins describes each direction by a block of its vector, so an unknown heading
is found by turning the picture through all J blocks: the search of DSM (Shi et al., "Where am I
looking at?", CVPR 2020), with the cosine taken over the visible sector only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crossview.arrays import F32, F64, I64
from crossview.errors import BadIndex, require

TURN_COST = 0.02  # of a cosine, for each half squared standard deviation from a heading
NOTHING = 1e-12  # energy of a sector that a vector does not describe at all
_WORKING_FLOATS = 4_000_000  # of one tile of products: 16 MB


@dataclass(frozen=True)
class Facing:
    """A heading that is known of a picture, and which turns it leaves.

    ``turned_deg``: where the picture's middle lies in its strip. Turns within ``slack_deg`` of
    ``degrees`` are tried, or the nearest one; with a ``sigma_deg``, every other one costs as much
    as it is less likely than the nearest.
    """

    degrees: float
    slack_deg: float
    sigma_deg: float | None
    turned_deg: float

    def price(self, up_bearing_deg: F64, bins: int) -> F32:
        """What the turns [n, J] cost, in cosines; infinite: not tried.

        The logarithm of a normal density. A direction in a file has no ``sigma_deg``: it is a
        range, within which turns cost nothing.
        """
        bearing = up_bearing_deg[:, None] + np.arange(bins) * 360.0 / bins + self.turned_deg
        off = np.abs((bearing - self.degrees + 180.0) % 360.0 - 180.0)
        nearest = off.min(axis=1, keepdims=True)
        price = np.zeros_like(off)
        if self.sigma_deg is not None:
            price = TURN_COST / 2.0 * (off**2 - nearest**2) / self.sigma_deg**2
        costs: F32 = np.where(off <= np.maximum(self.slack_deg, nearest), price, np.inf)
        return costs.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Asked:
    """One reading of a picture, as windows are compared with it."""

    vector: F32  # [D]
    seen: F32  # [J] weights in [0, 1] of the bins; [1] of ones for a model of one
    facing: Facing | None = None

    @property
    def bins(self) -> int:
        """J."""
        return len(self.seen)

    def score(self, refs: F32, up_bearing_deg: F64) -> tuple[F32, F32]:
        """:func:`score_query` against windows [n, D] whose up points to ``up_bearing_deg`` [n]."""
        costs = self.price(up_bearing_deg)
        return score_query(self.vector, refs, self.bins, self.seen, costs)

    def price(self, up_bearing_deg: F64) -> F32 | None:
        """What the turns cost at windows whose up points there, [n, J]; None: nothing."""
        if self.facing is None or self.bins == 1:
            return None
        return self.facing.price(up_bearing_deg, self.bins)

    def turn(self) -> tuple[F32, F32]:
        """The vector [J, D] and the weights of a window's bins [J, J] at every turn."""
        if self.bins == 1:
            return self.vector[None], self.seen[None]
        return _turn_queries(self.vector[None], self.seen[None])[0], self.seen[
            _index_turns(self.bins)
        ]


def score_query(
    query: F32, refs: F32, bins: int, seen: F32, costs: F32 | None = None
) -> tuple[F32, F32]:
    """Score [n] and heading [n] of one query [D] against references [n, D].

    ``bins`` 1: the dot product; headings are NaN. ``bins`` J: the highest cosine over all turns s,
    query bin j against reference bin (j + s) mod J, each bin weighted by ``seen`` [J] in [0, 1];
    the heading of the picture's middle is 360 s / J degrees clockwise from the reference's up (of
    equal turns the smallest). ``costs`` [J] or [n, J] are taken off the cosines of the turns; those
    of infinite cost are not tried, and every reference must keep one.

    Raises :class:`InvalidValue` or :class:`BadIndex` for NaN on either side.
    """
    best, heading = score_queries(query[None], refs, bins, seen[None], [costs])
    return best[0], heading[0]


def score_queries(
    queries: F32,
    refs: F32,
    bins: int,
    seen: F32,
    costs: Sequence[F32 | None] | None = None,
) -> tuple[F32, F32]:
    """:func:`score_query` for many queries [Q, D] with ``seen`` [Q, J]: two arrays [Q, n]."""
    _check(queries, refs, bins, seen)
    best = np.empty((len(queries), len(refs)), np.float32)
    heading = np.full(best.shape, np.nan, np.float32)
    if bins == 1:
        np.matmul(queries, refs.T, out=best)
    else:
        prices = costs if costs is not None else [None] * len(queries)
        with np.errstate(invalid="ignore"):  # checked below
            for group, part, cosines in _score_tiles(queries, refs, seen):
                for cosine, cost in zip(cosines, prices[group], strict=True):
                    if cost is not None:
                        np.subtract(cosine, _select_costs(cost, part), out=cosine)
                _keep_best_turn(cosines, (best[group, part], heading[group, part]))
    require_finite(best)
    return best, heading


def score_turns(query: F32, refs: F32, bins: int, seen: F32) -> F32:
    """Cosines [n, J] of one query [D] and references [n, D] at every turn.

    Of these :func:`score_query` keeps the best: turn s is the heading 360 s / J. ``bins`` 1: the
    dot products, [n, 1]. Raises as it does.
    """
    _check(query[None], refs, bins, seen[None])
    turns = np.empty((len(refs), bins), np.float32)
    if bins == 1:
        turns[:, 0] = refs @ query
    else:
        with np.errstate(invalid="ignore"):  # checked below
            for _, part, cosines in _score_tiles(query[None], refs, seen[None]):
                turns[part] = cosines[0].T
    require_finite(turns)
    return turns


def require_finite(scores: F32) -> None:
    """Raise :class:`BadIndex` for NaN or infinity."""
    if not np.isfinite(scores).all():
        raise BadIndex("Vectors of the index hold NaN or infinity; build the index again.")


def _check(queries: F32, refs: F32, bins: int, seen: F32) -> None:
    dim = queries.shape[1]
    require(
        bins >= 1 and dim % bins == 0 and refs.ndim == 2 and refs.shape[1] == dim,
        f"queries {list(queries.shape)}, references {list(refs.shape)} and {bins} azimuth bins "
        "do not fit together.",
    )
    require(bool(np.isfinite(queries).all()), "a query vector holds NaN or infinity.")
    if bins > 1:
        require(
            seen.shape == (len(queries), bins),
            f"seen must be [{len(queries)}, {bins}], got {list(seen.shape)}.",
        )


def _score_tiles(queries: F32, refs: F32, seen: F32) -> Iterator[tuple[slice, slice, F32]]:
    """Cosines [q, J, n] of all turns, in tiles of queries and references, which are named first."""
    count, bins = seen.shape
    turned = _turn_queries(queries, seen)
    rows = max(1, min(len(refs), _WORKING_FLOATS // (2 * bins)))
    together = max(1, _WORKING_FLOATS // (bins * rows))
    for first in range(0, len(refs), rows):
        part = slice(first, first + rows)
        block = np.ascontiguousarray(refs[part], dtype=np.float32)
        energy = np.square(block).reshape(len(block), bins, -1).sum(2)
        for start in range(0, count, together):
            group = slice(start, start + together)
            cosines = (turned[group].reshape(-1, block.shape[1]) @ block.T).reshape(
                -1, bins, len(block)
            )
            cosines *= _invert_norms(seen[group], energy)
            yield group, part, cosines


def _turn_queries(queries: F32, seen: F32) -> F32:
    """[Q, J, D]: at turn s, block k holds the weighted, normalised query bin (k - s) mod J."""
    count, bins = seen.shape
    blocks = queries.reshape(count, bins, -1)
    energy = (np.square(blocks.astype(np.float64)).sum(2) * seen).sum(1)
    require(
        bool((energy > NOTHING).all()),
        "a query vector is zero in all directions that its picture sees.",
    )
    weighted = blocks * (seen / np.sqrt(energy)[:, None].astype(np.float32))[..., None]
    turned: F32 = weighted[:, _index_turns(bins)].reshape(count, bins, -1)
    return turned


def _invert_norms(seen: F32, energy: F32) -> F32:
    """One over the length of what is compared of each reference, [Q, J, n]; 0 where it is zero."""
    kinds, of_query = np.unique(seen, axis=0, return_inverse=True)
    visible = kinds[:, _index_turns(seen.shape[1])] @ energy.T  # [kinds, J, n]
    per_norm = np.where(visible > NOTHING, 1.0 / np.sqrt(np.maximum(visible, NOTHING)), 0.0)
    chosen: F32 = per_norm.astype(np.float32)
    return chosen if len(kinds) == 1 else chosen[of_query.reshape(-1)]


def _index_turns(bins: int) -> I64:
    """[s, k] -> (k - s) mod J."""
    turns = np.arange(bins)
    back: I64 = (turns[None, :] - turns[:, None]) % bins
    return back


def _select_costs(costs: F32, part: slice) -> F32:
    """What the turns cost as [J, n] (or [J, 1], if the same for all references)."""
    per_turn = costs[:, None] if costs.ndim == 1 else costs[part].T
    require(
        bool(np.isfinite(per_turn).any(0).all()), "costs leave no turn for some of the references."
    )
    return per_turn


def _keep_best_turn(cosines: F32, out: tuple[F32, F32]) -> None:
    """The highest of [Q, J, n] over the turns, the first of equals."""
    best, heading = out
    step = 360.0 / cosines.shape[1]
    best[...], heading[...] = cosines[:, 0], 0.0
    for turn in range(1, cosines.shape[1]):
        better = cosines[:, turn] > best
        np.copyto(best, cosines[:, turn], where=better)
        heading[better] = turn * step
