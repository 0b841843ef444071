"""Rasters that rasterio (GDAL) reads: GeoTIFF, COG, JPEG 2000, pictures with a world file.

A file says where it lies and what it stores; a rendering turns stored bands into 8-bit red, green
and blue.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import F32, U8, Bool
from crossview.errors import BadData, BadImagery, CrossviewError, InvalidValue, NotGeoreferenced
from crossview.files import is_apple_double
from crossview.geo.grids import (
    Affine6,
    RasterGrid,
    convert_to_latlon,
    convert_to_wkt,
    measure_turns,
    names_files,
)
from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.drivers import gdal, open_raster
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sheets import Box, Patch
from crossview.lists import decode_text
from crossview.views.decode import OPAQUE, invert_greys, orient_pixels
from crossview.worlds.town import SYNTHETIC_TAG

Limits = tuple[tuple[float, float], ...]
_MOST = 1e38  # of a float; beyond lie infinities and the values that writers take for no data
DEFAULT_PERCENTILES = (2.0, 98.0)  # for imagery of more than 8 bit, unless ``stretch`` is given
OPEN_AT_ONCE = 64
SAMPLE_PX = 512  # the longer side of the decimated read that a stretch is computed on
ORIENTATION_TAG, DATETIME_TAG, COPYRIGHT_TAG = 274, 306, 33432
_PHOTOMETRIC_TAG, _LAB = 262, (8, 9, 10)
_WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")
SWAPPED = 5  # EXIF orientations from here on swap rows and columns
ROWS_REVERSED = 4  # EXIF's number for that
WITHOUT_TRANSFORM = {"JPEG", "PNG", "WEBP", "GIF", "BMP"}  # place beside the file only
MAY_USE_WORLD_FILE = {"GTiff", "JP2OpenJPEG", "JP2KAK", "JPEG2000", "JP2ECW"}
GIVE_CRS = "Give the right one with --crs, for example --crs EPSG:25833."
APART_M = 1.0  # reference systems that differ by less are not mentioned
MOST_TURNS = 1.5  # around the Earth
MOST_SKEW_DEG = 10.0  # between rows and columns on the ground; equal-area maps have a few degrees
_POLAR_DEG = 89.9999  # 10 m from a pole
MOST_EXACT_PX = 64_000_000  # read at full size to find no data among averaged pixels


@dataclass(frozen=True, kw_only=True)
class RasterFile:
    """What a raster file says of itself.

    ``crs`` and ``prj`` are the reference systems that it names and that a .prj beside it names;
    ``unread`` is why the former cannot be read. ``orientation`` is EXIF's, 1 to 8: how stored
    pixels become the upright picture that ``size_px`` and boxes are counted in. ``notes`` say what
    was decided where the file contradicts itself.
    """

    path: Path
    stored_px: tuple[int, int]  # width, height
    transform: Affine6 | None  # of stored pixels
    crs: str | None
    prj: str | None
    unread: str
    dtype: str
    bands: tuple[int, ...]
    palette: U8 | None
    inverted: bool  # 0 is white
    bits: int  # of a stored value that it uses
    stored_block_px: tuple[int, int]  # rows, columns
    masked: bool  # some pixels may be no data
    attribution: str
    date: str
    synthetic: str | None
    orientation: int = 1
    nodata: tuple[float, ...] | None = None  # as the user says; one, or one per band
    notes: tuple[str, ...] = ()

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        width, height = self.stored_px
        return (height, width) if self.orientation >= SWAPPED else (width, height)

    @property
    def block_px(self) -> tuple[int, int]:
        """Rows and columns that are decoded together, of the upright picture."""
        rows, columns = self.stored_block_px
        return (columns, rows) if self.orientation >= SWAPPED else (rows, columns)

    def place(self, crs: str | None = None) -> tuple[RasterFile, RasterGrid]:
        """The file as it lies upright, and its grid; ``crs`` overrules what the file says.

        Raises :class:`NotGeoreferenced` when it has no place.
        """
        if self.transform is None:
            raise NotGeoreferenced(
                f"{self.path} holds pixels but not their place on Earth.\n"
                "Use a georeferenced file (GeoTIFF), a world file (.jgw, .pgw, .tfw) beside it, or "
                "a CSV: file,lat,lon,metres_per_px."
            )
        (a, b, c, d, e, f), (width, height) = self.transform, self.stored_px
        if a * e - b * d == 0.0 or not math.isfinite(a + b + c + d + e + f):
            raise NotGeoreferenced(
                f"{self.path} has the transform {self.transform}, in which pixels cover no ground."
                "\nCorrect it, for example with gdal_edit.py -a_ullr."
            )
        system, notes = self._choose_crs(crs)
        file = replace(self, notes=(*self.notes, *notes))
        if a * e - b * d > 0.0:  # rows run from south to north, as some scientific formats have it
            b, c, e, f = -b, c + b * height, -e, f + e * height
            file = replace(file, orientation=ROWS_REVERSED)
        grid = RasterGrid(system, (a, b, c, d, e, f), width, height)
        _require_on_earth(self.path, grid)
        _require_upright(self.path, grid)
        return file, grid

    def upright(self) -> RasterFile:
        """A picture whose place comes from a list: it lies as its EXIF orientation says."""
        return replace(self, orientation=read_exif_orientation(self.path))

    def _choose_crs(self, crs: str | None) -> tuple[str, tuple[str, ...]]:
        """WKT of the reference system, and notes on what it overrules."""
        own, unread = self.crs, self.unread
        if own is not None:
            try:
                own = convert_to_wkt(own)
            except CrossviewError as problem:
                own, unread = None, str(problem)
        if crs is not None:
            return convert_to_wkt(crs), self._note_overruled(
                convert_to_wkt(crs), own, f"{crs} was taken, as --crs says"
            )
        prj = self.prj and _parse_crs(self.prj)
        if own is not None:
            return own, self._note_overruled(own, prj or None, "its own reference system was taken")
        if prj:
            return prj, ()
        if unread:
            raise NotGeoreferenced(f"{self.path}: {unread}")
        if self.prj:
            raise NotGeoreferenced(
                f"{self.path}: the .prj beside it holds no system that is known, but "
                f"{self.prj[:60]!r}.\n{GIVE_CRS}"
            )
        raise NotGeoreferenced(
            f"{self.path} does not say its coordinate reference system.\n"
            "Put a .prj file beside it, or give it with --crs, for example --crs EPSG:25833."
        )

    def _note_overruled(self, taken: str, other: str | None, what: str) -> tuple[str, ...]:
        """A note if another reference system would put the picture elsewhere."""
        apart_m = _measure_shift_m(taken, other, self.transform, self.stored_px)
        if apart_m < APART_M:
            return ()
        return (f"{what}; another that the file names lies {_format_metres(apart_m)} away",)


def read_raster_file(path: Path, options: SourceOptions) -> RasterFile:
    """Open a raster just long enough to read what it says of itself."""
    if is_apple_double(path):
        raise BadImagery(
            f"{path} is not imagery: macOS keeps there what it knows about {path.name[2:] or path}."
            "\nGive the file of that name itself."
        )
    allow_vrt = bool(options.allow_vrt)
    with name_unreadable(path), gdal(), _open(path, allow_vrt=allow_vrt) as dataset:
        chosen = choose_bands(dataset, options.bands, path.name)
        crs, unread = _read_crs(dataset)
        tags = dataset.tags()
        own = (
            read_tiff_tags(path) if dataset.driver == "GTiff" and _lacks_texts(tags, unread) else {}
        )
        transform, notes = _choose_transform(dataset, path, own if unread else {})
        if dataset.driver == "GTiff" and not unread:
            notes = (*notes, *_compare_with_aux(path, crs, transform, dataset.shape))
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        palette = read_palette(dataset, chosen)
        bits = dataset.tags(chosen[0], ns="IMAGE_STRUCTURE").get("NBITS")
        dtype = dataset.dtypes[chosen[0] - 1]
        _require_colours(dataset, dtype, path)
        return RasterFile(
            path=path,
            stored_px=(dataset.width, dataset.height),
            transform=transform,
            crs=crs,
            prj=read_prj(path),
            unread=unread,
            dtype=dtype,
            bands=chosen,
            palette=palette,
            inverted=palette is None and structure.get("MINISWHITE") == "YES",
            bits=int(bits) if bits and dtype == "uint8" else 8 * np.dtype(dtype).itemsize,
            stored_block_px=dataset.block_shapes[0],
            masked=_has_mask(dataset, chosen),
            attribution=tags.get("TIFFTAG_COPYRIGHT", "").strip()
            or read_text_tag(own, COPYRIGHT_TAG),
            date=_format_date(tags.get("TIFFTAG_DATETIME", "") or read_text_tag(own, DATETIME_TAG)),
            synthetic=tags.get(SYNTHETIC_TAG),
            nodata=_check_nodata(options.nodata, chosen, dtype, path),
            notes=notes,
        )


@dataclass(frozen=True)
class RasterStore:
    """Pixels of a raster file, ``times`` x ``times`` of them averaged into one."""

    file: RasterFile
    rendering: Rendering
    opened: OpenRasters
    times: int = 1

    @property
    def block_px(self) -> tuple[int, int]:
        """See :class:`Store`."""
        rows, columns = self.file.block_px
        return max(1, rows // self.times), max(1, columns // self.times)

    def read(self, box: Box) -> Patch:
        """See :class:`Store`."""
        return self._read(Box(*(edge * self.times for edge in box)), (box.height, box.width))

    def shrunk(self, height_px: int, width_px: int) -> Patch:
        """See :class:`Store`."""
        width, height = (side - side % self.times for side in self.file.size_px)
        return self._read(Box(0, height, 0, width), (height_px, width_px))

    def read_stored_value(self, box: Box) -> tuple[float, ...] | None:
        """What the file stores all over a box, one value per band; None if that differs."""
        stored, _ = self._stored(
            Box(*(edge * self.times for edge in box)), (box.height, box.width), exact=True
        )
        first = stored[:, 0, 0]
        same = (stored == first[:, None, None]).all()
        return tuple(float(value) for value in first) if same else None

    def sample(self) -> NDArray[Any]:
        """Stored values [bands, n] of valid pixels, from a decimated read."""
        width, height = self.file.size_px
        less = min(1.0, SAMPLE_PX / max(width, height))
        shape = (max(1, round(height * less)), max(1, round(width * less)))
        stored, valid = self._stored(Box(0, height, 0, width), shape)
        chosen = stored.reshape(len(stored), -1)
        return chosen if valid is None else chosen[:, valid.ravel() > 0]

    def measure(self, box: Box, shape: tuple[int, int]) -> F32:
        """Stored values of the first band over a box as [rows, columns]; NaN where there is none.

        For rasters that measure something, such as heights; pictures are read by :meth:`read`.
        """
        stored, valid = self._stored(Box(*(edge * self.times for edge in box)), shape)
        values = stored[0].astype(np.float32)
        known = np.asarray(np.abs(values) < _MOST, np.bool_)
        if valid is not None:
            known = known & (valid > 0)
        return np.where(known, values, np.float32(np.nan))

    def _read(self, box: Box, shape: tuple[int, int]) -> Patch:
        stored, valid = self._stored(box, shape)
        if stored.dtype.kind == "f":
            finite = np.where(are_measured(stored).all(axis=0), np.uint8(255), np.uint8(0))
            valid = finite if valid is None else np.minimum(valid, finite)
        return Patch(self.rendering.rgb(stored), valid)

    def _stored(
        self, box: Box, shape: tuple[int, int], *, exact: bool = False
    ) -> tuple[NDArray[Any], U8 | None]:
        """Values [bands, *shape] of a box of the upright picture at full size, and its mask.

        Fewer than there are get averaged, or with ``exact`` picked.
        """
        from rasterio.enums import Resampling
        from rasterio.windows import Window

        bands, orientation = self.rendering.bands, self.file.orientation
        box = _find_stored_box(box, orientation, self.file.size_px)
        mixes = shape != (box.height, box.width) and self.file.palette is None
        if orientation >= SWAPPED:
            mixes = shape != (box.width, box.height) and self.file.palette is None
            shape = (shape[1], shape[0])
        how = Resampling.average if mixes and not exact else Resampling.nearest
        if how is Resampling.average and self.file.inverted and self.file.dtype != "uint8":
            how = Resampling.bilinear  # the library averages such files to 0 and 1
        window = Window(box.left, box.top, box.width, box.height)
        with name_unreadable(self.file.path), gdal():
            dataset = self.opened.get(self.file.path)
            size = (len(bands), *shape)
            stored = dataset.read(bands, window=window, out_shape=size, resampling=how)
            valid = None
            if self.file.masked:  # alpha among them, as a number from 0 to 255
                mask = dataset.dataset_mask(window=window, out_shape=shape)
                valid = np.where(mask >= OPAQUE, np.uint8(255), np.uint8(0))
            if self.file.nodata is not None:
                valid = self._without_nodata(dataset, window, stored, valid)
        if orientation == 1:
            return stored, valid
        turned = orient_pixels(np.moveaxis(stored, 0, -1), orientation)
        return (
            np.ascontiguousarray(np.moveaxis(turned, -1, 0)),
            None if valid is None else np.ascontiguousarray(orient_pixels(valid, orientation)),
        )

    def _without_nodata(
        self, dataset: Any, window: Any, stored: NDArray[Any], valid: U8 | None
    ) -> U8:
        """The mask without what the user calls no data; where pixels are averaged, all of it."""
        shape = stored.shape[1:]
        if shape == (window.height, window.width):
            data = _mark_data(stored, self.file.nodata or ())
        elif window.height * window.width <= MOST_EXACT_PX:
            import cv2

            whole = _mark_data(dataset.read(self.rendering.bands, window=window),
                             self.file.nodata or ())  # fmt: skip
            size = (shape[1], shape[0])
            data = np.where(cv2.resize(whole, size, interpolation=cv2.INTER_AREA) == 255, 255, 0)
        else:  # a small picture of much ground: a sample is good enough
            from rasterio.enums import Resampling

            sample = dataset.read(
                self.rendering.bands, window=window, out_shape=stored.shape,
                resampling=Resampling.nearest,
            )  # fmt: skip
            data = _mark_data(sample, self.file.nodata or ())
        data = np.asarray(data, np.uint8)
        return data if valid is None else np.minimum(data, valid)


class OpenRasters:
    """The few rasters that are open at a time, most recently used last. For one thread."""

    def __init__(self, *, allow_vrt: bool = False) -> None:
        self._allow_vrt = allow_vrt
        self._open: OrderedDict[Path, Any] = OrderedDict()

    def get(self, path: Path) -> Any:
        """The open dataset of a path."""
        if path not in self._open:
            self._open[path] = _open(path, allow_vrt=self._allow_vrt)
        self._open.move_to_end(path)
        while len(self._open) > OPEN_AT_ONCE:
            self._open.popitem(last=False)[1].close()
        return self._open[path]

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()


@dataclass(frozen=True)
class Rendering:
    """One or three bands (counted from 1), stretched from ``limits`` to 0..255 unless None.

    ``inverted``: 0 is white. ``bits``: how many of a stored byte are used, unless stretched.
    """

    bands: tuple[int, ...]
    limits: Limits | None = None
    palette: Any = None  # uint8 [256 or 65536, 3] of an indexed raster
    inverted: bool = False
    bits: int = 8

    def rgb(self, stored: NDArray[Any]) -> U8:
        """RGB [h, w, 3] from stored values [bands, h, w]."""
        import cv2

        if self.palette is not None:
            return np.asarray(self.palette[stored[0]], np.uint8)
        planes = stored if self.limits is None else self._stretch(stored, self.limits)
        if self.limits is None and self.bits < 8:
            planes = _scale_to_8_bits(self.bits)[stored]
        if self.inverted:
            planes = [invert_greys(plane, 8) for plane in planes]
        if len(planes) == 1:
            return np.asarray(cv2.cvtColor(planes[0], cv2.COLOR_GRAY2RGB), np.uint8)
        return np.asarray(cv2.merge(list(planes)), np.uint8)

    def _stretch(self, stored: NDArray[Any], limits: Limits) -> Sequence[U8]:
        if stored.dtype in (np.uint8, np.uint16):
            values = np.arange(np.iinfo(stored.dtype).max + 1)
            return [
                _stretch_to_bytes(values, limit)[plane]
                for plane, limit in zip(stored, limits, strict=True)
            ]
        return [
            _stretch_to_bytes(plane, limit) for plane, limit in zip(stored, limits, strict=True)
        ]


@contextmanager
def name_unreadable(path: Path) -> Iterator[None]:
    """Turn the raster library's errors into :class:`BadImagery` that names the file."""
    from rasterio._err import CPLE_BaseError  # GDAL's own, which some properties let through
    from rasterio.errors import RasterioError

    try:
        yield
    except (RasterioError, CPLE_BaseError, OSError) as problem:
        why = str(problem.__cause__ or problem).strip().partition("\n")[0] or "no reason given"
        raise BadImagery(
            f"{path} cannot be read as imagery: {why}\n"
            "It may be truncated or of another kind; allowed are GeoTIFF, JPEG 2000, pictures with "
            "a world file, MBTiles, PMTiles, an XYZ folder, or a CSV of images."
        ) from problem


def choose_bands(dataset: Any, bands: tuple[int, ...] | None, name: str) -> tuple[int, ...]:
    """One or three band numbers of an open raster: as asked, by their colours, or the first."""
    from rasterio.enums import ColorInterp

    if bands is not None:
        if len(bands) not in (1, 3) or not all(1 <= band <= dataset.count for band in bands):
            raise InvalidValue(
                f"--bands {','.join(map(str, bands))}: {name} has bands 1 to {dataset.count}.\n"
                "Give three for red, green and blue (for example --bands 4,3,2), or one for grey."
            )
        return bands
    colours = list(dataset.colorinterp)
    wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(colour in colours for colour in wanted):
        red, green, blue = (colours.index(colour) + 1 for colour in wanted)
        return red, green, blue
    opaque = [band for band, colour in enumerate(colours, 1) if colour != ColorInterp.alpha]
    return tuple(opaque[:3]) if len(opaque) >= 3 else (opaque[0],)


def read_palette(dataset: Any, bands: tuple[int, ...]) -> U8 | None:
    """The colour table [256, 3] of an indexed raster, or None."""
    from rasterio.enums import ColorInterp

    if len(bands) != 1 or dataset.colorinterp[bands[0] - 1] != ColorInterp.palette:
        return None
    table = np.zeros((1 << 8 * np.dtype(dataset.dtypes[bands[0] - 1]).itemsize, 3), np.uint8)
    for value, colour in dataset.colormap(bands[0]).items():
        if 0 <= value < len(table):
            table[value] = colour[:3]
    return table


def read_exif_orientation(path: Path) -> int:
    """EXIF's orientation of a picture, 1 (as stored) where it has none."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_WITH_EXIF) as picture:
                number = int(picture.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF, or no kind that has any
        return 1
    return number if 1 <= number <= 8 else 1


def compute_limits(samples: Sequence[NDArray[Any]], percentiles: tuple[float, float]) -> Limits:
    """Low and high percentile per band over samples [bands, n] of valid values."""
    low, high = percentiles
    if not 0.0 <= low < high <= 100.0:
        raise InvalidValue(f"--stretch {low:g},{high:g}: give two percentiles, for example 2,98.")
    if len({len(sample) for sample in samples}) > 1:
        raise BadImagery(
            "The imagery mixes files of one and of three bands; a common stretch is not possible.\n"
            "Choose the same with --bands, for example --bands 1."
        )
    values = np.concatenate([np.asarray(sample, np.float64) for sample in samples], axis=1)
    values = values[:, are_measured(values).all(axis=0)]
    if values.shape[1] == 0:
        raise BadImagery("The imagery holds no valid pixels to compute a stretch from.")
    limits = np.percentile(values, [low, high], axis=1)
    return tuple((float(a), float(b)) for a, b in limits.T)


def are_measured(values: NDArray[Any]) -> Bool:
    """Where stored values are numbers that a sensor may give: no NaN, infinity or least float."""
    return np.asarray(np.abs(values) < _MOST, np.bool_)


def _open(path: Path, *, allow_vrt: bool = False) -> Any:
    """The open dataset of a path; without its place if that is what cannot be read."""
    from rasterio.errors import CRSError

    try:
        return open_raster(path, allow_vrt=allow_vrt)
    except (CRSError, UnicodeDecodeError):  # its reference system: the pixels may be whole
        return open_raster(path, allow_vrt=allow_vrt, GEOREF_SOURCES="NONE")


def _read_crs(dataset: Any) -> tuple[str | None, str]:
    """WKT of the reference system, or None and why it cannot be read."""
    if dataset.options.get("GEOREF_SOURCES") == "NONE":
        return None, (
            "the name of its coordinate reference system is not in UTF-8, or its keys are unknown."
            f"\n{GIVE_CRS}"
        )
    try:
        wkt = dataset.crs.to_wkt() if dataset.crs else None
        if wkt and names_files(wkt):
            return None, f"its coordinate reference system names files of its own.\n{GIVE_CRS}"
        return wkt, ""
    except Exception as problem:  # the library's own, and those of texts
        why = str(problem).partition("\n")[0][:120]
        return None, f"its coordinate reference system cannot be read ({why}).\n{GIVE_CRS}"


def _parse_crs(crs: str) -> str | None:
    """WKT of the text of a .prj; None where PROJ does not know it, or would open files for it."""
    if names_files(crs):
        return None
    try:
        return convert_to_wkt(crs)
    except CrossviewError:
        return None


def _choose_transform(
    dataset: Any, path: Path, own: dict[int, Any]
) -> tuple[Affine6 | None, tuple[str, ...]]:
    """The affine transform of the file, else of a world file beside it; None without any.

    ``own``: its tags, if the library had to leave them out. What lies in the file wins over what
    lies beside it, with a note where the two differ.
    """
    try:
        beside, trouble = read_world_file(path), None
    except NotGeoreferenced as problem:
        beside, trouble = None, problem
    inside = (
        read_tag_transform(own) if own else _read_own_transform(dataset, path, beside or trouble)
    )
    if inside is None and trouble is not None:
        raise trouble
    if beside is not None:
        transform, world = beside
        longest = max(dataset.width, dataset.height)
        if inside is None:
            return transform, ()
        if not transforms_agree(inside, transform, longest):
            return inside, (
                f"its own transform was taken; that of the world file {world.name} differs",
            )
    if inside is None and (dataset.gcps[0] or dataset.rpcs):
        raise NotGeoreferenced(
            f"{path} has only ground control points or a camera model, not a grid.\n"
            "Rectify it first, for example: gdalwarp -t_srs EPSG:25833 in.tif out.tif"
        )
    return inside, ()


def _read_own_transform(dataset: Any, path: Path, beside: object) -> Affine6 | None:
    """The transform in the file itself (or the library's .aux.xml), not that of a world file.

    ``beside`` is None if there is no world file.
    """
    transform = dataset.transform
    if (
        beside is not None
        and dataset.driver in WITHOUT_TRANSFORM
        and not _has_transform_beside(path)
    ):
        return None
    if beside is not None and dataset.driver in MAY_USE_WORLD_FILE:
        with open_raster(path, GEOREF_SOURCES="PAM,INTERNAL,TABFILE") as alone:
            transform = alone.transform
    if transform.is_identity:
        return None
    a, b, c, d, e, f = (float(value) for value in transform[:6])
    return a, b, c, d, e, f


def _has_transform_beside(path: Path) -> bool:
    """Whether the library keeps a transform beside the file (other facts may be kept there)."""
    try:
        return b"<GeoTransform>" in path.with_name(path.name + ".aux.xml").read_bytes()
    except OSError:
        return False


def _compare_with_aux(
    path: Path, crs: str | None, transform: Affine6 | None, shape: tuple[int, int]
) -> tuple[str, ...]:
    """Notes where the library's .aux.xml beside a GeoTIFF overrules what lies in it."""
    beside = path.with_name(path.name + ".aux.xml")
    if not beside.is_file() or crs is None or transform is None:
        return ()
    with open_raster(path, GEOREF_SOURCES="INTERNAL") as alone:
        inside = (*alone.transform[:6],) if not alone.transform.is_identity else None
        own = alone.crs.to_wkt() if alone.crs else None
    notes = []
    if inside is not None and not transforms_agree(transform, inside, max(shape)):
        notes.append(f"the transform of {beside.name} was taken; its own differs")
    apart_m = _measure_shift_m(crs, own, transform, (shape[1], shape[0]))
    if apart_m >= APART_M:
        away = _format_metres(apart_m)
        notes.append(f"the reference system of {beside.name} was taken; its own lies {away} away")
    return tuple(notes)


def _measure_shift_m(
    one: str, other: str | None, transform: Affine6 | None, size_px: tuple[int, int]
) -> float:
    """Metres between the middles of a picture (width, height) in two reference systems.

    0 where either is not known.
    """
    if other is None or other == one or transform is None:
        return 0.0
    (a, b, c, d, e, f), (width, height) = transform, size_px
    x, y = a * width / 2 + b * height / 2 + c, d * width / 2 + e * height / 2 + f
    try:
        (lat, lat_2), (lon, lon_2) = (
            np.array(each)
            for each in zip(
                convert_to_latlon(one, x, y), convert_to_latlon(other, x, y), strict=True
            )
        )
    except CrossviewError:
        return 0.0
    return measure_distance_m(LatLon(float(lat), float(lon)), LatLon(float(lat_2), float(lon_2)))


def _format_metres(metres: float) -> str:
    return f"{metres / 1000.0:.0f} km" if metres >= 10_000 else f"{metres:.0f} m"


def _require_on_earth(path: Path, grid: RasterGrid) -> None:
    """A raster is not wider than the Earth is around, with room for those that overlap."""
    if (times := measure_turns(grid)) > MOST_TURNS:
        raise NotGeoreferenced(
            f"{path}: it would reach {times:.3g} times around the Earth; its pixels have the wrong "
            "size, or its reference system another unit.\n"
            "Correct its world file or its tags."
        )


def _require_upright(path: Path, grid: RasterGrid) -> None:
    """Pixels must be rectangles on the ground, but for what projections do to angles.

    Looked at in the middle, or beside it where that is a pole, which has no directions.
    """
    try:
        polar = abs(float(grid.latlon(grid.width_px / 2.0, grid.height_px / 2.0)[0])) > _POLAR_DEG
        at = 4.0 if polar else 2.0
        turn_deg = grid.skew_deg(grid.width_px / at, grid.height_px / at)
    except NotGeoreferenced as problem:
        raise NotGeoreferenced(f"{path}: {problem}") from problem
    if abs(turn_deg) > MOST_SKEW_DEG:
        raise NotGeoreferenced(
            f"{path}: its rows and columns meet at {90.0 + turn_deg:.0f} degrees on the ground.\n"
            "Rectify it first, for example: gdalwarp -t_srs EPSG:25833 in.tif out.tif"
        )


def _require_colours(dataset: Any, dtype: str, path: Path) -> None:
    """Refuse what is neither grey nor colours."""
    what = "complex numbers (of a radar, perhaps)" if np.dtype(dtype).kind == "c" else ""
    if not what and _read_photometric(dataset, path) in _LAB:
        what = "colours as CIE L*a*b*"
    if what:
        raise BadImagery(
            f"{path} holds {what}, which are not read.\nConvert it to red, green and blue first."
        )


def _read_photometric(dataset: Any, path: Path) -> int | None:
    """How a TIFF says that its numbers are to be seen; None for other kinds."""
    if dataset.driver != "GTiff" or dataset.count < 3:
        return None
    value = read_tiff_tags(path).get(_PHOTOMETRIC_TAG)
    return int(value) if isinstance(value, int) else None


def _lacks_texts(tags: dict[str, str], unread: str) -> bool:
    """The library leaves out texts that are not in UTF-8."""
    return bool(unread) or not {"TIFFTAG_COPYRIGHT", "TIFFTAG_DATETIME"} <= set(tags)


def _check_nodata(
    nodata: tuple[float, ...] | None, bands: tuple[int, ...], dtype: str, path: Path
) -> tuple[float, ...] | None:
    """The value of no data as asked, if the file can hold it."""
    if nodata is None:
        return None
    text = ",".join(f"{value:g}" for value in nodata)
    if len(nodata) not in (1, len(bands)):
        raise InvalidValue(
            f"--nodata {text}: {path.name} is read in {len(bands)} band(s).\n"
            "Give one number for all bands, or one per band."
        )
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        if not all(low <= value <= high and value == int(value) for value in nodata):
            raise InvalidValue(
                f"--nodata {text}: {path.name} holds whole numbers from {low} to {high}."
            )
    return nodata


def _has_mask(dataset: Any, bands: tuple[int, ...]) -> bool:
    from rasterio.enums import MaskFlags

    return any(MaskFlags.all_valid not in dataset.mask_flag_enums[band - 1] for band in bands)


def _format_date(tag: str) -> str:
    """``2024:06:18 12:00:00`` of TIFF as ``2024-06-18``; anything else as it is."""
    day = tag.strip().split(" ")[0]
    return day.replace(":", "-") if day.count(":") == 2 else tag.strip()


def _find_stored_box(box: Box, orientation: int, upright_px: tuple[int, int]) -> Box:
    """The stored pixels of a box of the upright picture; see ``views.decode.orient_pixels``."""
    (width, height), (top, bottom, left, right) = upright_px, box
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return (
        Box(left, right, top, bottom) if orientation >= SWAPPED else Box(top, bottom, left, right)
    )


def _mark_data(stored: NDArray[Any], nodata: tuple[float, ...]) -> U8:
    """255 where any band [bands, h, w] differs from its value of no data, else 0."""
    each = nodata if len(nodata) == len(stored) else nodata * len(stored)
    same = np.ones(stored.shape[1:], bool)
    for plane, value in zip(stored, each, strict=True):
        same &= plane == value
    return np.where(same, np.uint8(0), np.uint8(255))


def _scale_to_8_bits(bits: int) -> U8:
    """Grey levels of fewer bits as 8 bits, white staying white."""
    most = (1 << bits) - 1
    return np.asarray(np.minimum(np.arange(256), most) * 255 // most, np.uint8)


def _stretch_to_bytes(values: NDArray[Any], limit: tuple[float, float]) -> U8:
    low, high = limit
    scaled = (values.astype(np.float32) - low) * (255.0 / max(high - low, 1e-12))
    return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0.0, 255.0)), np.uint8)


# Where a raster lies, by its tags and by files beside it: world files, .prj, TIFF tags.

_MOST_BYTES = 100_000  # of a world file or a .prj
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_SCALE, _TIEPOINTS, _MATRIX, _GEO_KEYS = 33550, 33922, 34264, 34735
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2


def decode_any_text(data: bytes) -> str:
    """Text with or without a byte order mark, in UTF-8, UTF-16 or (of old programs) Latin-1."""
    try:
        return decode_text(data, "")
    except BadData:  # here it must not be lost: the numbers count, names need not be right
        if b"\0" in data[:4]:  # UTF-16 of something ASCII, without its mark
            return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", "replace")
        return data.decode("cp1252", "replace")


def read_prj(path: Path) -> str | None:
    """The coordinate reference system in a .prj file beside a raster, or None."""
    for beside in _list_beside(path, [".prj"]):
        if text := decode_any_text(_read(beside)).strip():
            return text
    return None


def read_world_file(path: Path) -> tuple[Affine6, Path] | None:
    """The transform in a world file beside a raster and that file's path, or None.

    Raises :class:`NotGeoreferenced` for one that cannot be read with certainty, and for two that
    disagree.
    """
    suffix = path.suffix.lower()
    endings = [f".{suffix[1:2]}{suffix[-1:]}w", f"{suffix}w", ".wld"]
    transforms = [(_read_transform(beside), beside) for beside in _list_beside(path, endings)]
    if not transforms:
        return None
    first, first_file = transforms[0]
    for transform, beside in transforms[1:]:
        if not transforms_agree(transform, first, 1000):
            raise NotGeoreferenced(
                f"{path} has two world files that disagree: {first_file.name} and {beside.name}.\n"
                "Remove the wrong one."
            )
    return first, first_file


def transforms_agree(one: Affine6, other: Affine6, size_px: int) -> bool:
    """Whether two transforms put a picture of so many pixels to the same place, to half a pixel."""
    pixel = max(math.hypot(one[0], one[3]), 1e-12)
    scale = max(abs(one[i] - other[i]) for i in (0, 1, 3, 4)) * size_px
    return max(scale, abs(one[2] - other[2]), abs(one[5] - other[5])) <= 0.5 * pixel


def read_tiff_tags(path: Path) -> dict[int, Any]:
    """The tags of a TIFF's first picture by number, texts as bytes; none if it is not a TIFF."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with path.open("rb") as file:
            header = file.read(8)
            if header[2:3] == b"\x2b" or header[3:4] == b"\x2b":
                header += file.read(8)  # BigTIFF
            directory = ImageFileDirectory_v2(header)
            file.seek(directory.next)
            directory.load(file)
            return dict(directory)
    except Exception:  # Pillow's own, struct's, index errors: then it has none
        return {}


def read_text_tag(tags: dict[int, Any], number: int) -> str:
    """A text tag in whatever encoding it has; Pillow hands texts over as if in Latin-1."""
    value = tags.get(number)
    if isinstance(value, tuple):
        value = value[0] if value else ""
    data = value if isinstance(value, bytes) else str(value or "").encode("latin-1", "replace")
    return decode_any_text(data).replace("\0", " ").strip()


def read_tag_transform(tags: dict[int, Any]) -> Affine6 | None:
    """The transform in a GeoTIFF's own tags, for when its reference system cannot be read."""
    try:
        if matrix := tags.get(_MATRIX):
            a, b, _, c, d, e, _, f = (float(value) for value in matrix[:8])
        elif tags.get(_SCALE) and len(tags.get(_TIEPOINTS, ())) == 6:
            a, down = (float(value) for value in tags[_SCALE][:2])
            column, row, _, x, y, _ = (float(value) for value in tags[_TIEPOINTS])
            b, d, e = 0.0, 0.0, -down
            c, f = x - a * column, y - e * row
        else:
            return None
    except (TypeError, ValueError, IndexError):
        return None
    keys = tags.get(_GEO_KEYS, ())
    for at in range(4, len(keys) - 3, 4):
        if keys[at] == _RASTER_TYPE and keys[at + 3] == _PIXEL_IS_POINT:
            c, f = c - (a + b) / 2.0, f - (d + e) / 2.0
    return a, b, c, d, e, f


def _list_beside(path: Path, endings: list[str]) -> Iterator[Path]:
    """Files beside a raster with its name and one of the endings, in any case; each once."""
    seen: list[Path] = []
    for ending in dict.fromkeys(endings):
        world = f"{ending[:-1]}W" if ending.endswith("w") else ending
        for case in (ending, ending.upper(), f".{ending[1:].capitalize()}", world):
            beside = path.with_suffix(case)
            if beside.is_file() and not any(beside.samefile(other) for other in seen):
                seen.append(beside)
                yield beside


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as problem:
        raise NotGeoreferenced(f"{path} cannot be read: {problem.strerror}.") from problem


def _read_transform(path: Path) -> Affine6:
    """Six numbers, a line each: of the pixels' scale and turn, and the first pixel's centre."""
    words = decode_any_text(_read(path)).split()[:6]
    wrong = [word for word in words if not _NUMBER.fullmatch(word)]
    if wrong or len(words) < 6:
        what = f"{wrong[0][:40]!r} is not a number" if wrong else f"only {len(words)} numbers"
        comma = " with a decimal point" if wrong and "," in wrong[0] else ""
        raise NotGeoreferenced(
            f"{path} cannot be read as a world file: {what}.\n"
            f"It must hold six numbers{comma}, each on a line of its own."
        )
    a, d, b, e, x, y = (float(word.lower().replace("d", "e")) for word in words)
    c, f = x - 0.5 * a - 0.5 * b, y - 0.5 * d - 0.5 * e
    if not all(map(math.isfinite, (a, b, c, d, e, f))):
        raise NotGeoreferenced(f"{path} cannot be read as a world file: its numbers are too large.")
    return a, b, c, d, e, f
