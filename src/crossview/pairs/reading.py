"""From files to the pixels of one pair: canvases of the ground view, aerial pictures as stored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from crossview.arrays import U8
from crossview.errors import BadData
from crossview.pairs.batch import PairPixels, Views
from crossview.pairs.framing import frame_spec
from crossview.pairs.table import PairTable
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import roll_ground

if TYPE_CHECKING:
    from crossview.views.decode import Photo
    from crossview.views.lens import Kind


Decoding = Literal["exact", "fast"]
_FINE = 3  # samples per output pixel that a photo's strip may use (views.ground)


class Source(Protocol):
    """Where pixels come from: the files themselves, or a cache of what was decoded once."""

    def ground(self, index: int) -> tuple[U8, float]:
        """Canvas [h, w, 3] of a ground picture and its horizontal field of view in degrees.

        NaN: unknown, which only a photo taken whole may have.
        """

    def aerial(self, index: int) -> tuple[U8, float]:
        """Aerial picture [H, W, 3] and its metres per pixel.

        As stored; with ``ViewSpec.whole``, the view itself.
        """


@dataclass(frozen=True)
class Files:
    """Decodes on every call; whole files are framed as their data set says (``pairs.framing``).

    "exact": full-size decoding and the resize rule of the ViewSpec, to the pixel what the paper's
    loader shows. "fast": JPEGs decoded by DCT scaling to no less than the view needs, then resized
    by area.
    """

    table: PairTable
    views: Views
    decoding: Decoding = "exact"

    def ground(self, index: int) -> tuple[U8, float]:
        """See :class:`Source`. Errors (BadImage, BadData) name the file."""
        from crossview.views.decode import load_photo
        from crossview.views.ground import make_ground_view

        spec, path = self._frame_spec("ground"), self.table.ground[index]
        kind: Kind = "perspective" if self.table.perspective[index] else "panorama"
        fov_deg = float(self.table.fov_deg[index])
        if spec.whole:
            unknown = math.nan if kind == "perspective" else 360.0
            return self._read_whole(path, spec), fov_deg if math.isfinite(fov_deg) else unknown
        photo = load_photo(path, at_least=self._measure_strip_px(kind, fov_deg))
        fov = self._choose_fov_deg(fov_deg, photo, kind)
        horizon = photo.horizon_px if photo.kind == kind else None
        return make_ground_view(photo.pixels, kind, spec, fov_deg=fov, horizon_px=horizon), fov

    def aerial(self, index: int) -> tuple[U8, float]:
        """See :class:`Source`."""
        from crossview.views.decode import read_picture_size, read_rgb

        spec, path = self.views.aerial, self.table.aerial[index]
        metres_per_px = float(self.table.metres_per_px[index])
        if self.decoding == "exact" and not spec.whole:
            return read_rgb(path), metres_per_px
        rows, columns = read_picture_size(path)
        if spec.whole:
            pixels = self._read_whole(path, spec)
            return pixels, math.nan if spec.polar else metres_per_px * columns / pixels.shape[1]
        share = min(1.0, metres_per_px / spec.metres_per_px)
        needed = (
            None if math.isnan(share) else (math.ceil(rows * share), math.ceil(columns * share))
        )
        pixels = read_rgb(path, at_least=needed)
        return pixels, metres_per_px * columns / pixels.shape[1]

    def settings(self, side: str) -> list[object]:
        """All that :meth:`ground` or :meth:`aerial` depend on, beside file and table; JSON."""
        spec = self._frame_spec(side)
        if side == "ground" and not spec.whole:  # packs from before tilts were read are others
            return [spec.to_json(), self.decoding, "upright"]
        if spec.whole:  # what the pictures span does not change their pixels
            spec = replace(spec, elevation_deg=None, footprint_m=None)
            return [spec.to_json(), self.decoding]
        return ["as stored"] if self.decoding == "exact" else [spec.metres_per_px, "fast"]

    def facts(self, side: str, index: int) -> list[object]:
        """What the table says of a picture and its pixels depend on; JSON."""
        if side != "ground":
            return [float(self.table.metres_per_px[index])]
        photo, fov = bool(self.table.perspective[index]), float(self.table.fov_deg[index])
        # Columns of a part of a panorama were once rounded: such pictures are decoded again.
        part = self.views.ground.representation == "narrow" if photo else fov < 360.0
        return [photo, fov, *(["whole columns"] if part and not self.views.ground.whole else [])]

    def _frame_spec(self, side: str) -> ViewSpec:
        """By which the files of a side are read."""
        spec = self.views.ground if side == "ground" else self.views.aerial
        return frame_spec(spec, self.table.framing)

    def _read_whole(self, path: Path, spec: ViewSpec) -> U8:
        """A file as the papers take it (``ViewSpec.whole``)."""
        from crossview.views.aerial import count_needed_px, make_whole_view
        from crossview.views.decode import read_rgb

        fast = self.decoding == "fast"
        pixels = read_rgb(path, at_least=count_needed_px(spec) if fast else None)
        return make_whole_view(pixels, spec, fast=fast)

    def _measure_strip_px(self, kind: Kind, fov_deg: float) -> tuple[int, int] | None:
        """Rows and columns of the file that a strip needs; None: all of them."""
        if self.decoding == "exact" or (kind == "perspective" and math.isnan(fov_deg)):
            return None
        spec = self.views.ground
        bottom, top = spec.required_elevation_deg
        per_degree = max(spec.width_px / 360.0, spec.height_px / (top - bottom))
        across = per_degree * (360.0 if math.isnan(fov_deg) else fov_deg)
        return 1, math.ceil(across * (_FINE if kind == "perspective" else 1))

    def _choose_fov_deg(self, fov_deg: float, photo: Photo, kind: Kind) -> float:
        """What the table says, else what the file says, else 360 for a panorama."""
        if math.isfinite(fov_deg):
            return photo.upright_fov_deg(fov_deg)
        if photo.kind == kind and photo.fov_deg is not None:
            return photo.fov_deg
        if kind == "panorama":
            return 360.0
        raise BadData(
            f"{photo.path}: a photo whose field of view is neither in its EXIF nor in the column "
            "fov_deg.\nAdd the column, or kind = panorama if it is one."
        )


def read_pair(table: PairTable, source: Source, row: int) -> PairPixels:
    """The pair of one row; a panorama of known heading is rolled until the aerial's up is in front.

    The roll is by whole columns; what remains of the angle (under half a column) is in
    ``heading_deg``. A photo stays as it is.
    """
    g, a = (int(i) for i in table.pairs[row])
    canvas, fov = source.ground(g)
    heading = float((table.heading_deg[g] - table.up_bearing_deg[a] + 180.0) % 360.0 - 180.0)
    if not table.perspective[g] and np.isfinite(heading):
        canvas = roll_ground(canvas, -heading)
        heading -= round(heading / 360.0 * canvas.shape[1]) * 360.0 / canvas.shape[1]
    aerial, metres_per_px = source.aerial(a)
    return PairPixels(
        ground=canvas,
        aerial=aerial,
        metres_per_px=metres_per_px,
        fov_deg=fov,
        heading_deg=heading,
    )
