"""From files to the pixels of one pair: canvases of the ground view, aerial pictures as stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from crossview.errors import BadData
from crossview.pairs.batch import PairPixels, Pixels
from crossview.pairs.table import PairTable
from crossview.views.spec import ViewSpec

if TYPE_CHECKING:
    from crossview.views.decode import Kind, Photo


class Source(Protocol):
    """Where pixels come from: the files themselves, or a cache of what was decoded once."""

    def ground(self, index: int) -> tuple[Pixels, float]:
        """Canvas [h, w, 3] of a ground picture and its horizontal field of view in degrees."""

    def aerial(self, index: int) -> Pixels:
        """Aerial picture [H, W, 3] as stored."""


@dataclass(frozen=True)
class Files:
    """Decodes on every call."""

    table: PairTable
    spec: ViewSpec  # of the ground view

    def ground(self, index: int) -> tuple[Pixels, float]:
        """See :class:`Source`. Errors (BadImage, BadData) name the file."""
        from crossview.views.decode import load_photo
        from crossview.views.strip import ground_view

        kind: Kind = "perspective" if self.table.perspective[index] else "panorama"
        photo = load_photo(self.table.ground[index])
        fov = self._fov_deg(index, photo, kind)
        horizon = photo.horizon_px if photo.kind == kind else None
        return ground_view(photo.pixels, kind, self.spec, fov_deg=fov, horizon_px=horizon), fov

    def aerial(self, index: int) -> Pixels:
        """See :class:`Source`."""
        from crossview.views.decode import read_rgb

        return read_rgb(self.table.aerial[index])

    def _fov_deg(self, index: int, photo: Photo, kind: Kind) -> float:
        """What the table says, else what the file says, else 360 for a panorama."""
        given = float(self.table.fov_deg[index])
        if np.isfinite(given):
            return given
        if photo.kind == kind and photo.fov_deg is not None:
            return photo.fov_deg
        if kind == "panorama":
            return 360.0
        raise BadData(
            f"{photo.path}: a photo whose field of view is neither in its EXIF nor in the column "
            "fov_deg.\nAdd the column, or kind = panorama if it is one."
        )


def pair_pixels(table: PairTable, source: Source, row: int) -> PairPixels:
    """The pair of one row; a panorama of known heading is rolled until the aerial's up is in front.

    The roll is by whole columns; what remains of the angle (under half a column) is in
    ``heading_deg``. A photo stays as it is.
    """
    g, a = (int(i) for i in table.pairs[row])
    canvas, fov = source.ground(g)
    heading = float((table.heading_deg[g] - table.up_bearing_deg[a] + 180.0) % 360.0 - 180.0)
    if not table.perspective[g] and np.isfinite(heading):
        columns = round(heading / 360.0 * canvas.shape[1])
        canvas = np.roll(canvas, columns, axis=1)
        heading -= columns * 360.0 / canvas.shape[1]
    return PairPixels(
        ground=canvas,
        aerial=source.aerial(a),
        metres_per_px=float(table.metres_per_px[a]),
        fov_deg=fov,
        heading_deg=heading,
    )
