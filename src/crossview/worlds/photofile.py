"""Pictures of towns as files that say so: EXIF of a camera that there is not, GPano; no place.

A list of such pictures may lie anywhere, without a note beside it: what is trained on them must
still say that it knows nothing of Earth.
"""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path

from crossview.arrays import U8
from crossview.files import atomic_write

SYNTHETIC_TAG = "CROSSVIEW_SYNTHETIC"  # of GeoTIFF: the town's version
ATTRIBUTION = "Synthetic town made by crossview; not a picture of Earth"
GDAL_METADATA = 0xA480  # the TIFF tag that holds it
_MAKE, _MODEL, _COPYRIGHT = 0x010F, 0x0110, 0x8298
_CAMERA = ("crossview", "synthetic town camera")
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_FILM_WIDTH_MM = 36.0  # of the 35 mm frame that focal lengths are compared on


def write_photo(path: Path, picture: U8, fov_deg: float) -> None:
    """Write a JPEG; a photo's focal length goes into EXIF, a panorama's extent into GPano."""
    from PIL import Image, TiffImagePlugin

    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[_MAKE], exif[_MODEL] = _CAMERA
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
    described = {} if fov_deg < 360.0 else {"xmp": _whole_sphere(*image.size)}
    image.save(data, format="JPEG", quality=90, exif=exif, **described)
    atomic_write(path, data.getvalue(), durable=False)


def marked(jpeg: bytes) -> bytes:
    """A JPEG file without metadata, with the mark of a town's picture put in front."""
    from PIL import Image

    exif = Image.Exif()
    exif[_MAKE], exif[_MODEL] = _CAMERA
    content = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


def says_synthetic(path: Path) -> bool:
    """Whether a picture's own metadata say that it was rendered; False where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            exif = image.getexif()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    if (exif.get(_MAKE), exif.get(_MODEL)) == _CAMERA:
        return True
    told = f"{exif.get(_COPYRIGHT, '')} {exif.get(GDAL_METADATA, '')}"
    return ATTRIBUTION in told or SYNTHETIC_TAG in told


def _whole_sphere(width: int, height: int) -> bytes:
    """Photo Sphere XMP of a panorama that shows everything around; its heading stays out."""
    facts = {
        "ProjectionType": "equirectangular",
        "FullPanoWidthPixels": width,
        "FullPanoHeightPixels": height,
        "CroppedAreaImageWidthPixels": width,
        "CroppedAreaImageHeightPixels": height,
        "CroppedAreaLeftPixels": 0,
        "CroppedAreaTopPixels": 0,
    }
    values = " ".join(f'GPano:{name}="{value}"' for name, value in facts.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
        f"{values}/></rdf:RDF></x:xmpmeta>"
    ).encode()
