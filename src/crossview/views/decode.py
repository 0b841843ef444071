"""From files to upright RGB pixels, or one clear sentence why not. Nothing is decoded in part."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from crossview.arrays import U8
from crossview.errors import BadImage
from crossview.geo.points import LatLon
from crossview.views import metadata
from crossview.views.jpeg import turbo_pixels

Kind = Literal["panorama", "perspective"]

MAX_PIXELS = 100_000_000
_MAX_BYTES = 1 << 30
_LEAST_PX, _LEAST_PHOTO_PX = 2, 16
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_BACKDROP = (124, 116, 104)  # behind transparent pixels: ImageNet's mean colour
_READABLE = "crossview reads JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP and GIF."


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo and what its file says of itself. Pixels are upright (EXIF orientation)."""

    pixels: U8 = field(repr=False)  # [H, W, 3]
    path: str
    sha256: str  # of the file
    kind: Kind
    fov_deg: float | None = None  # horizontal; None if the file does not tell
    horizon_px: float | None = None  # row of the horizon, where a panorama's file tells
    gps: LatLon | None = None  # shown, never used unless asked
    gps_heading_deg: float | None = None  # of the picture's middle, clockwise from true north


def load_photo(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> Photo:
    """Read a photo and its metadata; :class:`BadImage` names the file and the reason.

    It is a panorama if GPano says so or if it is twice as wide as high, else a perspective photo.
    ``at_least``: as in :func:`read_rgb`.
    """
    with _named(str(path)):
        data = _bytes(Path(path))
    return photo_of_bytes(data, str(path), max_pixels=max_pixels, at_least=at_least)


def photo_of_bytes(
    data: bytes,
    name: str,
    *,
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
) -> Photo:
    """:func:`load_photo` of a file's content, for what never was on a disk."""
    with _named(name), _opened(data, max_pixels) as image:
        exif, xmp = _exif(image), _xmp(image)
        pixels = _rgb(image, data, _LEAST_PHOTO_PX, at_least)
        decoded = (pixels.shape[1], pixels.shape[0])
        whole = sorted(decoded) == sorted(image.size)
        size = decoded if whole else image.size  # a picture to be turned upright is whole
        shrunk = decoded[1] / size[1]
        fov, (place, heading) = metadata.photo_fov_deg(exif, size), metadata.gps(exif)
    panorama = metadata.gpano(xmp, size) or _by_shape(size)
    if panorama and panorama.heading_deg is not None:
        heading = panorama.heading_deg
    return Photo(
        pixels=pixels,
        path=name,
        sha256=hashlib.sha256(data).hexdigest(),
        kind="panorama" if panorama else "perspective",
        fov_deg=panorama.fov_deg if panorama else fov,
        horizon_px=_times(panorama.horizon_px, shrunk) if panorama else None,
        gps=place,
        gps_heading_deg=heading,
    )


def photo_of_pixels(pixels: U8, name: str = "pixels") -> Photo:
    """A :class:`Photo` of uint8 [H, W, 3] that come from no file; twice as wide: a panorama."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise BadImage(
            f"a picture must be uint8 [height, width, 3] in RGB, got {pixels.dtype} "
            f"{list(pixels.shape)}."
        )
    size = (pixels.shape[1], pixels.shape[0])
    _check_least(size, _LEAST_PHOTO_PX)
    panorama = _by_shape(size)
    return Photo(
        pixels=pixels,
        path=name,
        sha256=hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest(),
        kind="panorama" if panorama else "perspective",
        fov_deg=panorama.fov_deg if panorama else None,
    )


def read_rgb(
    source: str | Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
) -> U8:
    """Any picture as upright RGB uint8 [H, W, 3]; ``source`` is a path or the bytes of a file.

    More than ``max_pixels`` is refused before decoding. 16 bits keep their upper 8; transparent
    pixels show the mean colour behind; of an animation the first frame counts. ``at_least`` (rows,
    columns): a JPEG may be decoded smaller, with at least so many (``views.jpeg``); None: exact.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    with _named(name):
        data = source if isinstance(source, bytes) else _bytes(Path(source))
        with _opened(data, max_pixels) as image:
            return _rgb(image, data, _LEAST_PX, at_least)


def picture_size(path: str | Path) -> tuple[int, int]:
    """(rows, columns) that :func:`read_rgb` will give; of the pixels nothing is read."""
    with _named(str(path)):
        try:
            with Path(path).open("rb") as stream, Image.open(stream, formats=_FORMATS) as image:
                columns, rows = image.size
                turned = _exif(image).get(0x0112, 1) in (5, 6, 7, 8)
        except Exception:  # whatever it is, reading all of it says it better
            return read_rgb(path).shape[:2]
    return (columns, rows) if turned else (rows, columns)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except BadImage as problem:
        raise BadImage(f"{name}: {problem}") from problem.__cause__


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise BadImage("is a folder, not a photo.")
        if path.stat().st_size > _MAX_BYTES:
            raise BadImage("is larger than 1 GiB; that is no photo.")
        return path.read_bytes()
    except FileNotFoundError as problem:
        raise BadImage("no such file.") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise BadImage(f"cannot be read: {reason}.") from problem


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The header read, the size checked; whatever fails inside becomes :class:`BadImage`."""
    if not data:
        raise BadImage("is empty (0 bytes).")
    _refuse_other_kinds(data)
    formats = (*_FORMATS, "HEIF") if _is_heif(data) and _heif_ready() else _FORMATS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes: the limit is ours
            with Image.open(BytesIO(data), formats=formats) as image:
                _check_most(image.size, max_pixels)
                yield image
    except BadImage:
        raise
    except Image.DecompressionBombError as problem:
        raise BadImage(_too_large("", max_pixels)) from problem
    except UnidentifiedImageError as problem:
        raise BadImage(f"is not a picture, or is damaged at its start.\n{_READABLE}") from problem
    except MemoryError as problem:
        raise BadImage("needs more memory than there is.") from problem
    except Exception as problem:  # decoders raise OSError, SyntaxError, ValueError, struct.error...
        raise BadImage(f"is truncated or damaged ({problem}).") from problem


def _refuse_other_kinds(data: bytes) -> None:
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")) or b"<svg" in start:
        raise BadImage("is a drawing (SVG), not a photo. Export it as PNG or JPEG first.")


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def _heif_ready() -> bool:
    try:
        import pillow_heif
    except ImportError as problem:
        raise BadImage(
            "is a HEIC photo, which needs one more package: pip install crossview[heif]"
        ) from problem
    pillow_heif.register_heif_opener()
    return True


def _too_large(size: str, max_pixels: int) -> str:
    return (
        f"is too large{size}: at most {max_pixels / 1e6:g} million pixels are allowed.\n"
        "Save a smaller copy of it."
    )


def _check_most(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise BadImage(_too_large(f" ({size[0]} x {size[1]} pixels)", max_pixels))


def _check_least(size: tuple[int, int], least: int) -> None:
    if min(size) < least:
        raise BadImage(
            f"is too small: {size[0]} x {size[1]} pixels, at least {least} x {least} are needed."
        )


def _rgb(image: Image.Image, data: bytes, least: int, at_least: tuple[int, int] | None) -> U8:
    _check_least(image.size, least)
    if (pixels := turbo_pixels(data, image, at_least)) is not None:
        return pixels
    image.load()
    upright = _upright(image)
    if upright.mode.startswith("I"):
        upright = _eight_bits(upright)
    if upright.mode == "F":
        raise BadImage("holds floating-point numbers, which are no colours.")
    if upright.mode in ("PA", "LA", "La", "RGBa") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
    if upright.mode == "RGBA":
        backdrop = Image.new("RGBA", upright.size, (*_BACKDROP, 255))
        upright = Image.alpha_composite(backdrop, upright)
    return np.array(upright.convert("RGB"), dtype=np.uint8)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits; 32-bit greys are taken for 16-bit ones unless they fit 8."""
    values = np.asarray(image).astype(np.int64)
    if values.max(initial=0) > 255 or image.mode != "I":
        values >>= 8
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF is no reason to refuse intact pixels
        return image


def _exif(image: Image.Image) -> Any:
    try:
        return image.getexif()
    except Exception:
        return Image.Exif()


def _xmp(image: Image.Image) -> str:
    for key in ("xmp", "XML:com.adobe.xmp"):
        text = image.info.get(key)
        if isinstance(text, bytes):
            return text.decode("utf-8", "replace")
        if isinstance(text, str):
            return text
    return ""


def _times(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def _by_shape(size: tuple[int, int]) -> metadata.Panorama | None:
    """Twice as wide as high: an equirectangular picture of everything around."""
    width, height = size
    if abs(width - 2 * height) > max(2, width // 200):
        return None
    return metadata.Panorama(fov_deg=360.0, horizon_px=height / 2.0, heading_deg=None)
