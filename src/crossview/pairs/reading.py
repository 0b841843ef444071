"""From the files of pairs to pixels: canvases of the ground view, aerial pictures as stored.

Files are read by the framing of their data set (``pairs.table``). Where a table does not say
panorama or photo, or what its files show, the headers of the pictures do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from crossview.arrays import U8
from crossview.errors import BadData, BadImage
from crossview.pairs.batch import Views
from crossview.pairs.table import Framing, PairTable, frame_spec
from crossview.views.lens import Kind
from crossview.views.spec import ViewSpec

if TYPE_CHECKING:
    from crossview.views.decode import Photo

Decoding = Literal["exact", "fast"]
_FINE = 3  # samples per output pixel that a photo's strip may use (views.ground)
ALIKE = 1.5  # largest over smallest width in metres of files that share one footprint
SAMPLE = 64  # headers that are read where only the files can tell


def measure_framing(table: PairTable) -> Framing:
    """The framing of a table's files; what its data set does not say, its columns and files may.

    The metres across an aerial file are its pixels times ``metres_per_px``: the median, if all are
    much alike. A panorama of one shape is taken to have the horizon in the middle and square
    pixels. What differs from file to file, and what photos show, is unknown.
    """
    framing = table.framing
    if framing.footprint_m is None:
        widths = [
            columns * float(table.metres_per_px[index])
            for index, (_, columns) in _read_sizes(table.aerial)
        ]
        finite = [width for width in widths if np.isfinite(width)]
        if finite and max(finite) <= ALIKE * min(finite):
            framing = replace(framing, footprint_m=round(float(np.median(finite)), 1))
    whole = not table.perspective.any() and not (table.fov_deg < 360.0).any()
    if framing.file_elevation_deg is None and whole:
        halves = {
            min(90.0, round(180.0 * rows / columns, 1))
            for _, (rows, columns) in _read_sizes(table.ground)
        }
        if len(halves) == 1:
            half = halves.pop()
            framing = replace(framing, file_elevation_deg=(-half, half))
    return framing


def _read_sizes(files: tuple[Path, ...]) -> Iterable[tuple[int, tuple[int, int]]]:
    """Rows and columns of a sample of files that can be read, by index."""
    from crossview.views.decode import read_picture_size

    chosen = np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).round()
    for index in np.unique(chosen.astype(int)):
        try:
            yield int(index), read_picture_size(files[index])
        except BadImage:
            continue


@dataclass(frozen=True, kw_only=True)
class PictureKind:
    """What a picture's file says of its kind and its field of view."""

    kind: Kind
    fov_deg: float | None = None  # horizontal; None: unknown
    by_shape: bool = False  # only its shape suggests it
    readable: bool = True  # else ``kind`` means nothing


def read_kinds(paths: Sequence[Path]) -> list[PictureKind]:
    """What the files of ground pictures say, in their order; no pixel is decoded."""
    return [_read_kind(path) for path in paths]


def _read_kind(path: Path) -> PictureKind:
    from crossview.views.decode import read_photo_facts

    try:
        facts = read_photo_facts(path)
    except BadImage:
        return PictureKind(kind="panorama", readable=False)
    by_shape = facts.kind == "panorama" and bool(facts.view_assumptions)
    return PictureKind(kind=facts.kind, fov_deg=facts.fov_deg, by_shape=by_shape)


def describe_kinds(kinds: Sequence[PictureKind], lacking: str) -> Iterator[str]:
    """How many pictures are of which kind, by what, where a table has no ``lacking``."""
    read = [kind for kind in kinds if kind.readable]
    if not read:
        return
    counts = Counter(kind.kind for kind in read)
    text = (
        f"{len(read):,} ground pictures have no {lacking}; their files say: "
        f"{counts['panorama']:,} panoramas, {counts['perspective']:,} photos"
    )
    if guessed := sum(kind.by_shape for kind in read):
        text += f" ({guessed:,} are panoramas by their shape alone)"
    yield text
    if without := sum(kind.kind == "perspective" and kind.fov_deg is None for kind in read):
        yield f"{without:,} of these photos have no field of view: not in a column, not in the file"


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
    """Decodes on every call; whole files are framed as their data set says.

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
