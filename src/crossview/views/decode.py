"""From files to upright RGB pixels, or one clear sentence why not. Nothing is decoded in part.

JPEG goes through libjpeg-turbo directly. At full size this gives bit for bit what Pillow decodes,
in 2/3 of the time. At smaller sizes the inverse transform of each 8 x 8 block gives 1 to 7 pixels a
side instead of 8 (DCT scaling), which leaves little more than the entropy decoding to do.

Files that people mistake for photos are recognized by content, with advice on what to do.

How a picture file becomes RGB is one rule, for photos and imagery, for training and the index:

* upright, by the orientation in EXIF (except georeferenced rasters, placed by their stored rows);
* grey becomes three equal colours; where the file says that 0 is white, it is inverted;
* more than 8 bits a channel: the upper 8 of those that the file uses (12 of 16 stay 12);
* palettes, CMYK and other colour models by their tables or formulae;
* alpha is kept apart: for an index, pixels at most half opaque are no data; a photo shows the mean
  colour behind them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from mmap import mmap
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from crossview.arrays import U8
from crossview.errors import BadImage, require
from crossview.geo.points import LatLon
from crossview.views.exif import Capture, Heading, PhotoFacts, guess_facts, read_capture, read_facts
from crossview.views.lens import Kind
from crossview.views.sphere import is_tilted, shows_two_fisheyes, turn_upright

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


VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".3gp", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".mpg", ".wmv",
    ".insv", ".360", ".lrv",
)  # fmt: skip
RAW_SUFFIXES = (
    ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".raf", ".orf",
    ".rw2", ".rwl", ".pef", ".srw", ".3fr", ".fff", ".iiq", ".erf", ".kdc", ".dcr", ".mrw",
    ".x3f", ".gpr",
)  # fmt: skip
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_MOST_BRANDS = 32
_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # QuickTime before ftyp
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_RAW_STARTS = (
    b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"IIII",
)  # fmt: skip
_SENSOR = (32803, 34892)  # PhotometricInterpretation: colour filter array, linear raw

_VIDEO = (
    "is a video, not a photo. Take a frame of it, for example:\n"
    "ffmpeg -ss 00:00:05 -i {name} -frames:v 1 -q:v 2 frame.jpg"
)
_SPHERE_VIDEO = (
    "is a 360-degree video in its camera's own format, not a photo.\n"
    "Export it as a flat (equirectangular) video or picture with the camera maker's program first."
)
FLATTEN = "export it as a flat (equirectangular) JPEG with the camera maker's program first"
_FISHEYE = (
    "holds two fisheye pictures in its camera's own format, not a panorama.\n"
    f"{FLATTEN[0].upper()}{FLATTEN[1:]}."
)
_RAW = (
    "is a camera's raw file, not a picture yet.\n"
    "Develop it to JPEG first, with the camera maker's program, darktable or RawTherapee."
)
_SVG = "is a drawing (SVG), not a photo. Export it as PNG or JPEG first."
_JXL = "is a JPEG XL picture, which crossview does not read. Save it as JPEG or PNG first."


MAX_PIXELS = 200_000_000  # phones take 108 million, 360-degree cameras 72
MAX_MEMORY_BYTES = 1_200_000_000  # during decoding; a JPEG that needs more is decoded smaller
MAX_FILE_BYTES = 1 << 30
_LEAST_PX, _LEAST_PHOTO_PX = 2, 16
_START_BYTES = 4096
_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "HEIF": (".heic", ".heif", ".hif"),  # needs the extra `heif`
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
SUFFIXES = tuple(suffix for group in _FORMATS.values() for suffix in group)  # of photos, lower case
READABLE = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF, JPEG 2000 and PPM"
_PEAK_BYTES = {  # of memory for each pixel while it is decoded, as measured
    "JPEG": 8, "MPO": 8, "PNG": 10, "WEBP": 18, "TIFF": 10, "AVIF": 10, "HEIF": 10,
    "JPEG2000": 20, "GIF": 8, "BMP": 11, "PPM": 11,
}  # fmt: skip
_XMP_START, _XMP_EXTENSION = (
    b"http://ns.adobe.com/xap/1.0/\0",
    b"http://ns.adobe.com/xmp/extension/\0",
)
_XMP_EXTENSION_HEADER = len(_XMP_EXTENSION) + 32 + 8  # its name, a digest, its length and offset
PictureSource = str | Path | bytes | U8 | Image.Image
MOST_SCANNED_PX = 600_000_000  # pixels times scans, for files of more than the usual scans
_USUAL_SCANS = 20  # allowed at any size: programs write 10, with four channels 18
Buffer = bytes | mmap
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # except restarts and stuffed bytes
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def explain_refusal(start: bytes, name: str) -> str | None:
    """Why a file that begins with these bytes (at least 1,000) is not a photo; None: it may be.

    The content decides. The suffix of ``name`` only separates kinds that share a container.
    """
    suffix = PurePath(name).suffix.lower()
    if _is_video(start):
        sphere = suffix in (".insv", ".360")
        shown = shlex.quote(PurePath(name).name or "video.mp4")
        return _SPHERE_VIDEO if sphere else _VIDEO.format(name=shown)
    if _is_raw(start, suffix):
        return _RAW
    if suffix == ".insp" and start.startswith(b"\xff\xd8"):
        return _FISHEYE
    text = start[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")) or b"<svg" in text:
        return _SVG
    jxl = start.startswith(b"\xff\x0a") or start[4:12] == b"JXL \r\n\x87\n"
    return _JXL if jxl else None


def is_heif(start: bytes) -> bool:
    """Whether a file is in the format that phones call HEIC."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


def _read_brands(start: bytes) -> set[bytes]:
    """The brands of an ISO media file: its major one and the compatible ones."""
    end = min(int.from_bytes(start[:4], "big"), 16 + 4 * _MOST_BRANDS)
    return {start[8:12], *(start[at : at + 4] for at in range(16, end, 4))}


def _is_video(start: bytes) -> bool:
    brand = start[8:12]
    if start[4:8] == b"ftyp":
        return brand != b"crx " and not _read_brands(start) & (_HEIF_BRANDS | _AVIF_BRANDS)
    if start[4:8] in _BOXES:
        return True
    if start.startswith(b"RIFF"):
        return brand == b"AVI "
    stream = len(start) > 376 and start[0] == start[188] == start[376] == 0x47
    blu_ray = len(start) > 388 and start[4] == start[196] == start[388] == 0x47
    signatures = (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11", b"OggS")
    return stream or blu_ray or start.startswith(signatures)


def _is_raw(start: bytes, suffix: str) -> bool:
    if start[4:12] == b"ftypcrx " or start[6:14] == b"HEAPCCDR" or start.startswith(_RAW_STARTS):
        return True
    if not start.startswith(_TIFF_STARTS):
        return False
    tags = _read_first_tags(start)
    preview = tags.get(Base.NewSubfileType) == 1 and Base.SubIFDs in tags
    sensor = tags.get(Base.PhotometricInterpretation) in _SENSOR
    by_content = start[8:10] == b"CR" or Base.DNGVersion in tags or sensor or preview
    return by_content or suffix in RAW_SUFFIXES


def _read_first_tags(data: bytes) -> dict[int, int]:
    """Tags of a TIFF's first directory with their last 4 bytes as a number."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    at = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[at : at + 2], order)
    tags = {}
    for entry in (data[n : n + 12] for n in range(at + 2, at + 2 + 12 * count, 12)):
        if len(entry) < 12:
            break
        short = int.from_bytes(entry[2:4], order) == 3
        value = entry[8:10] if short else entry[8:12]
        tags[int.from_bytes(entry[:2], order)] = int.from_bytes(value, order)
    return tags


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo and what its file says of itself.

    Pixels are upright (EXIF orientation); so are panoramas whose file gives the tilt of the camera.
    What contradicts the pixels or itself counts as unknown, and the assumptions say so.
    """

    pixels: U8 = field(repr=False)  # [H, W, 3]
    path: str
    sha256: str  # of the file
    kind: Kind
    fov_deg: float | None = None  # horizontal; None if the file does not say
    also_try_fov_deg: tuple[float, ...] = ()  # besides the usual ones, if fov_deg is unknown
    horizon_px: float | None = None  # row of the horizon, if a panorama's file says it
    shrunk: float = 1.0  # rows of ``pixels`` for each row of the upright file
    widened: float = 1.0  # degrees across ``pixels`` for each degree across the file
    gps: LatLon | None = None  # displayed; used only on request
    gps_sigma_m: float | None = None  # how good it is, if the file says it
    heading: Heading | None = None  # of the picture's middle
    view_assumptions: tuple[str, ...] = ()  # on kind and field of view; void if those are stated
    assumptions: tuple[str, ...] = ()  # on everything else

    def upright_fov_deg(self, file_fov_deg: float) -> float:
        """Field of view of ``pixels``, given that of the file, as a person or a list states it.

        A tilted part of a panorama spans more once it is turned upright.
        """
        return min(file_fov_deg * self.widened, 360.0)


def load_photo(
    source: PictureSource,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    max_memory_bytes: int = MAX_MEMORY_BYTES,
    at_least: tuple[int, int] | None = None,
) -> Photo:
    """Read a photo and its metadata; :class:`BadImage` names the file and the reason.

    ``source``: a path, the bytes of a file, a Pillow image (with the metadata that it carries), or
    uint8 pixels [H, W, 3] in RGB. ``name`` stands for what has no path. GPano says whether it is a
    panorama; else a focal length says that it is not; else its shape suggests it, which is a stated
    assumption (``views.exif``). ``at_least``, ``max_...``: as in :func:`read_rgb`.
    """
    if isinstance(source, np.ndarray):
        return make_photo(source, name or "pixels")
    require(
        isinstance(source, str | bytes | os.PathLike | Image.Image),
        f"a photo must be a path, bytes, a Pillow image or pixels, got {type(source).__name__}.",
    )
    limits = _Limits(max_pixels, max_memory_bytes)
    if isinstance(source, Image.Image):
        shown = name or str(getattr(source, "filename", "") or "picture")
        with _name_errors(shown), _guard_decoding():
            limits.check_pixels(source.size)
            return _read_photo(source, None, shown, limits, at_least)
    shown = name or ("picture" if isinstance(source, bytes) else str(source))
    with _name_errors(shown):
        data = source if isinstance(source, bytes) else _read_bytes(Path(source))
        with _open_image(data, shown, limits) as image:
            return _read_photo(image, data, shown, limits, at_least)


def make_photo(pixels: U8, name: str = "pixels") -> Photo:
    """A :class:`Photo` of uint8 pixels [H, W, 3]; if twice as wide as high, a panorama."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise BadImage(
            f"a picture must be uint8 [height, width, 3] in RGB, got {pixels.dtype} "
            f"{list(pixels.shape)}."
        )
    size = (pixels.shape[1], pixels.shape[0])
    _check_least(size, _LEAST_PHOTO_PX)
    return _describe(pixels, name, _hash_pixels(pixels), guess_facts(size), size)


def read_photo_facts(path: str | Path) -> PhotoFacts:
    """What a photo's file says of itself, as :func:`load_photo` uses it; no pixels are decoded."""
    return read_photo_header(path)[0]


def read_photo_header(path: str | Path) -> tuple[PhotoFacts, Capture]:
    """:func:`read_photo_facts`, and when and in what light the photo was taken."""
    limits = _Limits(MAX_PIXELS, MAX_MEMORY_BYTES)
    with _name_errors(str(path)), _open_file(Path(path)) as stream:
        heif = is_heif(stream.read(_START_BYTES)) and _register_heif()
        stream.seek(0)
        with _guard_decoding(), Image.open(stream, formats=_list_formats(heif=heif)) as image:
            limits.check_pixels(image.size)
            exif = _read_exif(image)
            facts = read_facts(exif, _read_xmp(image), _find_upright_size(image))
            return facts, read_capture(exif)


def read_rgb(
    source: str | Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    max_memory_bytes: int = MAX_MEMORY_BYTES,
    at_least: tuple[int, int] | None = None,
) -> U8:
    """Any picture as upright RGB uint8 [H, W, 3]; ``source`` is a path or the bytes of a file.

    The rule is that of photos: transparent pixels show the mean colour, and only the first
    frame of an animation is read. Pictures of more than ``max_pixels``, or that would take more
    than ``max_memory_bytes`` to decode, are refused first. ``at_least`` (rows, columns): a JPEG may
    be decoded smaller, with at least this size; None: exact.
    """
    return blend_backdrop(
        *read_picture(
            source,
            max_pixels=max_pixels,
            max_memory_bytes=max_memory_bytes,
            at_least=at_least,
        )
    )


def read_picture(
    source: str | Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    max_memory_bytes: int = MAX_MEMORY_BYTES,
    at_least: tuple[int, int] | None = None,
) -> tuple[U8, U8 | None]:
    """:func:`read_rgb` with alpha [H, W] kept apart, None where all is opaque: for imagery."""
    name = "the picture" if isinstance(source, bytes) else str(source)
    limits = _Limits(max_pixels, max_memory_bytes)
    with _name_errors(name):
        data = source if isinstance(source, bytes) else _read_bytes(Path(source))
        with _open_image(data, name, limits) as image:
            return _decode_pixels(image, data, _LEAST_PX, limits, at_least)


def read_picture_size(path: str | Path) -> tuple[int, int]:
    """(rows, columns) that :func:`read_rgb` will give; no pixels are read."""
    with _name_errors(str(path)):
        try:
            with (
                Path(path).open("rb") as stream,
                _guard_decoding(),
                Image.open(stream, formats=_list_formats()) as image,
            ):
                columns, rows = _find_upright_size(image)
        except Exception:  # reading all of it explains any problem better
            return read_rgb(path).shape[:2]
    return rows, columns


@dataclass(frozen=True)
class _Limits:
    """The largest pictures that are decoded."""

    pixels: int
    memory_bytes: int

    def check_pixels(self, size: tuple[int, int]) -> None:
        if size[0] * size[1] > self.pixels:
            raise BadImage(self.too_large(f" ({size[0]} x {size[1]} pixels)"))

    def too_large(self, size: str) -> str:
        return (
            f"is too large{size}: at most {self.pixels / 1e6:g} million pixels are allowed.\n"
            "Save a smaller copy of it."
        )

    def check_memory(
        self, image: Image.Image, at_least: tuple[int, int] | None = None, *, shrinks: bool = False
    ) -> tuple[int, int] | None:
        """The least stored (rows, columns) to decode; None: full size.

        ``at_least`` if that fits; with ``shrinks`` a JPEG that does not fit is decoded to the
        largest size that does.
        """
        width, height = image.size
        kept = 3 if _read_orientation(image) == 1 else 6  # bytes a pixel; turning takes a copy
        coefficients = 6 if image.info.get("progressive") else 0  # bytes a pixel, at any size
        if can_shrink(image) and (shrinks or at_least is not None):
            room = self.memory_bytes - coefficients * width * height
            small = find_largest_size(image.size, room // kept)
            if small is not None:
                more = at_least is None or any(a > s for a, s in zip(at_least, small, strict=True))
                return small if more else at_least
        each = coefficients + kept if can_shrink(image) else _PEAK_BYTES.get(str(image.format), 12)
        self.check_bytes(each, image.size)
        return at_least

    def check_bytes(self, each: int, size: tuple[int, int]) -> None:
        """Refuse a picture that takes more memory than allowed, at ``each`` bytes a pixel."""
        width, height = size
        needed = each * width * height
        if needed <= self.memory_bytes:
            return
        raise BadImage(
            f"would take {needed / 1e6:.0f} MB to decode ({width} x {height} pixels): at most "
            f"{self.memory_bytes / 1e6:.0f} MB are allowed.\n"
            "Save a smaller copy, or an ordinary JPEG, which can be decoded smaller."
        )


def _read_photo(
    image: Image.Image,
    data: bytes | None,
    name: str,
    limits: _Limits,
    at_least: tuple[int, int] | None,
) -> Photo:
    """A photo of an open image; ``data`` is its file, where there is one."""
    size = _find_upright_size(image)
    facts = read_facts(_read_exif(image), _read_xmp(image), size)
    pixels = blend_backdrop(
        *_decode_pixels(image, data, _LEAST_PHOTO_PX, limits, at_least, shrinks=data is not None)
    )
    digest = _hash_pixels(pixels) if data is None else hashlib.sha256(data).hexdigest()
    return _describe(pixels, name, digest, facts, size)


def _describe(
    pixels: U8, name: str, digest: str, facts: PhotoFacts, size: tuple[int, int]
) -> Photo:
    """A photo of upright pixels, decoded from (width, height) pixels; panoramas turned upright."""
    if facts.by_shape and shows_two_fisheyes(pixels):
        why = "two round fisheye pictures side by side: its field of view is unknown; " + FLATTEN
        facts = replace(
            facts, kind="perspective", fov_deg=None, panorama=None, view_assumptions=(why,)
        )
    assumptions, fov, heading = facts.assumptions, facts.fov_deg, facts.heading
    shrunk, widened, horizon = len(pixels) / size[1], 1.0, None
    if facts.panorama is not None:
        level = turn_upright(pixels, facts.panorama)
        if heading is not None and heading.source == "PoseHeadingDegrees":
            heading = heading.turn(level.middle_deg - facts.panorama.middle_deg)
        if level.pixels is not pixels:  # a row may now span more or fewer degrees
            finer = level.pixels.shape[1] / level.fov_deg
            shrunk = finer / (size[0] / facts.panorama.fov_deg)
            widened = level.fov_deg / facts.panorama.fov_deg
        pixels, fov, horizon = level.pixels, level.fov_deg, level.horizon_px
        if is_tilted(facts.panorama):
            pitch, roll = facts.panorama.pitch_deg, facts.panorama.roll_deg
            turned = (
                f"turned upright by the tilt in the file: pitch {pitch:g}, roll {roll:g} degrees"
            )
            assumptions = (*assumptions, turned)
    return Photo(
        pixels=pixels,
        path=name,
        sha256=digest,
        kind=facts.kind,
        fov_deg=fov,
        also_try_fov_deg=facts.also_try_fov_deg,
        horizon_px=horizon,
        shrunk=shrunk,
        widened=widened,
        gps=facts.gps,
        gps_sigma_m=facts.gps_sigma_m,
        heading=heading,
        view_assumptions=facts.view_assumptions,
        assumptions=assumptions,
    )


@contextmanager
def _name_errors(name: str) -> Iterator[None]:
    try:
        yield
    except BadImage as problem:
        raise BadImage(f"{name}: {problem}") from problem.__cause__


def _read_bytes(path: Path) -> bytes:
    with _open_file(path) as stream:
        return stream.read()


@contextmanager
def _open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that may be a photo, at its start."""
    try:
        if path.is_dir():
            raise BadImage("is a folder, not a photo.")
        with path.open("rb") as stream:
            if problem := explain_refusal(stream.read(_START_BYTES), path.name):
                raise BadImage(problem)
            if os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES:
                raise BadImage("is larger than 1 GiB, too large for a photo.")
            stream.seek(0)
            yield stream
    except FileNotFoundError as problem:
        raise BadImage("no such file.") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise BadImage(f"cannot be read: {reason}.") from problem


@contextmanager
def _open_image(data: bytes, name: str, limits: _Limits) -> Iterator[Image.Image]:
    """Read the header and check the size; any error inside becomes :class:`BadImage`."""
    if not data:
        raise BadImage("is empty (0 bytes).")
    if problem := explain_refusal(data, name):
        raise BadImage(problem)
    heif = is_heif(data) and _register_heif()
    require_webp_within(data, limits.pixels, limits.memory_bytes)
    with _guard_decoding(), Image.open(BytesIO(data), formats=_list_formats(heif=heif)) as image:
        limits.check_pixels(image.size)
        if image.format in ("JPEG", "MPO"):
            require_few_scans(data, image.size)
            if count_scans(data, 1) > 1:  # all coefficients are kept, as of a progressive file
                image.info["progressive"] = 1
        yield image


class _PillowsLimit:
    """Lifts Pillow's own limit of 179 million pixels while ours applies. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._usual: int | None = None

    @contextmanager
    def lifted(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    Image.MAX_IMAGE_PIXELS = self._usual


_PILLOWS_LIMIT = _PillowsLimit()


@contextmanager
def _guard_decoding() -> Iterator[None]:
    try:
        with warnings.catch_warnings(), _PILLOWS_LIMIT.lifted():
            warnings.simplefilter("ignore")  # of damaged metadata
            yield
    except BadImage:
        raise
    except UnidentifiedImageError as problem:
        raise BadImage(
            f"is not a picture, or is damaged at its start.\ncrossview reads {READABLE}."
        ) from problem
    except MemoryError as problem:
        raise BadImage("needs more memory than is free or allowed.") from problem
    except Exception as problem:  # decoders raise OSError, SyntaxError, ValueError, struct.error...
        raise BadImage(f"is truncated or damaged ({problem}).") from problem


def _list_formats(*, heif: bool = False) -> tuple[str, ...]:
    """Pillow's names of the formats; HEIF only if its package is installed."""
    return tuple(name for name in _FORMATS if heif or name != "HEIF")


def _register_heif() -> bool:
    try:
        import pillow_heif
    except ImportError as problem:
        raise BadImage(
            "is a HEIC photo, which needs one more package: pip install crossview[heif]"
        ) from problem
    pillow_heif.register_heif_opener()
    return True


def _check_least(size: tuple[int, int], least: int) -> None:
    if min(size) < least:
        raise BadImage(
            f"is too small: {size[0]} x {size[1]} pixels, at least {least} x {least} are needed."
        )


def _decode_pixels(
    image: Image.Image,
    data: bytes | None,
    least: int,
    limits: _Limits,
    at_least: tuple[int, int] | None,
    *,
    shrinks: bool = False,
) -> tuple[U8, U8 | None]:
    """Upright RGB and alpha; ``at_least`` (rows, columns) of the upright picture."""
    _check_least(image.size, least)
    orientation = _read_orientation(image)
    stored = at_least[::-1] if at_least is not None and orientation >= 5 else at_least
    if data is not None:
        stored = limits.check_memory(image, stored, shrinks=shrinks)
        if stored == image.size[::-1]:
            stored = None  # full size is exact
        if (pixels := decode_jpeg(data, image, stored)) is not None:
            return np.ascontiguousarray(orient_pixels(pixels, orientation)), None
    image.load()
    if image.format == "TIFF":  # Pillow turned it upright while reading
        orientation = 1
    return convert_to_rgb_alpha(image, orientation)


def _read_orientation(image: Image.Image) -> int:
    """1 to 8 of EXIF; 1 where it is missing or invalid."""
    try:
        value = int(_read_exif(image).get(Base.Orientation, 1))
    except (TypeError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def _find_upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) once it is upright."""
    width, height = image.size
    turned = (
        _read_orientation(image) >= 5 and image.format != "TIFF"
    )  # Pillow swaps the size of a TIFF itself
    return (height, width) if turned else (width, height)


def _read_exif(image: Image.Image) -> Any:
    try:
        return image.getexif()
    except Exception:  # damaged EXIF does not make the pixels unusable
        return Image.Exif()


def _read_xmp(image: Image.Image) -> list[str]:
    """All XMP packets of a picture, as text."""
    packets = [
        _decode_xmp(image.info[key]) for key in ("xmp", "XML:com.adobe.xmp") if key in image.info
    ]
    more: dict[bytes, list[tuple[int, bytes]]] = {}  # by digest; pieces may come in any order
    for marker, content in getattr(image, "applist", ()):
        if marker != "APP1":
            continue
        if content.startswith(_XMP_START):
            packets.append(_decode_xmp(content[len(_XMP_START) :]))
        elif content.startswith(_XMP_EXTENSION):
            head = content[len(_XMP_EXTENSION) : _XMP_EXTENSION_HEADER]
            piece = int.from_bytes(head[-4:], "big"), content[_XMP_EXTENSION_HEADER:]
            more.setdefault(head[:32], []).append(piece)
    whole = (b"".join(piece for _, piece in sorted(pieces)) for pieces in more.values())
    return [*dict.fromkeys(packets), *map(_decode_xmp, whole)]


def _decode_xmp(packet: Any) -> str:
    """Text of a packet in UTF-8 or UTF-16; bytes that cannot be decoded are replaced."""
    if not isinstance(packet, bytes):
        return str(packet)
    start = packet[:2]
    if start in (b"\xff\xfe", b"\xfe\xff") or 0 in start:
        return packet.decode(
            "utf-16-le" if start in (b"\xff\xfe", b"<\0") else "utf-16-be", "replace"
        )
    return packet.decode("utf-8", "replace")


def _hash_pixels(pixels: U8) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


# JPEG and WebP before Pillow sees them.


def can_shrink(image: Image.Image) -> bool:
    """Whether :func:`decode_jpeg` decodes a picture whose header is ``image``."""
    return image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")


def decode_jpeg(data: bytes, image: Image.Image, at_least: tuple[int, int] | None) -> U8 | None:
    """Stored RGB [H, W, 3] of the JPEG ``data`` whose header is ``image``; None: use Pillow.

    ``at_least`` (stored rows, columns): the smallest of the eighths of its size that is as large;
    None: full size, exact. Left to Pillow: other formats and colour models, and damaged files (it
    explains the damage).
    """
    if not can_shrink(image):
        return None
    import simplejpeg

    fast = at_least is not None
    rows, columns = at_least or (0, 0)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=fast, fastupsample=fast, min_height=rows, min_width=columns
        )
    except ValueError:
        return None
    return np.asarray(pixels, dtype=np.uint8)


def find_largest_size(size: tuple[int, int], most_px: int) -> tuple[int, int] | None:
    """(rows, columns) of the largest eighth of (width, height) of at most ``most_px`` pixels."""
    width, height = size
    for eighths in range(8, 0, -1):
        rows, columns = -(-height * eighths // 8), -(-width * eighths // 8)
        if rows * columns <= most_px:
            return rows, columns
    return None


def count_scans(data: Buffer, most: int) -> int:
    """Count the passes over its pixels that a JPEG needs, up to ``most`` + 1, by its segments.

    An ordinary sequential file needs one; what follows it is not decoded.
    """
    at, count, channels, progressive = 2, 0, 0, False
    while count <= most and (marker := _MARKER.search(data, at)):
        kind, at = data[marker.start() + 1], marker.end()
        if kind in (_START, _END):
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if kind in _FRAMES:
            channels, progressive = (
                int.from_bytes(data[at + 7 : at + 8], "big"),
                kind in _PROGRESSIVE,
            )
        if kind == _SCAN:
            count += 1
            if not progressive and data[at + 2 : at + 3] == bytes([channels]):
                break
        at += max(2, length)
    return count


def require_few_scans(data: Buffer, size: tuple[int, int]) -> None:
    """Refuse a JPEG of (width, height) that needs very many passes over its pixels.

    Raises :class:`BadImage`. Progressive files of usual programs have about 10 scans.
    """
    pixels = max(1, size[0] * size[1])
    most = max(_USUAL_SCANS, MOST_SCANNED_PX // pixels)
    if count_scans(data, most) > most:
        raise BadImage(
            f"needs more than {most} passes to decode ({size[0]} x {size[1]} pixels); about 10 are "
            "usual.\nSave it again as an ordinary JPEG."
        )


def require_webp_within(data: bytes, most_px: int, most_bytes: int = MAX_MEMORY_BYTES) -> None:
    """Refuse a WebP that is too large by its header: merely opening it takes all the memory."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    limits = _Limits(most_px, most_bytes)
    limits.check_pixels((width, height))
    limits.check_bytes(_PEAK_BYTES["WEBP"], (width, height))
