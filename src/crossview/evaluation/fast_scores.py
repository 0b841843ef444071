"""How two vectors are compared: exactly in float64, and fast with a bound on the error.

A *filter* gives the scores of a tile of queries and references in its own unit, and says for any
threshold which of its values are surely above and which surely below. What lies between is decided
by :meth:`Space.exact`, so ranks are those of float64 whatever the filter.

Products of 8-bit integers are several times faster than float32 where the processor has them
(``runtime.make_product``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from crossview.arrays import F32, F64, I8, I64, U8, AnyArray
from crossview.errors import require
from crossview.index.similarity import score_queries
from crossview.runtime import LARGEST, ZERO, make_product
from crossview.views.crops import compute_bin_coverage

TILE = 2048  # references per product: a tile stays in the cache of one core
_BLOCK = 128
_ROUNDING = 2.0**-24  # of float32, relative
_SPARE = 1.0 + 1e-4  # lengths are computed in float32 themselves
_AT_ONCE = 1 << 16  # numbers gathered for exact products: they stay in the cache
_LEAST_FOR_INT8 = 1 << 24  # products of queries and references; below, float32 is as fast
_NOTHING = 1e-12  # as in index.similarity
_LONGEST_INT32 = 100_000  # numbers per vector: 127 * 127 times that still fits


class Filter(Protocol):
    """Fast scores with a known error."""

    def tile(self, rows: slice, number: int) -> AnyArray:
        """Values [m, n] of tile ``number`` of the references against the queries ``rows``."""

    def cuts(self, queries: I64, thresholds: F64) -> tuple[AnyArray, AnyArray]:
        """Two limits [N], [N]: below the first a value surely misses the threshold of its query.

        From the second on it surely reaches it.
        """


class Space(Protocol):
    """Q queries, R references, and their scores; higher is more alike."""

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, R)."""

    def exact(self, queries: I64, references: I64) -> F64:
        """Scores [N] in float64 of pairs; the same pair always gets the same bits."""

    def turns_deg(self, queries: I64, references: I64) -> F64:
        """Headings [N] at which pairs have their scores, clockwise from the reference's up.

        In steps of 360 / bins, in [0, 360), of equal turns the smallest; NaN where vectors are not
        turned.
        """

    def only(self, references: I64) -> Space:
        """The same queries against some references."""

    def filters(self) -> list[Callable[[], Filter]]:
        """Coarse and fast first; the last one's error is that of float32."""


@dataclass(frozen=True, eq=False)
class Plain:
    """Unit vectors compared by their dot product: queries [Q, D], references [R, D]."""

    queries: F32
    references: F32

    @property
    def shape(self) -> tuple[int, int]:
        """See :class:`Space`."""
        return len(self.queries), len(self.references)

    def exact(self, queries: I64, references: I64) -> F64:
        """See :class:`Space`."""
        scores = np.empty(len(queries))
        step = max(1, _AT_ONCE // max(1, self.queries.shape[1]))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            left = self.queries[queries[rows]].astype(np.float64)
            scores[rows] = np.einsum("nd,nd->n", left, self.references[references[rows]])
        return scores

    def turns_deg(self, queries: I64, references: I64) -> F64:
        """See :class:`Space`."""
        return np.full(len(queries), np.nan)

    def only(self, references: I64) -> Plain:
        """See :class:`Space`."""
        return Plain(self.queries, self.references[references])

    def filters(self) -> list[Callable[[], Filter]]:
        """See :class:`Space`."""
        whole: Callable[[], Filter] = lambda: _Float32(self.queries, self.references)  # noqa: E731
        worth = np.prod(self.shape, dtype=np.float64) >= _LEAST_FOR_INT8
        if not worth or self.queries.shape[1] > _LONGEST_INT32:
            return [whole]
        return [lambda: _int8_filter(self.queries, self.references), whole]


@dataclass(frozen=True, eq=False)
class Turning:
    """Vectors of J azimuth bins, compared at the best of J turns (``index.similarity``)."""

    queries: F32  # [Q, D]
    references: F32  # [R, D]
    bins: int
    seen: F32  # [Q, J] share of each bin that the query sees

    @property
    def shape(self) -> tuple[int, int]:
        """See :class:`Space`."""
        return len(self.queries), len(self.references)

    def exact(self, queries: I64, references: I64) -> F64:
        """See :class:`Space`."""
        scores = np.empty(len(queries))
        for rows in self._parts(len(queries)):
            scores[rows] = self._cosines(queries[rows], references[rows]).max(axis=1)
        return scores

    def turns_deg(self, queries: I64, references: I64) -> F64:
        """See :class:`Space`."""
        turns = np.empty(len(queries))
        for rows in self._parts(len(queries)):
            turns[rows] = self._cosines(queries[rows], references[rows]).argmax(axis=1)
        return turns * 360.0 / self.bins

    def only(self, references: I64) -> Turning:
        """See :class:`Space`."""
        return replace(self, references=self.references[references])

    def filters(self) -> list[Callable[[], Filter]]:
        """See :class:`Space`."""
        return [lambda: _Turned(self)]

    def _parts(self, count: int) -> list[slice]:
        step = max(1, _AT_ONCE // (self.queries.shape[1] + self.bins**2))
        return [slice(start, start + step) for start in range(0, count, step)]

    def _cosines(self, queries: I64, references: I64) -> F64:
        """[N, J]: query bin j against reference bin (j + s) mod J, over what the query sees."""
        q = self.queries[queries].astype(np.float64).reshape(len(queries), self.bins, -1)
        r = self.references[references].astype(np.float64).reshape(q.shape)
        seen = self.seen[queries].astype(np.float64)
        products = np.einsum("njc,nkc->njk", q * seen[..., None], r)
        own = np.einsum("nj,njc,njc->n", seen, q, q)
        energy = np.einsum("nkc,nkc->nk", r, r)
        turns = np.arange(self.bins)
        other = (turns[None, :] + turns[:, None]) % self.bins  # [s, j]
        top = products[:, turns[None, :], other].sum(axis=2)
        visible = np.einsum("nj,nsj->ns", seen, energy[:, other])
        length = np.sqrt(np.maximum(own[:, None] * visible, _NOTHING**2))
        return np.where(visible > _NOTHING, top / length, 0.0)


def make_space(bins: int, queries: F32, references: F32, seen_deg: AnyArray) -> Space:
    """Dot products, or the best of all turns where vectors have several azimuth ``bins``.

    ``seen_deg`` [Q]: the field of view that each query shows; NaN counts as all.
    """
    if bins == 1:
        return Plain(queries, references)
    fov_deg = np.where(np.isfinite(seen_deg), seen_deg, 360.0)
    return Turning(queries, references, bins, compute_bin_coverage(fov_deg, bins))


@dataclass(frozen=True, eq=False)
class _Float32:
    queries: F32
    references: F32
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        # Higham, Accuracy and Stability of Numerical Algorithms, 3.5: gamma_D |q| |r|.
        longest = _longest(self.queries) * _longest(self.references)
        bound = 1.01 * (self.queries.shape[1] + 1) * _ROUNDING * longest * _SPARE
        object.__setattr__(self, "bound", bound)

    def tile(self, rows: slice, number: int) -> AnyArray:
        """See :class:`Filter`."""
        block = self.references[number * TILE : (number + 1) * TILE]
        values: AnyArray = block @ self.queries[rows].T
        return values

    def cuts(self, queries: I64, thresholds: F64) -> tuple[AnyArray, AnyArray]:
        """See :class:`Filter`."""
        return _as_float32(thresholds - self.bound, thresholds + self.bound)


@dataclass(frozen=True, eq=False)
class _Turned:
    space: Turning

    def tile(self, rows: slice, number: int) -> AnyArray:
        """See :class:`Filter`."""
        s = self.space
        block = s.references[number * TILE : (number + 1) * TILE]
        values: AnyArray = score_queries(s.queries[rows], block, s.bins, s.seen[rows])[0].T
        return values

    def cuts(self, queries: I64, thresholds: F64) -> tuple[AnyArray, AnyArray]:
        """See :class:`Filter`. Cosines: a dot product, two norms and their quotient."""
        bound = 4.0 * (self.space.queries.shape[1] + 16) * _ROUNDING
        return _as_float32(thresholds - bound, thresholds + bound)


@dataclass(frozen=True, eq=False)
class _Int8:
    """By Cauchy-Schwarz |q.r - q'.r'| <= |q| max|r - r'| + |q - q'| max|r'|; ' is rounded."""

    references: U8  # [R, D], 128 stands for 0
    queries: I8  # [D, Q]
    scale: F64  # [Q] score per unit
    bound: F64  # [Q] of the error, as a score

    def tile(self, rows: slice, number: int) -> AnyArray:
        """See :class:`Filter`."""
        block = self.references[number * TILE : (number + 1) * TILE]
        return make_product()(block, np.ascontiguousarray(self.queries[:, rows]))

    def cuts(self, queries: I64, thresholds: F64) -> tuple[AnyArray, AnyArray]:
        """See :class:`Filter`."""
        bound, scale = self.bound[queries], self.scale[queries]
        limits = np.iinfo(np.int32)
        low = np.clip(np.floor((thresholds - bound) / scale), limits.min, limits.max)
        high = np.clip(np.ceil((thresholds + bound) / scale), limits.min, limits.max)
        return low.astype(np.int32), high.astype(np.int32)


def _int8_filter(queries: F32, references: F32) -> _Int8:
    step = max(float(np.abs(references[block]).max()) for block in _blocks(len(references)))
    step /= LARGEST
    right = np.empty(references.shape, np.uint8)
    r_error = r_length = 0.0
    for block in _blocks(len(references)):
        rounded, error = _round(references[block], np.float32(step))
        r_error = max(r_error, float(error.max()))
        r_length = max(r_length, float(_lengths(rounded).max()) * step)
        rounded += ZERO
        right[block] = rounded
    left = np.empty(queries.shape[::-1], np.int8)
    scale, bound = np.empty(len(queries)), np.empty(len(queries))
    for block in _blocks(len(queries)):
        steps = np.abs(queries[block]).max(axis=1) / np.float32(LARGEST)
        rounded, error = _round(queries[block], steps[:, None])
        scale[block] = steps * np.float64(np.float32(step))
        bound[block] = _lengths(queries[block]) * r_error + error * r_length
        left[:, block] = rounded.T
    return _Int8(references=right, queries=left, scale=scale, bound=bound * _SPARE)


def _round(vectors: F32, step: Any) -> tuple[F32, F32]:
    """Whole numbers of ``step`` [n, D], and the length [n] of what they leave, rounded up."""
    rounded: F32 = vectors * (np.float32(1.0) / step)
    np.rint(rounded, out=rounded)
    rest = rounded * -step
    rest += vectors
    return rounded, _lengths(rest) + np.float32(4.0 * _ROUNDING) * _lengths(vectors)


def _lengths(vectors: F32) -> F32:
    lengths: F32 = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return lengths


def _as_float32(low: F64, high: F64) -> tuple[AnyArray, AnyArray]:
    """Rounded outwards, so that a comparison in float32 stays on the safe side."""
    down = np.nextafter(low.astype(np.float32), np.float32(-np.inf))
    up = np.nextafter(high.astype(np.float32), np.float32(np.inf))
    return down, up


def _longest(vectors: F32) -> float:
    return max(float(_lengths(vectors[block]).max()) for block in _blocks(len(vectors)))


def _blocks(count: int) -> list[slice]:
    """Slices of rows that stay in the cache of one core while they are worked on."""
    require(count > 0, "there are no vectors to compare.")
    return [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
