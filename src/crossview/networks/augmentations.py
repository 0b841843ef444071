"""LS and CHSG: a pair in another layout and other colours, or two copies that are hard negatives.

Layout simulation and semantic augmentation of GeoDTR (arXiv 2212.04074), and the contrastive hard
samples generation of GeoDTR+ (arXiv 2308.09624, section IV and Table VIII): both copies get one
layout, the second then gets another one on top, never the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from crossview.errors import require
from crossview.pairs.batch import PairPixels
from crossview.views import colour as colours
from crossview.views.aerial import make_aerial_view
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import Strength, Symmetry, apply_symmetry, list_symmetries

Other = Literal["other", "same"]


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What is drawn for a pair; the defaults are CHSG as published ("L + S")."""

    polar: bool
    layout: Strength = "strong"
    semantic: colours.Strength = "strong"
    copies: int = 2  # 1: LS
    copies_layout: Other = "other"  # "same": both copies have one layout
    copies_semantic: Other = "other"  # "same": both copies have the same colours
    rounding: Literal["geodtr", "geodtr-plus"] = "geodtr-plus"

    def __post_init__(self) -> None:
        list_symmetries(self.layout)
        colours.find_semantic_strength(self.semantic)
        for name in ("copies_layout", "copies_semantic"):
            said = getattr(self, name)
            require(said in ("other", "same"), f"{name} must be other or same, got {said!r}.")


def viewed(pair: PairPixels, spec: ViewSpec) -> PairPixels:
    """The pair with its aerial picture cut to ``spec`` and resized or unrolled."""
    if pair.viewed or spec.whole:
        return replace(pair, viewed=True)
    return replace(
        pair, aerial=make_aerial_view(pair.aerial, pair.metres_per_px, spec), viewed=True
    )


def simulate(pair: PairPixels, how: Simulation, rng: np.random.Generator) -> tuple[PairPixels, ...]:
    """One or two copies of a viewed pair. Photos are mirrored, never turned."""
    allowed = list_symmetries(
        "weak" if pair.fov_deg < 360.0 and how.layout == "strong" else how.layout
    )
    layout = _drawn(allowed, rng)
    first = _recoloured(pair, how, rng)
    if how.copies == 1:
        return (_relaid(first, layout, how),)
    second = first if how.copies_semantic == "same" else _recoloured(pair, how, rng)
    second = _relaid(second, layout, how)
    if how.copies_layout == "other" and len(allowed) > 1:
        second = _relaid(second, _drawn(allowed[1:], rng), how)
    return _relaid(first, layout, how), second


def _drawn(allowed: Sequence[Symmetry], rng: np.random.Generator) -> Symmetry:
    return allowed[int(rng.integers(len(allowed)))]


def _recoloured(pair: PairPixels, how: Simulation, rng: np.random.Generator) -> PairPixels:
    ground = colours.augment_semantic(pair.ground, rng, how.semantic)
    return replace(
        pair, ground=ground, aerial=colours.augment_semantic(pair.aerial, rng, how.semantic)
    )


def _relaid(pair: PairPixels, change: Symmetry, how: Simulation) -> PairPixels:
    """A mirror turns the heading's sign; a quarter turn of both views leaves it."""
    ground, aerial = apply_symmetry(
        pair.ground, pair.aerial, change, polar=how.polar, rounding=how.rounding
    )
    heading = -pair.heading_deg if change.mirror else pair.heading_deg
    return replace(pair, ground=ground, aerial=aerial, heading_deg=heading)
