"""A sheet to look at: the map beside a few pictures and the ground they were taken on."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from crossview.arrays import U8
from crossview.files import atomic_write
from crossview.worlds.camera import Shot
from crossview.worlds.raster import CELL_M
from crossview.worlds.town import Town

ROW_PX, GROUND_PX, TILE_M = 220, 440, 80.0
MARK = (255, 60, 40)


def write_sheet(
    path: Path,
    town: Town,
    above: U8,
    examples: Sequence[tuple[Shot, U8]],
) -> None:
    """Write the map, and per example its tile (an arrow shows the heading) and its picture."""
    from PIL import Image, ImageDraw

    height = max(len(examples) * ROW_PX, 2 * ROW_PX)
    sheet = Image.new("RGB", (height + ROW_PX + GROUND_PX, height), (24, 26, 30))
    sheet.paste(Image.fromarray(above).resize((height, height), Image.Resampling.BOX), (0, 0))
    pen = ImageDraw.Draw(sheet)
    for n, (shot, picture) in enumerate(examples):
        column, row = (x / CELL_M - town.apron_cells for x in (shot.east_m, shot.south_m))
        half = TILE_M / CELL_M / 2
        box = (column - half, row - half, column + half, row + half)
        tile = Image.fromarray(above).transform((ROW_PX, ROW_PX), Image.Transform.EXTENT, box)
        sheet.paste(tile, (height, n * ROW_PX))
        _arrow(pen, (height + ROW_PX / 2, (n + 0.5) * ROW_PX), shot.heading_deg, 0.4 * ROW_PX)
        shown = Image.fromarray(picture)
        shown.thumbnail((GROUND_PX, ROW_PX))
        sheet.paste(shown, (height + ROW_PX, n * ROW_PX))
        scale = height / above.shape[0]
        _arrow(pen, (column * scale, row * scale), shot.heading_deg, 14.0)
        pen.text((column * scale + 8, row * scale + 4), str(n + 1), fill=MARK)
        pen.text((height + 6, n * ROW_PX + 4), str(n + 1), fill=MARK)
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    atomic_write(path, data.getvalue())


def _arrow(pen: object, at: tuple[float, float], heading_deg: float, length: float) -> None:
    turn = math.radians(heading_deg)
    tip = (at[0] + length * math.sin(turn), at[1] - length * math.cos(turn))
    pen.line([at, tip], fill=MARK, width=3)  # type: ignore[attr-defined]
    r = 4
    pen.ellipse([at[0] - r, at[1] - r, at[0] + r, at[1] + r], outline=MARK, width=2)  # type: ignore[attr-defined]
