"""Layout changes of both views at once, so that they go on showing the same place.

Turning an aerial image counter-clockwise by t degrees equals shifting its panorama left by
t / 360 of its width; mirroring both left-right keeps them consistent (``papers``: GeoDTR 2022,
Sample4Geo 2023). The last two axes before the channels are rows and columns: [H, W, C].
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = TypeVar("Image", bound=NDArray[Any])


def mirror_pair(ground: Image, aerial: Image) -> tuple[Image, Image]:
    """Both views as seen in a mirror: east and west change places, north stays."""
    return _contiguous(ground[:, ::-1]), _contiguous(aerial[:, ::-1])


def turn_pair(ground: Image, aerial: Image, quarters: int) -> tuple[Image, Image]:
    """Turn the world by ``quarters`` x 90 degrees counter-clockwise, seen from above.

    The aerial image [S, S, C] turns, the panorama [h, W, C] shifts left by W / 4 per quarter; where
    4 does not divide W, to the nearest column.
    """
    return roll_ground(ground, 90.0 * quarters), _contiguous(np.rot90(aerial, quarters))


def roll_ground(ground: Image, by_deg: float) -> Image:
    """A panorama [h, W, C] as if the camera had turned ``by_deg`` clockwise: columns move left.

    By whole columns, to the nearest.
    """
    return _rolled(ground, round(by_deg / 360.0 * ground.shape[1]))


def _rolled(image: Image, columns: int) -> Image:
    rolled: Any = np.roll(image, -columns, axis=1)
    return rolled  # type: ignore[no-any-return]


def _contiguous(image: Any) -> Any:
    return np.ascontiguousarray(image)
