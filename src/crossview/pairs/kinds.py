"""Panorama or photo, where a table does not say it: read from the headers of the pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossview.errors import BadImage
from crossview.views.lens import Kind


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
