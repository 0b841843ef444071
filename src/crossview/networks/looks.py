"""Two looks at one pair: the pair itself, and its transformed positives (ConGeo, SinGeo).

Mi et al., ECCV 2024; Chen et al., CVPR 2026. Both views are mirrored and turned alike, as in
Sample4Geo; the second look then shows a sector of the panorama and the picture from above turned.

Two readings differ in what the pair's quarter turn does to the second look. "release", as the
authors' code: the sector is cut first and its columns are then rolled within it, which tears it
apart, and the second picture from above does not turn along. "intent": the turn comes first, so
that the sector is whole and the positives are turned against their own pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crossview.arrays import U8
from crossview.errors import InvalidValue, require
from crossview.pairs.batch import PairPixels, Views
from crossview.views.colour import augment_photometric
from crossview.views.crops import (
    RANDOM_FOV_DEG,
    choose_quarter_turns,
    crop_view,
    draw_fov,
    find_authors_sector,
    turn_circle,
    turn_image,
    turn_quarters,
)
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import mirror_pair, turn_pair

READINGS = ("intent", "release")
FROM_ABOVE = ("quarters", "circle", "turned", "photometric")
AERIAL_GRID = 0.4  # share of holes of a grid dropout from above; on the ground 0.5


@dataclass(frozen=True, kw_only=True)
class Looks:
    """How the second look is made; angles in degrees, probabilities in [0, 1]."""

    theta_deg: float  # field of view of the second ground picture; 361: drawn anew (views.crops)
    from_above: str = "quarters"  # T_s3; "circle" T_s1, "turned" T_s2, "photometric": colours only
    keep: float = 1.0  # probability that T_s3 does not turn
    half_turns: bool = False  # T_s3 also turns by 180 degrees, as the paper says and the code not
    phi_deg: float = 0.0  # angle of T_s1 and T_s2
    reading: str = "intent"
    mirror: float = 0.5
    turn: float = 0.75
    colour: float = 1.0

    def __post_init__(self) -> None:
        if self.reading not in READINGS or self.from_above not in FROM_ABOVE:
            raise InvalidValue(
                f"no looks {self.reading!r}, {self.from_above!r}.\n"
                f"Readings: {', '.join(READINGS)}; from above: {', '.join(FROM_ABOVE)}."
            )
        require(
            0 < self.theta_deg <= 360 or self.theta_deg == RANDOM_FOV_DEG,
            f"theta must lie in (0, 360], or be {RANDOM_FOV_DEG:g}, got {self.theta_deg}.",
        )
        for name in ("keep", "mirror", "turn"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is a probability, got {value}.")


def two_looks(
    pair: PairPixels, looks: Looks, views: Views, rng: np.random.Generator
) -> tuple[PairPixels, PairPixels]:
    """The pair and its positives, as ``views`` lay them out.

    A photo is neither turned nor cut: its second look is another photo of the place
    (``pair.companion``), or its mirror image where there is none.
    """
    if rng.random() < looks.mirror:
        pair = _mirrored(pair)
    panorama = pair.fov_deg >= 360.0
    quarters = int(rng.integers(1, 4)) if panorama and rng.random() < looks.turn else 0
    first = _turned(pair, quarters)
    base = first if looks.reading == "intent" else pair
    after = 0 if looks.reading == "intent" else quarters
    if panorama:
        second = _sector(base, looks, views.ground, after, rng)
    else:
        second = _other_photo(first, looks, rng)
    side_px = float(min(base.aerial.shape[:2]))
    if not views.aerial.whole:
        side_px = min(side_px, views.aerial.required_footprint_m / pair.metres_per_px)
    above = _from_above(base.aerial, looks, side_px, rng)
    second = replace(
        second, aerial=augment_photometric(above, rng, looks.colour, grid_ratio=AERIAL_GRID)
    )
    return coloured(first, looks.colour, rng), second


def coloured(pair: PairPixels, strength: float, rng: np.random.Generator) -> PairPixels:
    """Photometric changes of both sides, each on its own."""
    return replace(
        pair,
        ground=augment_photometric(pair.ground, rng, strength),
        aerial=augment_photometric(pair.aerial, rng, strength, grid_ratio=AERIAL_GRID),
        companion=None,
    )


def seen_sector(
    pair: PairPixels, theta_deg: float, spec: ViewSpec, rng: np.random.Generator
) -> PairPixels:
    """The pair as a camera of random heading and ``theta_deg`` sees it; laid out as ``spec`` says.

    The heading is a whole degree, as the authors draw it. A padded sector lies in the middle.
    """
    return _laid_out(pair, draw_fov(theta_deg, rng), spec, float(rng.integers(360)), None)


def _sector(
    pair: PairPixels, looks: Looks, spec: ViewSpec, rolled: int, rng: np.random.Generator
) -> PairPixels:
    """The second ground picture; ``rolled`` quarters within the sector (the release's reading)."""
    pair = replace(pair, ground=augment_photometric(pair.ground, rng, looks.colour), companion=None)
    theta = draw_fov(looks.theta_deg, rng)
    angle = float(rng.integers(360))
    anywhere = int(rng.integers(360)) if looks.reading == "release" else None
    seen = _laid_out(pair, theta, spec, angle, anywhere)
    columns = rolled * (spec.width_px // 4)
    return replace(seen, ground=np.roll(seen.ground, -columns, axis=1)) if columns else seen


def _laid_out(
    pair: PairPixels, theta_deg: float, spec: ViewSpec, angle_deg: float, anywhere: int | None
) -> PairPixels:
    """The panorama cut for an angle, and padded sectors begun ``anywhere`` (degrees) if given."""
    kept = find_authors_sector(spec.width_px, theta_deg, angle_deg)
    first_px = None if anywhere is None else int(anywhere / 360.0 * spec.width_px)
    seen = crop_view(pair.ground, spec, theta_deg, kept.heading_deg, first_px=first_px)
    heading = pair.heading_deg + seen.heading_deg
    return replace(
        pair,
        ground=np.ascontiguousarray(seen.pixels),
        fov_deg=theta_deg,
        heading_deg=heading,
    )


def _from_above(aerial: U8, looks: Looks, side_px: float, rng: np.random.Generator) -> U8:
    if looks.from_above == "quarters":
        quarters = choose_quarter_turns(looks.keep, float(rng.random()), looks.half_turns)
        return turn_quarters(aerial, quarters)
    if looks.from_above == "circle":
        return turn_circle(aerial, looks.phi_deg, side_px)
    return turn_image(aerial, looks.phi_deg) if looks.from_above == "turned" else aerial


def _other_photo(pair: PairPixels, looks: Looks, rng: np.random.Generator) -> PairPixels:
    other = pair.companion or replace(pair, ground=np.ascontiguousarray(pair.ground[:, ::-1]))
    return replace(
        other, ground=augment_photometric(other.ground, rng, looks.colour), companion=None
    )


def _mirrored(pair: PairPixels) -> PairPixels:
    ground, aerial = mirror_pair(pair.ground, pair.aerial)
    other = _mirrored(pair.companion) if pair.companion is not None else None
    return replace(
        pair, ground=ground, aerial=aerial, heading_deg=-pair.heading_deg, companion=other
    )


def _turned(pair: PairPixels, quarters: int) -> PairPixels:
    if not quarters:
        return pair
    ground, aerial = turn_pair(pair.ground, pair.aerial, quarters)
    return replace(pair, ground=ground, aerial=aerial)
