"""Other looks at a picture from above: SinGeo's satellite positives T_s1, T_s2 and T_s3.

Chen et al., CVPR 2026. The picture is square and centred; ``side_px`` is its footprint where it is
larger than that. Deviation: the authors' code of T_s2 turns about the middle of a canvas in whose
corner the picture lies, so that it leaves the middle; here everything turns about the centre, and
what lies beyond the footprint fills the corners where the picture has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import U8
from crossview.errors import require


def circle_turned(image: U8, angle_deg: float, side_px: float) -> U8:
    """T_s1: what lies outside the footprint's inscribed circle black, then turned by the angle."""
    height, width = image.shape[:2]
    down, right = np.ogrid[:height, :width]
    outside = np.hypot(down - (height - 1) / 2, right - (width - 1) / 2) > side_px // 2
    return turned(np.where(outside[..., None], 0, image).astype(np.uint8), angle_deg)


def turned(image: U8, angle_deg: float) -> U8:
    """T_s2: turned counter-clockwise by any angle about the centre, bilinear, same size.

    Corners that the picture does not reach are black.
    """
    import cv2

    height, width = image.shape[:2]
    centre = ((width - 1) / 2.0, (height - 1) / 2.0)
    matrix = cv2.getRotationMatrix2D(centre, angle_deg, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR))


def quarter_turns(keep: float, draw: float, half_turns: bool = False) -> int:
    """T_s3: how many quarters to turn counter-clockwise, for ``draw`` uniform in [0, 1).

    Below ``keep`` none; the rest is shared equally by clockwise (-1) and counter-clockwise (1), as
    in the authors' code, or by these and the half turn, as in the paper.
    """
    require(0.0 <= keep <= 1.0, f"keep is a probability, got {keep}.")
    if draw < keep:
        return 0
    turns = (-1, 2, 1) if half_turns else (-1, 1)
    return turns[min(int((draw - keep) / (1.0 - keep) * len(turns)), len(turns) - 1)]


def quarters_turned(image: NDArray[Any], quarters: int) -> NDArray[Any]:
    """The picture [S, S, C] after quarter turns counter-clockwise: pixels only change places."""
    return np.ascontiguousarray(np.rot90(image, quarters))
