"""Curricula: how a number of the training moves from its easy to its hard value.

SinGeo (Chen et al., CVPR 2026): eta(x) = first + (last - first) f(x), with x the share of the
training that is done, in (0, 1]. The paper trains with the linear f; the other orders are those of
its supplement and of the authors' code. "fixed", "uniform" and "log-uniform" follow no order: they
are the controls that tell the order of a curriculum from its mere coverage of hard values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossview.errors import InvalidValue, require

ORDERED = ("linear", "fast-slow", "slow-fast", "power")
UNORDERED = ("fixed", "uniform", "log-uniform")
SHAPES = (*ORDERED, *UNORDERED)


@dataclass(frozen=True, kw_only=True)
class Course:
    """From ``first`` to ``last`` by one of SHAPES; ``sharpness`` is the authors' lambda (or power).

    "fixed" is always ``last``. "uniform" and "log-uniform" draw between both ends at every moment.
    """

    shape: str
    first: float
    last: float
    sharpness: float = 5.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InvalidValue(
                f"no curriculum of shape {self.shape!r}.\nShapes: {', '.join(SHAPES)}."
            )
        require(self.sharpness > 0, f"sharpness must be above 0, got {self.sharpness}.")
        require(
            self.shape != "log-uniform" or min(self.first, self.last) > 0,
            f"log-uniform draws need ends above 0, got {self.first} and {self.last}.",
        )

    def at(self, share: float, rng: np.random.Generator) -> float:
        """The value when ``share`` in [0, 1] of the training is done; only UNORDERED draw."""
        if self.shape == "fixed" or self.first == self.last:
            return self.last
        if self.shape == "uniform":
            low, high = sorted((self.first, self.last))
            return float(rng.uniform(low, high))
        if self.shape == "log-uniform":
            low, high = sorted((math.log(self.first), math.log(self.last)))
            return math.exp(rng.uniform(low, high))
        return self.first + (self.last - self.first) * progress(self.shape, share, self.sharpness)


def progress(shape: str, share: float, sharpness: float = 5.0) -> float:
    """f(share) of an ordered shape, from 0 at 0 to 1 at 1; with n epochs, share = t / n, t from 1.

    fast-slow (1 - exp(-s x)) / (1 - exp(-s)); slow-fast (exp(s x) - 1) / (exp(s) - 1); power x^s.
    """
    require(0.0 <= share <= 1.0, f"a share of the training lies in [0, 1], got {share}.")
    if shape == "linear":
        return share
    if shape == "fast-slow":
        return math.expm1(-sharpness * share) / math.expm1(-sharpness)
    if shape == "slow-fast":
        return math.expm1(sharpness * share) / math.expm1(sharpness)
    if shape == "power":
        return float(share**sharpness)
    raise InvalidValue(f"{shape!r} has no order; ordered: {', '.join(ORDERED)}.")
