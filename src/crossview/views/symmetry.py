"""Layout changes of both views at once, so that they still show the same place.

Turning an aerial image counter-clockwise by t degrees equals shifting its panorama left by
t / 360 of its width; mirroring both left-right keeps them consistent (GeoDTR, arXiv 2212.04074;
Sample4Geo, ICCV 2023). Arrays are [H, W, C].

The eight layouts of a place are the symmetries of the square: both views mirrored, then turned.
GeoDTR's layout simulation (section "LS"; GeoDTR+ keeps it) draws each with probability 1/8. Column
counts are those of the released code; its two versions differ when 4 does not divide the width.
Written from that description, not from the code.
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


def mirror_pair(ground: Image, aerial: Image) -> tuple[Image, Image]:
    """Mirror both views: east and west change places, north stays."""
    import cv2

    return _contiguous(cv2.flip(ground, 1)), _contiguous(cv2.flip(aerial, 1))


def turn_pair(ground: Image, aerial: Image, quarters: int) -> tuple[Image, Image]:
    """Turn the world by ``quarters`` x 90 degrees counter-clockwise, seen from above.

    The aerial image [S, S, C] turns, the panorama [h, W, C] shifts left by W / 4 per quarter; where
    4 does not divide W, to the nearest column.
    """
    return roll_ground(ground, 90.0 * quarters), _contiguous(np.rot90(aerial, quarters))


def roll_ground(ground: Image, by_deg: float) -> Image:
    """Turn the camera of a panorama [h, W, C] by ``by_deg`` clockwise: columns move left.

    By whole columns, to the nearest.
    """
    return _roll(ground, round(by_deg / 360.0 * ground.shape[1]))


def list_symmetries(strength: Strength) -> tuple[Symmetry, ...]:
    """All that ``strength`` allows: eight (strong), only the mirror (weak), or none; identity 1st.

    Raises InvalidValue for another word.
    """
    turns_of: dict[Strength, tuple[Turn, ...]] = {"strong": TURNS, "weak": ("none",), "none": ()}
    require(strength in turns_of, f"layout must be strong, weak or none, got {strength!r}.")
    turns = turns_of[strength]
    return tuple(Symmetry(m, t) for m in (False, True) for t in turns) or (Symmetry(),)


def apply_symmetry(
    ground: Image,
    aerial: Image,
    change: Symmetry,
    *,
    polar: bool,
    rounding: Literal["geodtr", "geodtr-plus"] = "geodtr-plus",
) -> tuple[Image, Image]:
    """Bring a panorama [h, W, C] and its aerial view into another layout; new arrays.

    ``polar``: the aerial view is unrolled, [h, W, C], and changes as the panorama does; else it is
    [S, S, C]. A quarter is ``W / 4`` columns; "geodtr" and "geodtr-plus" round it as released.
    """
    if change.mirror:
        ground, aerial = ground[:, ::-1], aerial[:, ::-1]  # type: ignore[assignment]
    if polar:
        aerial = _roll(aerial, find_first_column(change.turn, aerial.shape[1], rounding))
    else:
        aerial = np.rot90(aerial, _QUARTERS[change.turn])
    ground = _roll(ground, find_first_column(change.turn, ground.shape[1], rounding))
    return np.ascontiguousarray(ground), np.ascontiguousarray(aerial)  # type: ignore[return-value]


def find_first_column(turn: Turn, width: int, rounding: Literal["geodtr", "geodtr-plus"]) -> int:
    """The column of the old panorama that comes first in the new one."""
    if turn == "left":
        exact = 0.75 * width
        return int(exact) if rounding == "geodtr" else math.ceil(exact)
    return {"none": 0, "right": int(0.25 * width), "back": int(0.5 * width)}[turn]


def _roll(image: Image, columns: int) -> Image:
    rolled: Any = np.roll(image, -columns, axis=1)
    return rolled  # type: ignore[no-any-return]


def _contiguous(image: Any) -> Any:
    return np.ascontiguousarray(image)
