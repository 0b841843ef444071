"""Rasters that rasterio (GDAL) reads: GeoTIFF, COG, JPEG 2000, pictures with a world file."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import U8
from crossview.errors import BadImagery, NotGeoreferenced
from crossview.geo.grids import Affine6, RasterGrid, wkt
from crossview.imagery.rendering import Rendering, chosen_bands, palette_of
from crossview.imagery.sheets import Box, Patch

CACHE_MB = 64  # GDAL's own cache of decoded blocks; we read whole blocks once
OPEN_AT_ONCE = 64
SAMPLE_PX = 512  # the longer side of the decimated read that a stretch is computed on
SYNTHETIC_TAG = "CROSSVIEW_SYNTHETIC"


@dataclass(frozen=True, kw_only=True)
class RasterFile:
    """What a raster file says of itself. ``grid`` is None without a transform or a system."""

    path: Path
    size_px: tuple[int, int]  # width, height
    transform: Affine6 | None
    crs: str | None
    dtype: str
    bands: tuple[int, ...]
    palette: U8 | None
    block_px: tuple[int, int]  # rows, columns
    masked: bool  # some pixels may be no data
    attribution: str
    date: str
    synthetic: str | None

    @property
    def mirrored(self) -> bool:
        """Whether rows run from south to north, as some scientific formats have it."""
        if self.transform is None:
            return False
        a, b, _, d, e, _ = self.transform
        return a * e - b * d > 0.0

    def grid(self, fallback_crs: str | None = None) -> RasterGrid:
        """The raster's place, upright; raises :class:`NotGeoreferenced` when it tells none."""
        crs = self.crs or _prj_beside(self.path) or fallback_crs
        if self.transform is None:
            raise NotGeoreferenced(
                f"{self.path} holds pixels but not their place on Earth.\n"
                "Use a georeferenced file (GeoTIFF), a world file (.jgw, .pgw, .tfw) beside it, or "
                "a CSV: file,lat,lon,metres_per_px."
            )
        if crs is None:
            raise NotGeoreferenced(
                f"{self.path} does not tell its coordinate reference system.\n"
                "Put a .prj file beside it, or give it with --crs, for example --crs EPSG:25833."
            )
        (a, b, c, d, e, f), (width, height) = self.transform, self.size_px
        if self.mirrored:
            b, c, e, f = -b, c + b * height, -e, f + e * height
        return RasterGrid(wkt(crs), (a, b, c, d, e, f), width, height)


def read_facts(path: Path, bands: tuple[int, ...] | None) -> RasterFile:
    """Open a raster just long enough to read what it says of itself."""
    with readable(path), gdal(), _opened(path) as dataset:
        chosen = chosen_bands(dataset, bands, path.name)
        return RasterFile(
            path=path,
            size_px=(dataset.width, dataset.height),
            transform=_transform(dataset, path),
            crs=dataset.crs.to_wkt() if dataset.crs else None,
            dtype=dataset.dtypes[chosen[0] - 1],
            bands=chosen,
            palette=palette_of(dataset, chosen),
            block_px=dataset.block_shapes[0],
            masked=_masked(dataset, chosen),
            attribution=dataset.tags().get("TIFFTAG_COPYRIGHT", "").strip(),
            date=_date(dataset.tags().get("TIFFTAG_DATETIME", "")),
            synthetic=dataset.tags().get(SYNTHETIC_TAG),
        )


class OpenRasters:
    """The few rasters that are open at a time, most recently used last. For one thread."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Any] = OrderedDict()

    def get(self, path: Path) -> Any:
        """The open dataset of a path."""
        if path not in self._open:
            self._open[path] = _opened(path)
        self._open.move_to_end(path)
        while len(self._open) > OPEN_AT_ONCE:
            self._open.popitem(last=False)[1].close()
        return self._open[path]

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()


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

    def sample(self) -> NDArray[Any]:
        """Stored values [bands, n] of valid pixels, from a decimated read."""
        width, height = self.file.size_px
        less = min(1.0, SAMPLE_PX / max(width, height))
        shape = (max(1, round(height * less)), max(1, round(width * less)))
        stored, valid = self._stored(Box(0, height, 0, width), shape)
        chosen = stored.reshape(len(stored), -1)
        return chosen if valid is None else chosen[:, valid.ravel() > 0]

    def _read(self, box: Box, shape: tuple[int, int]) -> Patch:
        stored, valid = self._stored(box, shape)
        if stored.dtype.kind == "f":
            finite = np.isfinite(stored).all(axis=0).astype(np.uint8) * np.uint8(255)
            valid = finite if valid is None else np.minimum(valid, finite)
        return Patch(self.rendering.rgb(stored), valid)

    def _stored(self, box: Box, shape: tuple[int, int]) -> tuple[NDArray[Any], U8 | None]:
        """Values [bands, *shape] of a box in the file's own pixels, and its mask."""
        from rasterio.enums import Resampling
        from rasterio.windows import Window

        height, bands = self.file.size_px[1], self.rendering.bands
        top = height - box.bottom if self.file.mirrored else box.top
        window = Window(box.left, top, box.width, box.height)
        mixes = shape != (box.height, box.width) and self.file.palette is None
        how = Resampling.average if mixes else Resampling.nearest
        with readable(self.file.path), gdal():
            dataset = self.opened.get(self.file.path)
            size = (len(bands), *shape)
            stored = dataset.read(bands, window=window, out_shape=size, resampling=how)
            masked = self.file.masked
            valid = dataset.dataset_mask(window=window, out_shape=shape) if masked else None
        if self.file.mirrored:
            return stored[:, ::-1].copy(), None if valid is None else valid[::-1].copy()
        return stored, valid


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the raster library's errors into :class:`BadImagery` that names the file."""
    from rasterio.errors import RasterioError

    try:
        yield
    except (RasterioError, OSError) as problem:
        why = str(problem.__cause__ or problem).strip().partition("\n")[0] or "no reason given"
        raise BadImagery(
            f"{path} cannot be read as imagery: {why}\n"
            "It may be truncated or of another kind; allowed are GeoTIFF, JPEG 2000, pictures with "
            "a world file, MBTiles, PMTiles, an XYZ folder, or a CSV of images."
        ) from problem


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL with a small cache, so that memory stays constant, and strict about cut PNG files."""
    import rasterio

    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_PNG_WHOLE_IMAGE_OPTIM="NO"):
        yield


def _opened(path: Path) -> Any:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


def _transform(dataset: Any, path: Path) -> Affine6 | None:
    """The affine transform, or None when the file has none."""
    if not dataset.transform.is_identity:
        a, b, c, d, e, f = (float(value) for value in dataset.transform[:6])
        return a, b, c, d, e, f
    if dataset.gcps[0] or dataset.rpcs:
        raise NotGeoreferenced(
            f"{path} has only ground control points or a camera model, not a grid.\n"
            "Rectify it first, for example: gdalwarp -t_srs EPSG:25833 in.tif out.tif"
        )
    return None


def _masked(dataset: Any, bands: tuple[int, ...]) -> bool:
    from rasterio.enums import MaskFlags

    return any(MaskFlags.all_valid not in dataset.mask_flag_enums[band - 1] for band in bands)


def _date(tag: str) -> str:
    """``2024:06:18 12:00:00`` of TIFF as ``2024-06-18``; anything else as it is."""
    day = tag.strip().split(" ")[0]
    return day.replace(":", "-") if day.count(":") == 2 else tag.strip()


def _prj_beside(path: Path) -> str | None:
    for beside in (path.with_suffix(".prj"), path.with_suffix(".PRJ")):
        if beside.is_file():
            return beside.read_text(encoding="utf-8", errors="replace").strip() or None
    return None
