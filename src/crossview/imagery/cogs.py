"""Cloud-optimised GeoTIFFs by address: the part over an area, from the overview that is needed.

GDAL reads the file through a seekable stream of kept ranges, never through its own network code,
and no file beside it. What is read is written as GeoTIFF blocks with place, licence and date, each
whole or not at all; blocks that are there are not read again.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from crossview.arrays import F64
from crossview.downloads import Downloads
from crossview.errors import BadImagery, CrossviewError, NotGeoreferenced
from crossview.files import make_folder, writing
from crossview.geo.grids import RasterGrid, convert_to_wkt, names_files
from crossview.geo.perimeters import Perimeter
from crossview.imagery.drivers import gdal
from crossview.imagery.rasters import choose_bands, read_palette
from crossview.imagery.sheets import Box

BLOCK_PX = 2048  # side of a block that is written; a multiple of every usual tile
MOST_TILE_PX = 8192  # side of a stored tile: decoding one must fit into memory
MOST_SIDE_PX = 10_000_000
_OUTLINE_POINTS = 17  # along each edge of the area: its image in the file's CRS is not straight
_NAME = "picture.tif"  # what GDAL is told to open; nothing else is there for it
_KEPT = "ranges"  # folder of the downloaded ranges beside the blocks
_SIGNED = {
    "sig", "se", "st", "sp", "sv", "sr", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv",
}  # fmt: skip
_SHARES = {"jpeg": 0.12, "webp": 0.1, "lerc": 0.4, "lzw": 0.8, "deflate": 0.7, "zstd": 0.7}

OpenStream = Callable[[], BinaryIO]


@dataclass(frozen=True, kw_only=True)
class CogCut:
    """What will be read of one file.

    ``level``: -1 the full resolution, else the number of the overview. ``boxes``: in pixels of that
    level, on a raster of :data:`BLOCK_PX`. ``likely_bytes``: about what the stored tiles below the
    boxes take, by their compression.
    """

    level: int
    grid: RasterGrid  # of the level
    metres_per_px: float
    boxes: tuple[Box, ...]
    tiles: int
    likely_bytes: float

    @property
    def is_empty(self) -> bool:
        """Whether the file shows nothing of the area."""
        return not self.boxes


@dataclass(frozen=True, kw_only=True)
class Credit:
    """What is written into every block, so that it is shown wherever the pictures are used."""

    attribution: str = ""
    date: str = ""  # ISO; "" if not known


def name_folder(address: str) -> str:
    """A folder's name for what is kept of an address; signatures, which expire, are no part of it.

    Nor are times of expiry and versions that come with them: SAS of Azure, and ``X-Amz-``.
    """
    parts = urlsplit(address)
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name.lower() not in _SIGNED and not name.lower().startswith("x-amz-")
    ]
    bare = f"{parts.scheme}://{parts.netloc}{parts.path}?{kept}"
    return hashlib.sha256(bare.encode()).hexdigest()[:20]


def plan_cut(open_stream: OpenStream, name: str, area: Perimeter, wanted_px_m: float) -> CogCut:
    """What of a file lies over an area, at the coarsest level of at most ``wanted_px_m``.

    ``name`` is for messages. Reads the header only. Raises :class:`BadImagery` for what is no
    GeoTIFF, is stored in strips over its whole width or in tiles beyond limits, and
    :class:`NotGeoreferenced` without a place.
    """
    with _open_level(open_stream, name, -1) as (whole, check):
        check()
        _require_modest(whole, name)
        scales = [1, *whole.overviews(1)]
        full = _read_grid(whole, name)
    finest = _measure_px(full, area)
    level = _choose_level(scales, finest, wanted_px_m)
    with _open_level(open_stream, name, level) as (dataset, _):
        _require_modest(dataset, name)
        grid = _read_grid(dataset, name)
        boxes = tuple(_list_boxes(grid, area))
        tile_height, tile_width = dataset.block_shapes[0]
        tiles = sum(_count_tiles(box, tile_width, tile_height) for box in boxes)
        depth = sum(np.dtype(kind).itemsize for kind in dataset.dtypes)
        return CogCut(
            level=level,
            grid=grid,
            metres_per_px=_measure_px(grid, area),
            boxes=boxes,
            tiles=tiles,
            likely_bytes=tiles * tile_width * tile_height * depth * _read_share(dataset),
        )


@dataclass(frozen=True, kw_only=True)
class PlacedCut:
    """A cut, its file's address, what it is called, and the folder of its blocks."""

    url: str
    name: str
    cut: CogCut
    out: Path
    credit: Credit


@dataclass(frozen=True)
class CutJob:
    """Cuts of one or several files, to be written as blocks; later ones lie on top."""

    cuts: tuple[PlacedCut, ...]

    @property
    def pieces(self) -> int:
        """How many blocks there are in all."""
        return sum(len(one.cut.boxes) for one in self.cuts)

    def measure_missing(self) -> tuple[int, float]:
        """Blocks that are not there yet, and about how many bytes they take."""
        pieces, size = 0, 0.0
        for one in self.cuts:
            missing = len(list_missing(one.cut, one.out))
            pieces += missing
            size += one.cut.likely_bytes * missing / max(1, len(one.cut.boxes))
        return pieces, size

    def fetch(self, downloads: Downloads, progress: Callable[[int, int], None]) -> tuple[Path, ...]:
        """Write what is missing; the files of all blocks. Goes on where it was stopped."""
        paths: list[Path] = []
        for one in self.cuts:
            stream = _open_kept(downloads, one.url, one.out)
            for path in fetch_cut(stream, one.name, one.cut, one.out, one.credit):
                paths.append(path)
                progress(len(paths), self.pieces)
        return tuple(paths)


def place_cut(
    url: str,
    area: Perimeter,
    wanted_px_m: float,
    credit: Credit,
    *,
    downloads: Downloads,
    folder: Path,
) -> PlacedCut | None:
    """What of the file at ``url`` lies over an area; None if nothing does. Reads its header.

    Its blocks will lie in a folder of their own below ``folder``. Raises as :func:`plan_cut`, and
    a kind of :class:`DownloadFailed`.
    """
    name = downloads.conceal(url.partition("?")[0])[:200]
    out = folder / name_folder(url)
    cut = plan_cut(_open_kept(downloads, url, out), name, area, wanted_px_m)
    return None if cut.is_empty else PlacedCut(url=url, name=name, cut=cut, out=out, credit=credit)


def _open_kept(downloads: Downloads, url: str, out: Path) -> OpenStream:
    return lambda: downloads.open_ranges(url, out / _KEPT)


def _read_share(dataset: Any) -> float:
    """Stored bytes of a byte of pixels, about, by how the file is compressed."""
    kind = str(getattr(dataset.compression, "value", "") or "").lower()
    return next((share for name, share in _SHARES.items() if name in kind), 0.6 if kind else 1.0)


def list_missing(cut: CogCut, out: Path) -> tuple[Box, ...]:
    """The blocks that are not there yet."""
    return tuple(box for box in cut.boxes if not _find_block(cut, box, out).is_file())


def fetch_cut(
    open_stream: OpenStream, name: str, cut: CogCut, out: Path, credit: Credit
) -> Iterator[Path]:
    """Write the blocks that are missing below ``out``; gives the file of each, also of old ones.

    Stored values are kept (bits, bands, no data, palette), with an RGB choice of bands: a mosaic
    needs no more. Raises :class:`BadImagery` for tiles that cannot be decoded.
    """
    make_folder(out)
    missing = set(list_missing(cut, out))
    if not missing:
        yield from (_find_block(cut, box, out) for box in cut.boxes)
        return
    with _open_level(open_stream, name, cut.level) as (dataset, check):
        if (dataset.width, dataset.height) != (cut.grid.width_px, cut.grid.height_px):
            raise BadImagery(
                f"{name} has changed on its server since it was looked at. Begin anew."
            )
        for box in cut.boxes:
            path = _find_block(cut, box, out)
            if box in missing:
                _write_block((dataset, check), name, cut, box, path, credit)
            yield path


@contextmanager
def _open_level(
    open_stream: OpenStream, name: str, level: int
) -> Iterator[tuple[Any, Callable[[], None]]]:
    """The dataset of one level, read through the stream alone, and what raises if that failed."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    trouble: list[CrossviewError] = []

    def opener(path: str, mode: str = "rb") -> BinaryIO:
        if Path(path).name != _NAME or "r" not in mode or "+" in mode:
            raise FileNotFoundError(path)
        try:
            stream = open_stream()
        except CrossviewError as problem:
            trouble.append(problem)
            raise FileNotFoundError(path) from problem
        return _Telling(stream, trouble)  # type: ignore[return-value]

    def check() -> None:
        if trouble:
            raise trouble[0]

    options = {} if level < 0 else {"OVERVIEW_LEVEL": str(level)}
    sealed = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with (
                gdal(),
                rasterio.Env(**sealed),
                rasterio.open(_NAME, driver="GTiff", opener=opener, **options) as dataset,
            ):
                yield dataset, check
    except (RasterioError, OSError, ValueError) as problem:
        check()
        why = str(problem).strip().partition("\n")[0] or "no reason given"
        raise BadImagery(
            f"{name} cannot be read as a cloud-optimised GeoTIFF: {why}\n"
            "Give the address of a tiled GeoTIFF; other kinds are read as files only."
        ) from problem


class _Telling:
    """A stream that remembers why it failed: the raster library passes no exceptions on."""

    def __init__(self, stream: BinaryIO, trouble: list[CrossviewError]) -> None:
        self._stream, self._trouble = stream, trouble

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except CrossviewError as problem:
            self._trouble.append(problem)
            return b""  # an exception would be lost on its way through the library

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> _Telling:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _require_modest(dataset: Any, name: str) -> None:
    """Refuse what would be read or decoded as a whole, before any pixel is."""
    height, width = dataset.block_shapes[0]
    if max(dataset.width, dataset.height) > MOST_SIDE_PX or dataset.count > 64:
        raise BadImagery(
            f"{name} says it is {dataset.width} x {dataset.height} pixels of {dataset.count} bands,"
            " more than any picture has."
        )
    striped = width == dataset.width and dataset.width > BLOCK_PX
    if max(height, width) > MOST_TILE_PX or striped:
        raise BadImagery(
            f"{name} is stored in pieces of {width} x {height} pixels, so a part of it cannot be "
            "read by itself.\nDownload it, or make a cloud-optimised file of it: gdal_translate "
            "-of COG in.tif out.tif"
        )


def _read_grid(dataset: Any, name: str) -> RasterGrid:
    wkt = dataset.crs.to_wkt() if dataset.crs else ""
    if not wkt or names_files(wkt):
        raise NotGeoreferenced(f"{name} has no coordinate reference system that can be used.")
    a, b, c, d, e, f = (float(value) for value in dataset.transform[:6])
    if (a, b, c, d, e, f) == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0) or not all(
        math.isfinite(value) for value in (a, b, c, d, e, f)
    ):
        raise NotGeoreferenced(f"{name} has no transform, so its place is not known.")
    return RasterGrid(
        crs=convert_to_wkt(wkt),
        transform=(a, b, c, d, e, f),
        width_px=dataset.width,
        height_px=dataset.height,
    )


def _measure_px(grid: RasterGrid, area: Perimeter) -> float:
    """Ground metres per pixel at the pixel of the grid nearest to the area's middle."""
    columns, rows = _outline(grid, area)
    finite = np.isfinite(columns) & np.isfinite(rows)
    column, row = grid.width_px / 2.0, grid.height_px / 2.0
    if finite.any():
        column = float(np.clip(np.mean(columns[finite]), 0.0, grid.width_px))
        row = float(np.clip(np.mean(rows[finite]), 0.0, grid.height_px))
    scale = grid.ground(column, row)
    return float(max(np.max(scale.right_m), np.max(scale.down_m)))


def _choose_level(scales: list[int], finest_m: float, wanted_px_m: float) -> int:
    """-1 or the number of the overview: the coarsest that is fine enough; else the finest."""
    fine = [i for i, times in enumerate(scales) if times * finest_m <= wanted_px_m * 1.001]
    return max(fine, key=lambda i: scales[i]) - 1 if fine else -1


def _outline(grid: RasterGrid, area: Perimeter) -> tuple[F64, F64]:
    """Columns and rows of points along the area's outer rings."""
    along = np.linspace(0.0, 1.0, _OUTLINE_POINTS)[:, None]
    points = []
    for outer, *_ in area.polygons:
        ring = np.asarray(outer, np.float64)
        points.append(np.concatenate([a + along * (b - a) for a, b in pairwise(ring)]))
    lon, lat = np.concatenate(points).T
    return grid.pixel(lat, lon)


def _list_boxes(grid: RasterGrid, area: Perimeter) -> Iterator[Box]:
    """Blocks of the grid that the area's polygons touch, each polygon by its own bounds."""
    seen: dict[Box, None] = {}
    for polygon in area.polygons:
        columns, rows = _outline(grid, Perimeter((polygon,)))
        finite = np.isfinite(columns) & np.isfinite(rows)
        if not finite.any():
            continue
        left, right = columns[finite].min(), columns[finite].max()
        top, bottom = rows[finite].min(), rows[finite].max()
        left, top = max(0.0, left), max(0.0, top)
        right, bottom = min(float(grid.width_px), right), min(float(grid.height_px), bottom)
        if right <= left or bottom <= top:
            continue
        for row in range(int(top) // BLOCK_PX, -(-math.ceil(bottom) // BLOCK_PX)):
            for column in range(int(left) // BLOCK_PX, -(-math.ceil(right) // BLOCK_PX)):
                box = _clip_block(grid, column, row, (left, top, right, bottom))
                seen.setdefault(box)
    yield from seen


def _clip_block(
    grid: RasterGrid, column: int, row: int, span: tuple[float, float, float, float]
) -> Box:
    """A block, without the rows and columns of stored tiles (of 256) that the span leaves out."""
    left, top, right, bottom = span
    step = 256

    def cut(at: int, low: float, high: float, most: int) -> tuple[int, int]:
        first = max(at * BLOCK_PX, int(low) // step * step)
        last = min((at + 1) * BLOCK_PX, -(-math.ceil(high) // step) * step, most)
        return first, last

    x0, x1 = cut(column, left, right, grid.width_px)
    y0, y1 = cut(row, top, bottom, grid.height_px)
    return Box(y0, y1, x0, x1)


def _count_tiles(box: Box, width: int, height: int) -> int:
    across = -(-box.right // width) - box.left // width
    down = -(-box.bottom // height) - box.top // height
    return across * down


def _find_block(cut: CogCut, box: Box, out: Path) -> Path:
    return out / f"level{cut.level + 1}-{box.top}-{box.left}-{box.bottom}-{box.right}.tif"


def _write_block(
    opened: tuple[Any, Callable[[], None]],
    name: str,
    cut: CogCut,
    box: Box,
    path: Path,
    credit: Credit,
) -> None:
    import rasterio
    from rasterio.windows import Window

    dataset, check = opened
    bands = choose_bands(dataset, None, name)
    palette = read_palette(dataset, bands)
    window = Window(box.left, box.top, box.right - box.left, box.bottom - box.top)
    try:
        pixels = dataset.read(list(bands), window=window)
        mask = dataset.dataset_mask(window=window)
        check()
    except (rasterio.errors.RasterioError, OSError) as problem:
        check()
        raise BadImagery(f"{name}: a part of it cannot be decoded ({problem}).") from problem
    grid = cut.grid.crop(box.left, box.top, box.right - box.left, box.bottom - box.top)
    profile = {
        "driver": "GTiff",
        "width": grid.width_px,
        "height": grid.height_px,
        "count": len(pixels),
        "dtype": pixels.dtype.name,
        "crs": grid.crs,
        "transform": rasterio.Affine(*grid.transform),
        "compress": "deflate",
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
    }
    if len(pixels) == 3:
        profile["photometric"] = "RGB"
    with (
        writing(path) as temporary,
        gdal(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(temporary, "w", **profile) as copy,
    ):
        copy.write(pixels)
        if not mask.all():
            copy.write_mask(mask)
        if palette is not None:
            copy.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(palette)})
        copy.update_tags(**_make_tags(credit))


def _make_tags(credit: Credit) -> dict[str, str]:
    tags = {}
    if credit.attribution:
        tags["TIFFTAG_COPYRIGHT"] = credit.attribution
    try:
        day = date.fromisoformat(credit.date[:10])
        tags["TIFFTAG_DATETIME"] = f"{day:%Y:%m:%d} 00:00:00"
    except ValueError:
        if credit.date:
            tags["TIFFTAG_DATETIME"] = credit.date
    return tags
