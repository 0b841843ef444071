"""Files that people mistake for photos: recognized by content, with advice on what to do."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Literal

from PIL.ExifTags import Base

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
