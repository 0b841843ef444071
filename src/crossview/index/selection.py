"""The windows behind an index: what every engine answers, and a part of them held in memory.

``Windows`` is an index, wherever it lies: a folder that is mapped into memory (``store``), or
databases (``postgresql``). Everything that makes an answer of scores reads ``Held``: windows in
memory, each with how many windows of the index it stands for. A folder holds all of its own, one
each; of a database, what an answer needs is selected first (``localization.search``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from crossview.arrays import F32, F64, I64, Bool
from crossview.errors import InvalidValue
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon
from crossview.index.candidates import BEST, Candidates, SearchArea
from crossview.index.similarity import Asked
from crossview.index.store import Index, Manifest, place_footprint

MOST_HELD = 200_000  # windows of a database that are held with their vectors
_TOGETHER = 4096  # vectors that are fetched at a time


class Held(Protocol):
    """n windows in memory; row i of everything is one of them."""

    @property
    def manifest(self) -> Manifest:
        """What is known of the index."""

    @property
    def lat(self) -> F64:
        """[n] degrees."""

    @property
    def lon(self) -> F64:
        """[n] degrees."""

    @property
    def up_bearing_deg(self) -> F64:
        """[n] clockwise from north."""

    @property
    def weights(self) -> F64 | None:
        """[n] how many windows each stands for; None: itself."""

    @property
    def total(self) -> int:
        """Windows of the index."""

    @property
    def complete_above(self) -> float:
        """The score above which none is missing."""

    @property
    def count(self) -> int:
        """How many windows are held: n."""

    def blocks(self) -> Iterator[tuple[slice, F32]]:
        """The vectors in order, some rows at a time."""

    def take_vectors(self, rows: I64) -> F32:
        """The vectors of some rows."""

    def footprint(self, row: int) -> Footprint:
        """The ground that a window shows."""

    def number(self, rows: I64) -> I64:
        """Which windows of the index some rows are."""


class Windows(Protocol):
    """An index of N windows behind any engine. Windows are named by their numbers, from 0."""

    @property
    def manifest(self) -> Manifest:
        """What is known of the index."""

    @property
    def fingerprint(self) -> str:
        """sha256 of the manifest."""

    @property
    def path(self) -> Path:
        """Its folder, or a path that ends in its name; never with a password."""

    @property
    def name(self) -> str:
        """How messages call it; never with a password."""

    @property
    def count(self) -> int:
        """N."""

    @property
    def held(self) -> Held | None:
        """All windows, where the engine has them in memory."""

    def best(
        self,
        asked: Sequence[Asked],
        k: int = BEST,
        limits: SearchArea = SearchArea(),  # noqa: B008 - frozen
        *,
        drawn: int = 0,
        seed: int = 0,
    ) -> Candidates:
        """The best ``k`` windows of each reading within limits, and ``drawn`` others by lot."""

    def above(
        self,
        asked: Asked,
        floor: float,
        limits: SearchArea = SearchArea(),  # noqa: B008 - frozen
        *,
        most: int,
    ) -> Candidates:
        """All windows within limits that score at least ``floor``; the best ``most`` if more do."""

    def score(self, asked: Sequence[Asked], rows: I64) -> Candidates:
        """What readings of a picture score at windows of these numbers, ascending."""

    def near(self, places: Sequence[LatLon], radius_m: float) -> I64:
        """Numbers of the windows whose middle is within ``radius_m`` of any of some places."""

    def take_places(self, rows: I64) -> F64:
        """Latitude, longitude and bearing of up [n, 3] of windows of these numbers."""

    def take_vectors(self, rows: I64) -> F32:
        """Vectors [n, D] of windows of these numbers."""

    def sample_bearings(self, most: int) -> F64:
        """Where up points in at least ``most`` windows, evenly spread, or in all."""

    def thumbnail(self, row: int) -> bytes:
        """The small picture of the window of this number, a JPEG file."""

    def footprint(self, row: int) -> Footprint:
        """The ground that the window of this number shows."""

    def keep_readable(self) -> None:
        """Make that what was opened stays readable though another index takes its name."""

    def require_model(self, fingerprint: str) -> None:
        """Raise ModelMismatch unless the model of this fingerprint made the index."""


class Writer(Protocol):
    """Fills an index of any engine with units of windows, in any order and by any number of hands.

    Windows are numbered by their unit, and within it as they are put.
    """

    def put(self, unit: int, vectors: F32, places: F64, thumbnails: Sequence[bytes]) -> bool:
        """Put the windows of a unit and that it is done at once; False if it was there already."""

    def seal(self, manifest: Manifest) -> None:
        """Let the index be read; ``segments`` and ``windows`` are told by what was put."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Some windows of an index, each with how many of them it stands for."""

    source: Windows
    numbers: I64  # [n], ascending
    places: F64  # [n, 3]
    weights: F64  # [n]
    complete_above: float
    vectors: F32 | None = field(default=None, repr=False)  # [n, D], where they are held too

    @property
    def manifest(self) -> Manifest:
        """That of the whole index."""
        return self.source.manifest

    @property
    def total(self) -> int:
        """Windows of the whole index."""
        return self.source.count

    @property
    def count(self) -> int:
        """How many are held: n."""
        return len(self.numbers)

    @property
    def lat(self) -> F64:
        """[n]."""
        return self.places[:, 0]

    @property
    def lon(self) -> F64:
        """[n]."""
        return self.places[:, 1]

    @property
    def up_bearing_deg(self) -> F64:
        """[n]."""
        return self.places[:, 2]

    def blocks(self) -> Iterator[tuple[slice, F32]]:
        """The vectors in order, some rows at a time, fetched anew."""
        for start in range(0, self.count, _TOGETHER):
            rows = slice(start, min(start + _TOGETHER, self.count))
            held = self.vectors
            yield rows, self.source.take_vectors(self.numbers[rows]) if held is None else held[rows]

    def take_vectors(self, rows: I64) -> F32:
        """The vectors of some rows."""
        if self.vectors is not None:
            return self.vectors[rows]
        return self.source.take_vectors(self.numbers[rows])

    def footprint(self, row: int) -> Footprint:
        """The ground that the window in this row shows."""
        return place_footprint(self.manifest, self.places[row])

    def number(self, rows: I64) -> I64:
        """Which windows of the index some rows are."""
        return self.numbers[rows]


def count_windows(index: Held, rows: I64 | Bool) -> float:
    """How many windows of the index some rows stand for, chosen by number or by a mask."""
    if index.weights is None:
        return int(rows.sum()) if rows.dtype == np.bool_ else len(rows)
    return float(index.weights[rows].sum())


def hold_all(windows: Windows, near: LatLon | None, within_m: float | None) -> Held:
    """All windows of an index, or those in a circle, with their vectors in memory.

    Raises :class:`InvalidValue` for more than ``MOST_HELD`` windows of a database.
    """
    if isinstance(windows, Index):
        return windows
    if windows.held is not None:
        return windows.held
    numbers = np.arange(windows.count)
    if near is not None and within_m is not None:
        numbers = windows.near([near], within_m)
    if len(numbers) > MOST_HELD:
        raise InvalidValue(
            f"{windows.name}: {len(numbers):,} windows would have to be held in memory, of which "
            f"{MOST_HELD:,} can be.\nGive a circle to search in: near and within."
        )
    places, vectors = windows.take_places(numbers), windows.take_vectors(numbers)
    return Selection(windows, numbers, places, np.ones(len(numbers)), -np.inf, vectors)


def open_windows(address: str | Path) -> Windows:
    """An index by its folder or the addresses of its databases.

    Raises :class:`BadIndex` for anything else, :class:`ServiceDown` where a database does not
    answer, and :class:`AccessRefused` where it refuses.
    """
    opened: Windows = Index.open(address)
    return opened


def require_held(windows: Windows, what: str) -> Index:
    """The index as a folder; InvalidValue says that ``what`` cannot be done in a database."""
    if isinstance(windows, Index):
        return windows
    raise InvalidValue(
        f"{windows.name}: {what} takes an index in a folder, not one in a database.\n"
        "Do it with the folder that the database was filled from, and fill it again."
    )
