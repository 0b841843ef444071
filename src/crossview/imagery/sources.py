"""Sources: whatever holds imagery, opened as sheets with what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from crossview.errors import EmptyRegion
from crossview.imagery.info import ImageryInfo, bounds_of, joined, signature_of
from crossview.imagery.mosaics import mosaic
from crossview.imagery.options import SourceOptions
from crossview.imagery.pyramids import TileArchive, pyramid_sheets
from crossview.imagery.rasters import OpenRasters, RasterFile, RasterStore
from crossview.imagery.recognition import Found, PlacedRaster, recognise
from crossview.imagery.rendering import USUAL_PERCENTILES, Limits, Rendering, limits_of
from crossview.imagery.sheets import Sheet

STRETCH_SAMPLES = 16  # files that a common stretch is computed from


@dataclass(frozen=True)
class Imagery:
    """Open sheets. Use as a context manager; for one thread at a time."""

    sheets: tuple[Sheet, ...]
    info: ImageryInfo
    ignored: tuple[Path, ...] = ()  # pictures without a place that lay in a given folder
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
    found = recognise(paths, options)
    opened = OpenRasters()
    limits = _common_stretch([raster.file for raster in found.rasters], options, opened)
    sheets = _sheets(found, limits, options, opened)
    if not sheets:
        raise EmptyRegion(f"No imagery in {', '.join(map(str, paths))}.")
    return Imagery(
        tuple(sheets),
        _described(paths, found, sheets, options, limits),
        tuple(found.ignored),
        (opened.close, *(archive.close for archive in found.archives)),
    )


def _sheets(
    found: Found, limits: Limits | None, options: SourceOptions, opened: OpenRasters
) -> list[Sheet]:
    finest = options.finest_useful_m
    joinable: list[Sheet] = []
    alone: list[Sheet] = []
    for raster in found.rasters:
        stretch = limits if _needs_stretch(raster.file, options) else None
        rendering = Rendering(raster.file.bands, stretch, raster.file.palette)
        sheet = _raster_sheet(raster, rendering, finest, opened)
        (alone if raster.alone else joinable).append(sheet)
    for archive in found.archives:
        alone += pyramid_sheets(archive, zoom=options.zoom, finest_useful_m=finest)
    return [*mosaic(joinable), *alone]


def _raster_sheet(
    raster: PlacedRaster, rendering: Rendering, finest_m: float | None, opened: OpenRasters
) -> Sheet:
    full = Sheet(raster.file.path.name, raster.grid, RasterStore(raster.file, rendering, opened))
    times = 1 if finest_m is None else int(finest_m / full.metres_per_px)
    times = min(times, *raster.file.size_px)
    if times <= 1:
        return full
    store = RasterStore(raster.file, rendering, opened, times)
    return Sheet(full.name, full.grid.shrunk(times), store)


def _needs_stretch(file: RasterFile, options: SourceOptions) -> bool:
    return file.palette is None and (file.dtype != "uint8" or options.stretch is not None)


def _common_stretch(
    files: Sequence[RasterFile], options: SourceOptions, opened: OpenRasters
) -> Limits | None:
    """One stretch for all files that need one, so that neighbours keep their contrast."""
    needing = [file for file in files if _needs_stretch(file, options)]
    if not needing:
        return None
    chosen = needing[:: -(-len(needing) // STRETCH_SAMPLES)]
    samples = [RasterStore(file, Rendering(file.bands), opened).sample() for file in chosen]
    return limits_of(samples, options.stretch or USUAL_PERCENTILES)


def _described(
    paths: Sequence[str | Path],
    found: Found,
    sheets: Sequence[Sheet],
    options: SourceOptions,
    limits: Limits | None,
) -> ImageryInfo:
    towns = [raster.file.synthetic or "" for raster in found.rasters]
    said: list[PlacedRaster | TileArchive] = [*found.rasters, *found.archives]
    files = [raster.file.path for raster in found.rasters]
    files += [path for archive in found.archives for path in archive.files()]
    return ImageryInfo(
        sources=tuple(str(Path(path).resolve()) for path in paths),
        attribution=options.attribution or joined(source.attribution for source in said),
        date=options.date or joined(source.date for source in said),
        metres_per_px=max(sheet.metres_per_px for sheet in sheets),
        synthetic=joined(towns) if towns and all(towns) and not found.archives else None,
        bounds=bounds_of(sheets),
        options=options,
        stretched=limits,
        signature=signature_of(files),
    )
