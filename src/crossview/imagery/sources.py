"""Whatever holds imagery, recognised and opened as sheets with what it says of itself.

Sources are rasters with a place, images of a table, tile archives, and folders of these.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from crossview.arrays import U8, Bool
from crossview.errors import BadImagery, CrossviewError, EmptyRegion, NotGeoreferenced
from crossview.files import list_files
from crossview.geo.grids import RasterGrid, find_datum_shift
from crossview.geo.points import LatLon
from crossview.imagery.provenance import (
    ImageryInfo,
    SourceOptions,
    compute_bounds,
    compute_signature,
    join_texts,
)
from crossview.imagery.rasters import (
    DEFAULT_PERCENTILES,
    Limits,
    OpenRasters,
    RasterFile,
    RasterStore,
    Rendering,
    compute_limits,
    read_raster_file,
)
from crossview.imagery.sheets import Box, Patch, Sheet, join_sheets
from crossview.imagery.tile_archives import (
    TILEMAP,
    MbTiles,
    NorthUpArchive,
    PmTiles,
    TileFacts,
    XyzFolder,
    make_pyramid_sheets,
)
from crossview.imagery.tile_grids import GridFolder
from crossview.lists import Folder, ListRow, read_header, read_table

RASTER_SUFFIXES = {
    ".tif", ".tiff", ".jp2", ".j2k", ".jpg", ".jpeg", ".png", ".webp", ".vrt", ".img",
}  # fmt: skip
STRETCH_SAMPLES = 16  # files that a common stretch is computed from
GREY_SPREAD = 8  # levels between the channels of a pixel; JPEG keeps greys within a few
_COLOURED_SHARE = 0.01  # of the pixels of a sample, from which on it has colour
_SAMPLED_SHEETS = 8
_SAMPLE_SIDE_PX = 128
_SAMPLED_AT = (0.5, 0.25, 0.75)  # of a sheet's height and width


@dataclass(frozen=True)
class Imagery:
    """Open sheets. Use as a context manager; for one thread at a time."""

    sheets: tuple[Sheet, ...]
    info: ImageryInfo
    ignored: tuple[Path, ...] = ()  # pictures without a place that lay in a given folder
    notes: tuple[str, ...] = ()  # what was assumed or decided while reading
    parts: tuple[Sheet, ...] = ()  # before neighbours became mosaics
    closers: tuple[Callable[[], None], ...] = ()

    def close(self) -> None:
        """Let go of all files."""
        for close in self.closers:
            close()

    def __enter__(self) -> Imagery:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_sources(paths: Sequence[str | Path], options: SourceOptions | None = None) -> Imagery:
    """Open imagery of any known kind; several sources may be given.

    GeoTIFF, COG, JPEG 2000 and pictures with world files (files, or folders of them), a CSV of
    images or a folder that holds one, MBTiles, PMTiles, an XYZ folder. Raises
    :class:`BadImagery` (or one of its kinds) for what cannot be used.
    """
    options = options or SourceOptions()
    files = recognise_sources(paths, options)
    rasters = OpenRasters(allow_vrt=bool(options.allow_vrt))
    limits = _compute_common_stretch([raster.file for raster in files.rasters], options, rasters)
    joinable, alone = _make_sheets(files, limits, options, rasters)
    sheets = [*join_sheets(joinable), *alone]
    if not sheets:
        raise EmptyRegion(f"No imagery in {', '.join(map(str, paths))}.")
    rough, fine = _describe_datum_shifts(joinable)
    return Imagery(
        tuple(sheets),
        _describe(paths, files, sheets, options, limits, rough),
        tuple(files.ignored),
        (*_collect_notes(files), *fine),
        (*joinable, *alone),
        (rasters.close, *(archive.close for archive in files.archives)),
    )


def is_grey(imagery: Imagery) -> bool:
    """Whether no sample of the pixels has colour: one band, such as infrared, or three alike.

    A few small boxes are read, until one has colour. What cannot be read is not judged.
    """
    judged = False
    for sheet in imagery.sheets[:: -(-len(imagery.sheets) // _SAMPLED_SHEETS)]:
        for share in _SAMPLED_AT:
            try:
                colours = _list_valid_pixels(sheet.store.read(_choose_sample(sheet.box, share)))
            except CrossviewError:  # who needs these pixels will say so
                continue
            spread = np.ptp(colours, axis=-1)
            if spread.size and float((spread > GREY_SPREAD).mean()) >= _COLOURED_SHARE:
                return False
            judged = judged or spread.size > 0
    return judged


def _choose_sample(box: Box, share: float) -> Box:
    """A small box at the given share of a sheet's height and width."""
    height, width = min(_SAMPLE_SIDE_PX, box.height), min(_SAMPLE_SIDE_PX, box.width)
    top, left = int(share * (box.height - height)), int(share * (box.width - width))
    return Box(top, top + height, left, left + width)


def _list_valid_pixels(patch: Patch) -> U8:
    """The colours [n, 3] of a patch's data."""
    if patch.valid is None:
        return patch.pixels.reshape(-1, 3)
    return patch.pixels[patch.valid > 0]


def recognise_sources(paths: Sequence[str | Path], options: SourceOptions) -> SourceFiles:
    """Look at each path. Raises :class:`BadImagery` for what is missing or of no known kind."""
    files = SourceFiles()
    for path in map(Path, paths):
        if path.is_dir():
            _recognise_folder(path, options, files)
        elif path.is_file():
            _recognise_file(path, options, files)
        else:
            raise BadImagery(
                f"There is no {path}. Give existing files or folders of imagery; addresses, and "
                "paths that mean something to GDAL only, are not read."
            )
    return files


@dataclass
class SourceFiles:
    """What paths turned out to be; ``ignored`` are pictures without a place in a folder."""

    rasters: list[PlacedRaster] = field(default_factory=list)
    archives: list[NorthUpArchive | GridFolder] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PlacedRaster:
    """A raster file and its grid. ``alone``: with a grid of its own, no part of a mosaic."""

    file: RasterFile
    grid: RasterGrid
    alone: bool
    attribution: str
    date: str


def _recognise_file(path: Path, options: SourceOptions, sources: SourceFiles) -> None:
    suffix = path.suffix.lower()
    if suffix == ".mbtiles":
        sources.archives.append(NorthUpArchive(MbTiles(path), options.tms))
    elif suffix == ".pmtiles":
        sources.archives.append(NorthUpArchive(PmTiles(path), options.tms))
    elif path.name.lower() == TILEMAP:
        _recognise_folder(path.parent, options, sources)
    elif suffix == ".csv":
        sources.rasters.extend(
            _place_table_row(row, options) for row in read_image_table(path, options)
        )
    else:
        sources.rasters.append(_place_raster(path, options))


def _recognise_folder(folder: Path, options: SourceOptions, sources: SourceFiles) -> None:
    if GridFolder.is_one(folder):
        sources.archives.append(GridFolder(folder))
        return
    if XyzFolder.is_one(folder):
        sources.archives.append(NorthUpArchive(XyzFolder(folder), options.tms))
        return
    files = list_files(folder)
    tables = [path for path in files if path.suffix.lower() == ".csv" and is_image_table(path)]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise BadImagery(f"{folder} holds several image tables ({names}); give one of them.")
    if tables:
        _recognise_file(tables[0], options, sources)
        return
    before, problem = len(sources.rasters), None
    pictures = [path for path in files if path.suffix.lower() in RASTER_SUFFIXES]
    lists = (
        [] if options.allow_vrt else [path for path in pictures if path.suffix.lower() == ".vrt"]
    )
    if 0 < len(lists) < len(pictures):  # most likely lists of the files beside them
        sources.notes.append(
            f"{lists[0]} was left out: it is a list of other files; --allow-vrt reads it"
        )
        pictures = [path for path in pictures if path not in lists]
    for path in pictures:
        try:
            sources.rasters.append(_place_raster(path, options))
        except NotGeoreferenced as why:
            problem = problem or why
            sources.ignored.append(path)
    if len(sources.rasters) == before:
        raise problem or BadImagery(
            f"{folder} holds no imagery that crossview knows.\n"
            "Expected GeoTIFFs, pictures with world files, a CSV (file,lat,lon,metres_per_px) or "
            "an XYZ folder (zoom/x/y.png)."
        )


def _place_raster(path: Path, options: SourceOptions) -> PlacedRaster:
    file, grid = read_raster_file(path, options).place(options.crs)
    return PlacedRaster(
        file=file, grid=grid, alone=False, attribution=file.attribution, date=file.date
    )


def _place_table_row(row: ImageRow, options: SourceOptions) -> PlacedRaster:
    if not os.path.isfile(row.path):  # unlike Path, also False for a name that no disk can hold
        raise BadImagery(f"There is no {row.path}, which the table names.")
    file = read_raster_file(row.path, options).upright()
    scale = row.scale(file.size_px[0])
    return PlacedRaster(
        file=file,
        grid=RasterGrid.around(row.centre, scale, file.size_px, row.up_bearing_deg),
        alone=True,
        attribution=row.attribution or file.attribution,
        date=row.date or file.date,
    )


def _make_sheets(
    files: SourceFiles, limits: Limits | None, options: SourceOptions, rasters: OpenRasters
) -> tuple[list[Sheet], list[Sheet]]:
    """Sheets that may become mosaics, and those with a grid of their own."""
    finest = options.finest_useful_m
    joinable: list[Sheet] = []
    alone: list[Sheet] = []
    for raster in files.rasters:
        stretch = limits if _needs_stretch(raster.file, options) else None
        file = raster.file
        rendering = Rendering(file.bands, stretch, file.palette, file.inverted, file.bits)
        sheet = _make_raster_sheet(raster, rendering, finest, rasters)
        (alone if raster.alone else joinable).append(sheet)
    for archive in files.archives:
        if isinstance(archive, GridFolder):
            alone += archive.make_sheets(options.nodata)
            continue
        alone += make_pyramid_sheets(
            archive, zoom=options.zoom, finest_useful_m=finest, nodata=options.nodata
        )
    return joinable, alone


def _make_raster_sheet(
    raster: PlacedRaster, rendering: Rendering, finest_m: float | None, opened: OpenRasters
) -> Sheet:
    full = Sheet(raster.file.path.name, raster.grid, RasterStore(raster.file, rendering, opened))
    times = 1 if finest_m is None else int(finest_m / full.metres_per_px)
    times = min(times, *raster.file.size_px)
    if times <= 1:
        return full
    store = RasterStore(raster.file, rendering, opened, times)
    return Sheet(full.name, full.grid.shrink(times), store)


def _needs_stretch(file: RasterFile, options: SourceOptions) -> bool:
    return file.palette is None and (file.dtype != "uint8" or options.stretch is not None)


def _compute_common_stretch(
    files: Sequence[RasterFile], options: SourceOptions, opened: OpenRasters
) -> Limits | None:
    """One stretch for all files that need one, so that neighbours keep their contrast."""
    needing = [file for file in files if _needs_stretch(file, options)]
    if not needing:
        return None
    chosen = needing[:: -(-len(needing) // STRETCH_SAMPLES)]
    samples = [RasterStore(file, Rendering(file.bands), opened).sample() for file in chosen]
    return compute_limits(samples, options.stretch or DEFAULT_PERCENTILES)


def _describe_datum_shifts(sheets: Sequence[Sheet]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """How well the sheets' reference systems are known: what matters, and what is good to know."""
    first = {sheet.grid.crs: sheet for sheet in reversed(sheets)}
    rough: list[str] = []
    fine: list[str] = []
    for crs, sheet in reversed(first.items()):
        lat, lon = sheet.grid.latlon(sheet.grid.width_px / 2.0, sheet.grid.height_px / 2.0)
        if shift := find_datum_shift(crs, LatLon(float(lat), float(lon))):
            (rough if shift.is_rough else fine).append(str(shift))
    return tuple(rough), tuple(fine)


def _collect_notes(sources: SourceFiles) -> tuple[str, ...]:
    """Notes of files and archives; one that many files share is given once, with their number."""
    sharing: dict[str, list[str]] = {}
    for raster in sources.rasters:
        for note in raster.file.notes:
            sharing.setdefault(note, []).append(raster.file.path.name)
    files = (
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {note}"
        for note, names in sharing.items()
    )
    archives = (note for archive in sources.archives for note in archive.notes)
    return (*sources.notes, *files, *archives)


def _describe(
    paths: Sequence[str | Path],
    sources: SourceFiles,
    sheets: Sequence[Sheet],
    options: SourceOptions,
    limits: Limits | None,
    warnings: tuple[str, ...],
) -> ImageryInfo:
    towns = [raster.file.synthetic or "" for raster in sources.rasters]
    places: list[PlacedRaster | TileFacts] = [*sources.rasters]
    places += [archive.facts for archive in sources.archives]
    files = [raster.file.path for raster in sources.rasters]
    files += [path for archive in sources.archives for path in archive.files()]
    return ImageryInfo(
        sources=tuple(str(Path(path).resolve()) for path in paths),
        attribution=options.attribution or join_texts(source.attribution for source in places),
        date=options.date or join_texts(source.date for source in places),
        metres_per_px=max(sheet.metres_per_px for sheet in sheets),
        synthetic=join_texts(towns) if towns and all(towns) and not sources.archives else None,
        bounds=compute_bounds(sheets),
        options=options,
        stretched=limits,
        signature=compute_signature(files),
        warnings=warnings,
    )


# Images of a table (CSV): columns file, lat, lon and metres_per_px or width_m.

TABLE_NEEDS = ("file", "lat", "lon")
TABLE_SCALES = ("metres_per_px", "width_m")
SCALES_AGREE = 0.05  # relative; metres_per_px is often rounded
TABLE_COLUMNS = (*TABLE_NEEDS, *TABLE_SCALES, "up_bearing_deg", "attribution", "date")


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One image of a table: its file, its centre and its scale."""

    path: Path
    centre: LatLon
    metres_per_px: float | None
    width_m: float | None
    up_bearing_deg: float
    attribution: str
    date: str

    def scale(self, width_px: int) -> float:
        """Ground metres per pixel of an image ``width_px`` wide; what contradicts is refused."""
        if self.metres_per_px is not None:
            across_m = self.metres_per_px * width_px
            width_m = self.width_m
            if width_m is not None and not math.isclose(across_m, width_m, rel_tol=SCALES_AGREE):
                raise BadImagery(
                    f"{self.path.name}: {width_px} pixels of {self.metres_per_px:g} m are "
                    f"{across_m:g} m, but width_m is {width_m:g}.\nKeep one of the two."
                )
            return self.metres_per_px
        if self.width_m is not None:
            return self.width_m / width_px
        raise BadImagery(
            f"{self.path.name} has neither metres_per_px nor width_m in its table.\n"
            "Add one of the columns, or give --metres-per-px or --width-m for all images."
        )


def is_image_table(path: Path) -> bool:
    """Whether a list has the columns of an image table, a scale among them."""
    columns = read_header(path)
    return set(TABLE_NEEDS) <= columns and bool(columns & set(TABLE_SCALES))


def read_image_table(path: Path, options: SourceOptions) -> list[ImageRow]:
    """Rows of a table (:mod:`crossview.lists`); image files are looked for beside it.

    The scale of ``options`` is used where a row has none. Columns other than ``TABLE_COLUMNS`` are
    not read. BadImagery names the line that is wrong, and an image that is listed with other facts
    twice.
    """
    folder = Folder(path.parent)
    rows: dict[str, tuple[int, ImageRow]] = {}
    for row in read_table(path, needed=TABLE_NEEDS, what="table of images", error=BadImagery):
        image = _parse_image(row, folder, options)
        line, earlier = rows.setdefault(folder.key(row.text("file")), (row.line, image))
        if earlier != replace(image, path=earlier.path):
            raise BadImagery(
                f"{row.where}: {row.text('file')} is in line {line} too, with other facts.\n"
                "Keep the line that is right."
            )
    return [image for _, image in rows.values()]


def _parse_image(row: ListRow, folder: Folder, options: SourceOptions) -> ImageRow:
    if not (file := row.text("file")):
        raise BadImagery(f"{row.where}: file is empty.")
    scale = {name: _read_positive(row, name) for name in TABLE_SCALES}
    if scale["metres_per_px"] is None and scale["width_m"] is None:
        scale = {"metres_per_px": options.metres_per_px, "width_m": options.width_m}
    bearing = row.number("up_bearing_deg", -360.0, 360.0)
    return ImageRow(
        path=folder.file(file),
        centre=LatLon(*row.place()),
        metres_per_px=scale["metres_per_px"],
        width_m=scale["width_m"],
        up_bearing_deg=0.0 if math.isnan(bearing) else bearing,
        attribution=row.text("attribution"),
        date=row.text("date"),
    )


def _read_positive(row: ListRow, name: str) -> float | None:
    value = row.number(name)
    if not value > 0.0 and not math.isnan(value):
        raise BadImagery(f"{row.where}: {name} must be > 0, got {value:g}.")
    return None if math.isnan(value) else value


# Borders of one colour that no mask declares: collars around imagery, which show no ground.

LEAST_BORDER = 0.01  # of a sheet's pixels: smaller borders spoil no window
MOST_WITH_BORDERS = 16  # that are read, spread over all
_CORNER_PX = 16  # of one colour: then more is read
_SAMPLE_PX = 512  # the longer side of the small picture that shares are measured on


class Border(NamedTuple):
    """A border: its colour, what the file stores there, and the share of the sheet it takes."""

    sheet: str
    colour: tuple[int, int, int]
    stored: tuple[float, ...]  # per band that is read
    share: float

    def __str__(self) -> str:
        red, green, blue = self.colour
        values = [f"{value:.9g}" for value in self.stored]
        stored = values[0] if len(set(values)) == 1 else ",".join(values)
        return (
            f"{self.sheet} has a border of the colour {red},{green},{blue} over "
            f"{100.0 * self.share:.0f} % of it, which is indexed like ground; if it is no data: "
            f"--nodata {stored}"
        )


def find_borders(sheets: Sequence[Sheet]) -> list[Border]:
    """Undeclared borders of up to ``MOST_WITH_BORDERS`` sheets; mostly corners are read."""
    chosen = sheets[:: max(1, -(-len(sheets) // MOST_WITH_BORDERS))]
    candidates = (_find_border(sheet) for sheet in chosen)
    return [border for border in candidates if border is not None]


def _find_border(sheet: Sheet) -> Border | None:
    colours = dict(_read_corner_colours(sheet))
    if not colours:
        return None
    height, width = sheet.box.height, sheet.box.width
    less = min(1.0, _SAMPLE_PX / max(height, width))
    small = sheet.store.shrunk(max(1, round(height * less)), max(1, round(width * less)))
    shares = [(_measure_share(small, colour), colour) for colour in colours]
    share, colour = max(shares)
    if share < LEAST_BORDER:
        return None
    return Border(sheet.name, colour, colours[colour], share)


def _read_corner_colours(
    sheet: Sheet,
) -> Iterator[tuple[tuple[int, int, int], tuple[float, ...]]]:
    """Colours and stored values of corners that are of one colour, and data."""
    side = min(_CORNER_PX, sheet.box.height, sheet.box.width)
    for top in (0, sheet.box.height - side):
        for left in (0, sheet.box.width - side):
            box = Box(top, top + side, left, left + side)
            patch = sheet.store.read(box)
            if patch.valid is not None and not patch.valid.all():
                continue
            red, green, blue = (int(value) for value in patch.pixels[0, 0])
            if not (patch.pixels == patch.pixels[0, 0]).all():
                continue
            stored: tuple[float, ...] | None = (red, green, blue)
            if isinstance(sheet.store, RasterStore):
                stored = sheet.store.read_stored_value(box)
            if stored is not None:  # else a stretch made different values one
                yield (red, green, blue), stored


def _measure_share(patch: Patch, colour: tuple[int, int, int]) -> float:
    """Share of a picture that has a colour and hangs together with a corner of that colour."""
    import cv2

    same: Bool = (patch.pixels == np.array(colour, np.uint8)).all(axis=-1)
    if patch.valid is not None:
        same &= patch.valid > 0
    mask: U8 = same.astype(np.uint8)
    _, labels = cv2.connectedComponents(mask, connectivity=4)
    corners = np.unique(labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    return float(np.isin(labels, corners[corners > 0]).mean())
