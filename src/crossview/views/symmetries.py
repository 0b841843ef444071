"""The eight layouts of a place: both views mirrored, then turned, so that they stay a pair.

GeoDTR's layout simulation (arXiv 2212.04074, section "LS"; GeoDTR+ keeps it): the symmetries of the
square, each with probability 1/8. Column counts are those of the released code, where the two
versions differ when 4 does not divide the width. Written from that description, not from the code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossview.errors import require

Image = TypeVar("Image", bound=NDArray[Any])
Turn = Literal["none", "left", "right", "back"]
Strength = Literal["strong", "weak", "none"]

TURNS: tuple[Turn, ...] = ("none", "left", "right", "back")
_QUARTERS: dict[Turn, int] = {"none": 0, "right": 1, "back": 2, "left": 3}  # counter-clockwise


@dataclass(frozen=True)
class Symmetry:
    """Mirror left and right, then turn: "right" turns the aerial picture counter-clockwise."""

    mirror: bool = False
    turn: Turn = "none"


def symmetries(strength: Strength) -> tuple[Symmetry, ...]:
    """All that ``strength`` allows: eight (strong), the mirror only (weak), or none; identity 1st.

    Raises InvalidValue for another word.
    """
    known: dict[Strength, tuple[Turn, ...]] = {"strong": TURNS, "weak": ("none",), "none": ()}
    require(strength in known, f"layout must be strong, weak or none, got {strength!r}.")
    turns = known[strength]
    return tuple(Symmetry(m, t) for m in (False, True) for t in turns) or (Symmetry(),)


def simulated(
    ground: Image,
    aerial: Image,
    change: Symmetry,
    *,
    polar: bool,
    rounding: Literal["geodtr", "geodtr-plus"] = "geodtr-plus",
) -> tuple[Image, Image]:
    """Panorama [h, W, C] and aerial view in another layout; new arrays.

    ``polar``: the aerial view is unrolled, [h, W, C], and changes as the panorama does; else it is
    [S, S, C]. A quarter is ``W / 4`` columns; "geodtr" and "geodtr-plus" round it as released.
    """
    if change.mirror:
        ground, aerial = ground[:, ::-1], aerial[:, ::-1]  # type: ignore[assignment]
    if polar:
        aerial = _rolled(aerial, change.turn, rounding)
    else:
        aerial = np.rot90(aerial, _QUARTERS[change.turn])
    ground = _rolled(ground, change.turn, rounding)
    return np.ascontiguousarray(ground), np.ascontiguousarray(aerial)  # type: ignore[return-value]


def first_column(turn: Turn, width: int, rounding: Literal["geodtr", "geodtr-plus"]) -> int:
    """The column of the old panorama that comes first in the new one."""
    if turn == "left":
        exact = 0.75 * width
        return int(exact) if rounding == "geodtr" else math.ceil(exact)
    return {"none": 0, "right": int(0.25 * width), "back": int(0.5 * width)}[turn]


def _rolled(image: Image, turn: Turn, rounding: Literal["geodtr", "geodtr-plus"]) -> Image:
    rolled: Any = np.roll(image, -first_column(turn, image.shape[1], rounding), axis=1)
    return rolled  # type: ignore[no-any-return]
