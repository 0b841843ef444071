"""The map page: one HTML file that shows where the pictures may have been taken, offline.

It holds the region's own imagery, a heat layer of all scores, ranked pins, the photos beside their
best tiles. Nothing is fetched when it is opened, and a content security policy makes sure of it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.errors import CrossviewError, require
from crossview.localization.answer import Answer
from crossview.locks import write_alone
from crossview.outputs.facts import photo_record, region_record, summary_record
from crossview.outputs.map_layers import (
    build_heat_grid,
    count_affordable_cells,
    describe_heat_grid,
    describe_scores,
    draw_base_map,
)
from crossview.outputs.pictures import Budget, Picture, album, tile_jpeg
from crossview.outputs.records import shorten_names
from crossview.outputs.template import embedded_json, page_html

if TYPE_CHECKING:
    from crossview.index.store import Index

MAX_BYTES = 50_000_000
LEAST_BYTES = 1_000_000
ASSETS_BYTES = 260_000  # scripts, styles and template; a test keeps them below
_HEAT_SHARE, _FACTS_SHARE, _IMAGERY_SHARE, _PHOTO_SHARE = 0.2, 0.5, 0.45, 0.75


def write_map(
    out: str | Path,
    index: Index,
    answers: Sequence[Answer],
    *,
    photos: Mapping[str, Picture] | None = None,
    max_bytes: int = MAX_BYTES,
) -> list[str]:
    """Write the page to ``out`` and return what it says about itself (what was left out, and why).

    ``photos`` gives pictures by ``answer.photo`` as bytes, pixels [H, W, 3] or paths; a name that
    is missing there is read as a path. What does not fit into ``max_bytes`` is left out in this
    order: size of photos, small tiles of lower ranks, pixels of the imagery, last photos.
    """
    require(
        max_bytes >= LEAST_BYTES,
        f"a map page needs at least {LEAST_BYTES} bytes, got {max_bytes}.",
    )
    content = _Content(index, answers, max_bytes)
    content.add_imagery()
    content.add_pictures(photos)
    write_alone(out, content.html(), "crossview locate --map")
    return content.notes


class _Content:
    """The page in the making, and the bytes that are left for the rest of it."""

    def __init__(self, index: Index, answers: Sequence[Answer], max_bytes: int) -> None:
        self.index, self.notes = index, list[str]()
        self.tiles_wanted, self.tiles = True, dict[int, int | None]()
        self.budget = Budget(max_bytes - ASSETS_BYTES)
        self.pictures: dict[str, list[str]] = {"imagery": [], "photos": [], "tiles": []}
        room = int(_HEAT_SHARE * max_bytes)
        grid = build_heat_grid(
            index.lat, index.lon, index.manifest.stride_m, count_affordable_cells(answers, room)
        )
        self.facts: dict[str, Any] = {
            "region": region_record(index),
            "summary": summary_record(answers),
            "heat": describe_heat_grid(grid),
            "imagery": [],
            "photos": [],
            "notes": self.notes,
        }
        self.budget.take(len(embedded_json(self.facts)))
        self.answers = self._add_answers(answers, grid)

    def _add_answers(self, answers: Sequence[Answer], grid: Any) -> Sequence[Answer]:
        """Add records until half of the page is used; return the answers that are in."""
        names = shorten_names([answer.photo for answer in answers])
        reserve = self.budget.left * (1.0 - _FACTS_SHARE)
        for answer, name in zip(answers, names, strict=True):
            record = {**photo_record(answer, name), "heat": describe_scores(answer, grid)}
            length = len(embedded_json(record)) + 40  # picture numbers are added later
            if self.budget.left - length < reserve:
                break
            self.budget.take(length)
            self.facts["photos"].append(record)
        kept = len(self.facts["photos"])
        if kept < len(answers):
            self.notes.append(
                f"The first {kept} of {len(answers)} photos are on this page; the others did not "
                "fit. Save them as GeoJSON, or make several maps."
            )
        return answers[:kept]

    def add_imagery(self) -> None:
        """Add the base map. Where it is fine enough, the page cuts the places' tiles from it."""
        base = draw_base_map(self.index, int(_IMAGERY_SHARE * self.budget.left))
        self.tiles_wanted = not base.finer_than(self.index.footprint(0).metres_per_px)
        for overlay in base.overlays:
            if (picture := self.budget.encoded(overlay.webp)) is not None:
                box = overlay.extent
                self.facts["imagery"].append([[box.south, box.west], [box.north, box.east]])
                self.pictures["imagery"].append(picture)
        self.notes += base.notes

    def add_pictures(self, photos: Mapping[str, Picture] | None) -> None:
        """Add the first place's tile of every photo, then the photos, then the other tiles."""
        self._add_tiles(rank=1)
        part = Budget(int(_PHOTO_SHARE * self.budget.left))
        before = part.left
        made = album([answer.photo for answer in self.answers], photos, part)
        self.budget.take(before - part.left)
        self.notes += made.notes
        for record, picture in zip(self.facts["photos"], made.pictures, strict=True):
            record["picture"] = None if picture is None else len(self.pictures["photos"])
            self.pictures["photos"] += [] if picture is None else [picture]
        for rank in range(2, 1 + max((len(a.places) for a in self.answers), default=0)):
            self._add_tiles(rank)

    def _add_tiles(self, rank: int) -> None:
        if not self.tiles_wanted:
            return
        for record in self.facts["photos"]:
            for place in record["places"][rank - 1 : rank]:
                window = place["window"]
                if window not in self.tiles:
                    self.tiles[window] = self._add_tile(window)
                place["tile"] = self.tiles[window]

    def _add_tile(self, window: int) -> int | None:
        try:
            picture = self.budget.encoded(tile_jpeg(self.index.thumbnail(window)))
        except CrossviewError:  # an index whose imagery is gone may have no thumbnails
            return None
        if picture is None:
            return None
        self.pictures["tiles"].append(picture)
        return len(self.pictures["tiles"]) - 1

    def html(self) -> str:
        """The finished page."""
        title = f"{self.facts['region']['title']} - crossview"
        static = {"title": html.escape(title), "banners": _banners(self.index)}
        return page_html(static, {"facts": self.facts, "pictures": self.pictures})


def _banners(index: Index) -> str:
    """Warnings that must be seen even if no script runs."""
    texts = [("warning", f"{text[:1].upper()}{text[1:]}.") for text in index.manifest.warnings]
    if index.manifest.imagery.synthetic:
        texts.append(("note", "Synthetic town: imagery and pictures were made by a program."))
    return "".join(
        f'<p class="banner {kind}" role="note">{html.escape(text)}</p>\n' for kind, text in texts
    )
