"""What the files of a data set show, and how a model's views take it (``pairs.table.Framing``).

The one home of it. A data set's page states its framing, its tables carry it, and
``pairs.reading`` reads by it, so that training, mining, validation, studies, evaluate and explain
see the same pixels whatever the model was trained on before. Where a table does not say panorama or
photo, the headers of the pictures do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadImage
from crossview.pairs.batch import Views
from crossview.pairs.table import Framing, PairTable
from crossview.views.lens import Kind
from crossview.views.spec import ViewSpec

ALIKE = 1.5  # largest over smallest width in metres of files that share one footprint
SAMPLE = 64  # headers that are read where only the files can tell
_GROUND = ("keep_rows", "elevation_deg")


def frame_spec(spec: ViewSpec, framing: Framing) -> ViewSpec:
    """``spec`` with the rows and the rule of resizing by which files of ``framing`` are read.

    Methods that take every row of a file (``ViewSpec.all_rows``), and whatever the data set does
    not say, keep their own.
    """
    if not spec.whole or spec.side != "ground" or spec.all_rows:
        return spec
    return replace(
        spec,
        keep_rows=framing.keep_rows or spec.keep_rows,
        resize=framing.ground_resize or spec.resize,
    )


def frame_views(views: Views, framing: Framing) -> Views:
    """The views of a model that is trained on such files: what it sees in degrees and metres.

    Views that are not whole say so themselves, and stay as they are; so does what the data set
    leaves open.
    """
    ground, aerial = views.ground, views.aerial
    if ground.whole:
        rows = frame_spec(ground, framing).keep_rows
        elevation_deg = framing.elevation_deg(rows) or ground.elevation_deg
        ground = replace(ground, keep_rows=rows, elevation_deg=elevation_deg)
    if aerial.whole:
        aerial = replace(aerial, footprint_m=framing.footprint_m or aerial.footprint_m)
    return replace(views, ground=ground, aerial=aerial)


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


def note_framing(views: Views, framing: Framing) -> dict[str, Any]:
    """What a run notes of the framing of its pictures; empty if no view depends on it. JSON."""
    seen = frame_views(views, framing)
    note: dict[str, Any] = {}
    if seen.ground.whole:
        read = frame_spec(seen.ground, framing)
        prepared = read.resize if read.resize != seen.ground.resize else None
        note |= {
            "keep_rows": list(read.keep_rows),
            "ground_resize": prepared,
            "elevation_deg": seen.ground.elevation_deg and list(seen.ground.elevation_deg),
        }
    if seen.aerial.whole:
        note["footprint_m"] = seen.aerial.footprint_m
    return note


def restore_views(views: Views, note: dict[str, Any]) -> Views:
    """The inverse of :func:`note_framing`: the views of a run by its note."""
    ground, aerial = views.ground, views.aerial
    if ground.whole:
        stated: dict[str, Any] = {k: tuple(note[k]) for k in _GROUND if note.get(k)}
        ground = replace(ground, **stated)
    if aerial.whole and note.get("footprint_m"):
        aerial = replace(aerial, footprint_m=float(note["footprint_m"]))
    return replace(views, ground=ground, aerial=aerial)


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
