"""ImageryInfo: what an index remembers of the imagery it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadImagery
from crossview.imagery.options import SourceOptions
from crossview.imagery.sheets import Sheet

Bounds = tuple[float, float, float, float]  # south, west, north, east


@dataclass(frozen=True, kw_only=True)
class ImageryInfo:
    """Where imagery came from and how it was read.

    ``synthetic`` names the town (``town 1a2b3c4d``) when all of it was made by ``crossview
    world``, and is None as soon as one source was not. ``signature`` changes when a file does.
    """

    sources: tuple[str, ...]  # absolute paths
    attribution: str
    date: str
    metres_per_px: float  # ground metres, of the coarsest sheet as it was read
    synthetic: str | None
    bounds: Bounds
    options: SourceOptions
    stretched: tuple[tuple[float, float], ...] | None  # values that became black and white
    signature: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> ImageryInfo:
        """The inverse of :meth:`to_json`."""
        limits = values["stretched"]
        read = {
            "sources": tuple(values["sources"]),
            "bounds": tuple(values["bounds"]),
            "options": SourceOptions.from_json(values["options"]),
            "stretched": None if limits is None else tuple((low, high) for low, high in limits),
        }
        return ImageryInfo(**{**values, **read})

    def merged(self, other: ImageryInfo) -> ImageryInfo:
        """What holds of an index that was made from both."""
        (s, w, n, e), (s2, w2, n2, e2) = self.bounds, other.bounds
        both = self.synthetic is not None and other.synthetic is not None
        return ImageryInfo(
            sources=(*self.sources, *other.sources),
            attribution=joined([self.attribution, other.attribution]),
            date=joined([self.date, other.date]),
            metres_per_px=max(self.metres_per_px, other.metres_per_px),
            synthetic=joined([self.synthetic or "", other.synthetic or ""]) if both else None,
            bounds=(min(s, s2), min(w, w2), max(n, n2), max(e, e2)),
            options=other.options,
            stretched=other.stretched,
            signature=hashlib.sha256(f"{self.signature}{other.signature}".encode()).hexdigest(),
        )


def joined(texts: Iterable[str]) -> str:
    """Different texts once each, in order: ``"(c) A; (c) B"``."""
    return "; ".join(dict.fromkeys(part for text in texts for part in text.split("; ") if part))


def signature_of(files: Iterable[Path]) -> str:
    """sha256 over names, sizes and times of change, in the given order."""
    digest = hashlib.sha256()
    for path in files:
        try:
            facts = path.stat()
        except OSError as problem:
            raise BadImagery(f"{path} cannot be read: {problem.strerror}.") from problem
        digest.update(f"{path.name}\n{facts.st_size}\n{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def bounds_of(sheets: Sequence[Sheet]) -> Bounds:
    """South, west, north, east of all sheets, from points around their edges."""
    along = np.linspace(0.0, 1.0, 9)
    zero, one = np.zeros(9), np.ones(9)
    columns = np.concatenate([along, along, zero, one])
    rows = np.concatenate([zero, one, along, along])
    edges = [s.grid.latlon(columns * s.grid.width_px, rows * s.grid.height_px) for s in sheets]
    lats, lons = (
        np.concatenate([lat for lat, _ in edges]),
        np.concatenate([lon for _, lon in edges]),
    )
    return float(lats.min()), float(lons.min()), float(lats.max()), float(lons.max())
