"""How a picture file becomes RGB: one rule, for photos and imagery, for training and the index.

* upright, by the orientation in EXIF (except georeferenced rasters, placed by their stored rows);
* grey becomes three equal colours; where the file says that 0 is white, it is inverted;
* more than 8 bits a channel: the upper 8 of those that the file uses (12 of 16 stay 12);
* palettes, CMYK and other colour models by their tables or formulae;
* alpha is kept apart: for an index, pixels at most half opaque are no data; a photo shows the mean
  colour behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base

from crossview.arrays import U8
from crossview.errors import BadImage

if TYPE_CHECKING:
    from PIL import Image

BACKDROP = (124, 116, 104)  # behind transparent pixels: ImageNet's mean colour
OPAQUE = 128  # least alpha of a pixel that counts as data for an index
_STRIP_PX = 1 << 20  # converted together, so that little memory is needed beside the picture
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_MIN_IS_WHITE = 0  # PhotometricInterpretation
_INVERSE = {6: 8, 8: 6}  # of an orientation; the others are their own


def orient_pixels(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of stored pixels [H, W, ...] as EXIF's ``orientation`` 1 to 8 shows them."""
    across = np.swapaxes(pixels, 0, 1) if orientation >= 5 else pixels
    if orientation in (2, 6):
        return across[:, ::-1]
    if orientation in (3, 7):
        return across[::-1, ::-1]
    return across[::-1] if orientation in (4, 8) else across


def convert_to_rgb_alpha(image: Image.Image, orientation: int = 1) -> tuple[U8, U8 | None]:
    """Upright RGB [H, W, 3] and alpha [H, W] of a loaded Pillow image; None: all is opaque.

    Raises :class:`BadImage` for numbers that are not colours.
    """
    _require_colours(image)
    width, height = image.size
    turned = orientation >= 5
    shape = (width, height) if turned else (height, width)
    transparent = image.mode in _ALPHA_MODES or "transparency" in image.info
    rgb = np.empty((*shape, 3), np.uint8)
    alpha = np.empty(shape, np.uint8) if transparent else None
    back = _INVERSE.get(orientation, orientation)
    rgb_stored = orient_pixels(rgb, back)
    alpha_stored = None if alpha is None else orient_pixels(alpha, back)
    shift = _find_shift(image)
    rows = max(1, _STRIP_PX // width)
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        strip = image.crop((0, part.start, width, part.stop))
        if shift is not None:
            rgb_stored[part] = _take_upper_bits(
                np.asarray(strip), shift, white=_is_zero_white(image)
            )
        elif alpha_stored is None:
            rgb_stored[part] = np.asarray(strip.convert("RGB"))
        else:
            four = np.asarray(strip.convert("RGBA"))
            rgb_stored[part], alpha_stored[part] = four[..., :3], four[..., 3]
    return rgb, alpha


def blend_backdrop(rgb: U8, alpha: U8 | None) -> U8:
    """Blend the mean colour behind transparent pixels."""
    if alpha is None:
        return rgb
    rows = max(1, _STRIP_PX // rgb.shape[1])
    behind = np.array(BACKDROP, np.uint32)
    for top in range(0, len(rgb), rows):
        part = slice(top, top + rows)
        share = alpha[part, :, None].astype(np.uint32)
        mixed = rgb[part] * share + behind * (255 - share)
        rgb[part] = (mixed + 127) // 255
    return rgb


def invert_greys(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Invert the stored greys of a file that says that 0 is white."""
    return np.asarray((1 << bits) - 1 - values.astype(np.int64), values.dtype)


def _require_colours(image: Image.Image) -> None:
    if image.mode == "F":
        raise BadImage("holds floating-point numbers, which are not colours.")
    tags = getattr(image, "tag_v2", {})
    if (
        tags.get(Base.PlanarConfiguration, 1) == 2
        and max(tags.get(Base.BitsPerSample, (8,))) > 8
        and image.mode == "RGB"
    ):
        raise BadImage(
            "keeps 16-bit colours in separate planes, which cannot be read.\n"
            "Save it again as an ordinary RGB picture."
        )


def _find_shift(image: Image.Image) -> int | None:
    """How many lower bits of a grey picture to drop; None: it has 8 bits already.

    Greys of 32 bits are treated as 16-bit ones unless they fit 8.
    """
    if not image.mode.startswith("I"):
        return None
    bits = getattr(image, "tag_v2", {}).get(Base.BitsPerSample, (16,))[0]
    if image.mode == "I":
        low, high = image.getextrema()
        return 0 if max(abs(float(low)), float(high)) <= 255 else 8  # type: ignore[arg-type]
    return max(0, int(bits) - 8) if int(bits) <= 16 else 8


def _is_zero_white(image: Image.Image) -> bool:
    """Pillow inverts greys of up to 8 bits itself, but not those of 16."""
    return bool(
        getattr(image, "tag_v2", {}).get(Base.PhotometricInterpretation, 1) == _MIN_IS_WHITE
    )


def _take_upper_bits(values: NDArray[Any], shift: int, *, white: bool) -> U8:
    grey = np.clip(values.astype(np.int64) >> shift, 0, 255).astype(np.uint8)
    return np.repeat((255 - grey if white else grey)[..., None], 3, axis=-1)
