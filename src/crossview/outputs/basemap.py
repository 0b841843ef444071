"""The map page's base: the region's own imagery in Web Mercator, as a few WebP pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossview.arrays import U8
from crossview.errors import CrossviewError
from crossview.imagery.sheets import Sheet
from crossview.imagery.sources import open_sources
from crossview.outputs.drape import drape
from crossview.outputs.mosaic import mosaic
from crossview.outputs.regions import Extent, extent, regions

if TYPE_CHECKING:
    from crossview.retrieval.index import Index


MOST_PIXELS = 4096 * 4096  # of all overlays together: what a phone can still hold decoded
LONGEST_SIDE_PX = 4096
_QUALITY = 76
_FEWER = 0.7  # times the side, when the pictures take more bytes than they may
_TRIES = 8


@dataclass(frozen=True)
class Overlay:
    """One picture of the base map and where it lies; transparent where there is no imagery."""

    extent: Extent
    webp: bytes
    metres_per_px: float


@dataclass(frozen=True)
class BaseMap:
    """All overlays, and what a reader must know about them."""

    overlays: list[Overlay]
    notes: list[str]

    def finer_than(self, metres_per_px: float) -> bool:
        """Whether all of it shows at least as much as pictures of ``metres_per_px``."""
        steps = [overlay.metres_per_px for overlay in self.overlays]
        return bool(steps) and max(steps) <= metres_per_px


def base_map(index: Index, room: int) -> BaseMap:
    """Overlays that take at most ``room`` bytes as base64; fewer pixels until they do.

    Drawn from the imagery itself where its files can still be read, else from thumbnails.
    """
    info = index.manifest.imagery
    try:
        with open_sources(info.sources, info.options) as imagery:
            return _fitted(index, imagery.sheets, room)
    except CrossviewError:  # moved, changed or damaged since
        return _fitted(index, (), room)


def _fitted(index: Index, sheets: tuple[Sheet, ...], room: int) -> BaseMap:
    finest = index.manifest.metres_per_px if sheets else index.footprint(0).metres_per_px
    share = 1.0
    for _ in range(_TRIES):
        overlays = list(_overlays(index, sheets, finest / share))
        if sum(math.ceil(len(overlay.webp) / 3) * 4 for overlay in overlays) <= room:
            return BaseMap(overlays, _notes(index, overlays, from_source=bool(sheets)))
        share *= _FEWER
    return BaseMap([], ["The imagery did not fit into this page."])


def _overlays(index: Index, sheets: tuple[Sheet, ...], finest_m: float) -> Iterator[Overlay]:
    """One overlay per region, no finer than ``finest_m`` metres per pixel."""
    reach_m = index.manifest.footprint_m / 2.0
    groups = regions(index.lat, index.lon, gap_m=4.0 * index.manifest.footprint_m)
    extents = [extent(index.lat[rows], index.lon[rows], reach_m) for rows in groups]
    area_m2 = sum(math.prod(box.size_m()) for box in extents)
    step_m = max(finest_m, math.sqrt(area_m2 / MOST_PIXELS))
    for rows, box in zip(groups, extents, strict=True):
        own_m = max(step_m, max(box.size_m()) / LONGEST_SIDE_PX)
        width, height = (max(1, round(side / own_m)) for side in box.size_m())
        if sheets:
            pixels = drape(sheets, box, (width, height))
        else:
            pixels = mosaic(index, rows, box, (width, height))
        yield Overlay(box, _webp(pixels), own_m)


def _notes(index: Index, overlays: list[Overlay], *, from_source: bool) -> list[str]:
    finest = index.manifest.metres_per_px
    coarsest = max((overlay.metres_per_px for overlay in overlays), default=finest)
    notes = []
    if not from_source:
        notes.append("The imagery's files could not be read: the map is drawn from small pictures.")
    if coarsest > 1.05 * finest:
        notes.append(
            f"Imagery is shown down-sampled: {coarsest:.2g} m per pixel instead of {finest:.2g}."
        )
    return notes


def _webp(rgba: U8) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "WEBP", quality=_QUALITY, method=2)
    return stream.getvalue()
