"""Layout simulation and semantic augmentation (LS) of GeoDTR and GeoDTR+, on finished views.

A pair in another layout and other colours, that goes on showing one place (arXiv 2212.04074;
2308.09624). What a paper makes of these steps is on its page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from crossview.pairs.batch import PairPixels
from crossview.views import colour as colours
from crossview.views.aerial import make_aerial_view
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import Strength, Symmetry, apply_symmetry, list_symmetries


def check_strengths(layout: Strength, semantic: colours.Strength) -> None:
    """Refuse words that are no strength of the layout simulation or of the colours."""
    list_symmetries(layout)
    colours.find_semantic_strength(semantic)


def finish_aerial(pair: PairPixels, spec: ViewSpec) -> PairPixels:
    """The pair with its aerial picture cut to ``spec`` and resized or unrolled."""
    if pair.viewed or spec.whole:
        return replace(pair, viewed=True)
    return replace(
        pair, aerial=make_aerial_view(pair.aerial, pair.metres_per_px, spec), viewed=True
    )


def list_layouts(pair: PairPixels, strength: Strength) -> Sequence[Symmetry]:
    """The layouts that a pair may get, the identity first. Photos are mirrored, never turned."""
    photo = pair.fov_deg < 360.0
    return list_symmetries("weak" if photo and strength == "strong" else strength)


def draw_layout(layouts: Sequence[Symmetry], rng: np.random.Generator) -> Symmetry:
    """One of these, all equally likely."""
    return layouts[int(rng.integers(len(layouts)))]


def change_layout(
    pair: PairPixels,
    layout: Symmetry,
    *,
    polar: bool,
    rounding: Literal["geodtr", "geodtr-plus"] = "geodtr-plus",
) -> PairPixels:
    """Both views in another layout. A mirror turns the heading's sign; a quarter turn leaves it."""
    ground, aerial = apply_symmetry(
        pair.ground, pair.aerial, layout, polar=polar, rounding=rounding
    )
    heading = -pair.heading_deg if layout.mirror else pair.heading_deg
    return replace(pair, ground=ground, aerial=aerial, heading_deg=heading)


def change_colours(
    pair: PairPixels, strength: colours.Strength, rng: np.random.Generator
) -> PairPixels:
    """Both views in other colours, each on its own."""
    ground = colours.augment_semantic(pair.ground, rng, strength)
    return replace(pair, ground=ground, aerial=colours.augment_semantic(pair.aerial, rng, strength))
