"""Photos as JPEG files with the EXIF a camera would write; the place stays out of them."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path

from crossview.arrays import U8
from crossview.files import atomic_write

_FILM_WIDTH_MM = 36.0  # of the 35 mm frame that focal lengths are compared on


def write_photo(path: Path, picture: U8, fov_deg: float) -> None:
    """Write a JPEG; a photo's focal length goes into EXIF, a panorama needs only its shape."""
    from PIL import Image, TiffImagePlugin

    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "crossview", "synthetic town camera"
    if fov_deg < 360.0:
        focal_mm = 0.5 * _FILM_WIDTH_MM / math.tan(math.radians(fov_deg) / 2.0)
        details = exif.get_ifd(0x8769)
        exact = Fraction(focal_mm).limit_denominator(1000)
        details[0x920A] = TiffImagePlugin.IFDRational(exact.numerator, exact.denominator)
        details[0xA405] = round(focal_mm)
        # pixels per millimetre of the sensor, so that the exact focal length counts
        per_mm = Fraction(picture.shape[1] / _FILM_WIDTH_MM).limit_denominator(1000)
        details[0xA20E] = TiffImagePlugin.IFDRational(per_mm.numerator * 10, per_mm.denominator)
        details[0xA210] = 3  # centimetres
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=90, exif=exif)
    atomic_write(path, data.getvalue())
