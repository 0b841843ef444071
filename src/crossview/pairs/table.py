"""PairTable: ground pictures, aerial pictures, the relation between them, and their framing.

The framing is what the files of a data set show, and how a model's views take them. A data set's
page states it, its tables carry it, and ``pairs.reading`` reads by it, so that training, mining,
validation, studies, evaluate and explain see the same pixels whatever the model was trained on
before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F64, I64, Bool
from crossview.errors import BadData, require
from crossview.geo.points import LatLon, project_to_local_m, turn_axes_m
from crossview.pairs.batch import Views
from crossview.views.spec import Resize, ViewSpec, require_rows

KINDS = ("panorama", "perspective")
SIDES = ("ground", "aerial")
Shares = tuple[float, float]
_GROUND = ("keep_rows", "elevation_deg")


@dataclass(frozen=True, kw_only=True)
class Framing:
    """What the ground and aerial files of a data set show. None: unknown, or not for it to say.

    It is used where pictures are taken whole (``ViewSpec.whole``); views that are laid out by
    angles and metres have their own.
    """

    file_elevation_deg: tuple[float, float] | None = None
    """Bottom and top of a ground file, whose rows are equal angles."""
    keep_rows: Shares | None = None
    """Shares of a ground file's height between which the papers look at it."""
    ground_resize: Resize | None = None
    """How these rows are brought to a network's size where the papers prepare them beforehand;
    None: by the method's own rule."""
    footprint_m: float | None = None
    """Metres on the ground across an aerial file."""
    aerial_px: int | None = None
    """Pixels across an aerial file."""

    def __post_init__(self) -> None:
        for name in ("file_elevation_deg", "keep_rows"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(float(number) for number in value))
        if self.keep_rows is not None:
            require_rows(self.keep_rows)
        require(
            self.footprint_m is None or self.footprint_m > 0,
            f"footprint_m must be > 0, got {self.footprint_m}.",
        )

    def elevation_deg(self, rows: Shares) -> tuple[float, float] | None:
        """Bottom and top of what these rows show."""
        if self.file_elevation_deg is None:
            return None
        bottom, top = self.file_elevation_deg
        first, last = (top - share * (top - bottom) for share in rows)
        return round(last, 3), round(first, 3)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTable:
    """G ground pictures, A aerial pictures, P matching pairs and I ignored near-misses.

    A *row* is one matching pair: training draws rows, and everything "per row" is indexed by its
    position in ``pairs``. One relation serves one-to-one, many-to-one and many-to-many data.
    Every picture of the answering side is a reference, also those without a match (distractors).
    "Ground" is the lower of the two views, so that a drone is the ground of a satellite and the
    aerial of a street. Arrays are read-only. Unknown numbers are NaN.
    """

    ground: tuple[Path, ...]  # G files
    aerial: tuple[Path, ...]  # A files
    pairs: I64  # [P, 2] columns: index into ground, index into aerial
    ignored: I64  # [I, 2] neither right nor wrong (VIGOR's semi-positives)
    ground_latlon: F64  # [G, 2] degrees
    aerial_latlon: F64  # [A, 2] degrees, of the picture's centre
    metres_per_px: F64  # [A] on the ground
    up_bearing_deg: F64  # [A] bearing of the picture's up, clockwise from true north
    heading_deg: F64  # [G] azimuth of the picture's middle, clockwise from true north
    fov_deg: F64  # [G] horizontal; NaN: read from the file
    perspective: Bool  # [G] a photo, not a panorama
    offset_px: F64 = field(default_factory=lambda: np.zeros((0, 2)))
    """[P, 2] where the camera stands in the aerial picture of each row: rows down and columns right
    of its centre, in pixels of the file; empty where a data set does not say it."""
    ignored_offset_px: F64 = field(default_factory=lambda: np.zeros((0, 2)))
    """[I, 2] the same of each near-miss, where the camera may stand beyond the picture's edge."""
    part: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """[P] number of the list that each row came from; empty: all of one list."""
    queries: str = "ground"  # the side of the queries; the other has the references
    root: Path = Path()  # of the data set: ids are relative to it
    framing: Framing = field(default_factory=Framing)  # what the files show

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        g, a = len(self.ground), len(self.aerial)
        shapes: dict[str, tuple[int, ...]]
        shapes = {"pairs": (len(self.pairs), 2), "ignored": (len(self.ignored), 2)}
        shapes |= {"ground_latlon": (g, 2), "aerial_latlon": (a, 2)}
        shapes |= {"metres_per_px": (a,), "up_bearing_deg": (a,)}
        shapes |= {"heading_deg": (g,), "fov_deg": (g,), "perspective": (g,)}
        shapes |= {"offset_px": (len(self.pairs) if len(self.offset_px) else 0, 2)}
        near = len(self.ignored) if len(self.ignored_offset_px) else 0
        shapes |= {"ignored_offset_px": (near, 2)}
        shapes |= {"part": (len(self.pairs) if len(self.part) else 0,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise BadData(f"{name} has shape {getattr(self, name).shape}, expected {shape}.")
        for relation in (self.pairs, self.ignored):
            if len(relation) and (relation.min() < 0 or (relation.max(axis=0) >= (g, a)).any()):
                raise BadData(f"a pair points outside {g} ground and {a} aerial pictures.")

        if self.queries not in SIDES:
            raise BadData(f"queries is {self.queries!r}; allowed: {', '.join(SIDES)}.")

    def __len__(self) -> int:
        return len(self.pairs)

    def ground_ids(self) -> tuple[str, ...]:
        """[G] a short name for each ground picture: its path below ``root``, with slashes."""
        return _name_files(self.ground, self.root)

    def aerial_ids(self) -> tuple[str, ...]:
        """[A] likewise for the aerial pictures."""
        return _name_files(self.aerial, self.root)

    def places(self) -> I64:
        """[P] one number per row; rows joined by a shared picture have the same number."""
        parent = np.arange(len(self.ground) + len(self.aerial))
        for g, a in self.pairs + np.array([0, len(self.ground)]):
            parent[_find_root(parent, a)] = _find_root(parent, g)
        roots = np.array([_find_root(parent, g) for g in self.pairs[:, 0]], dtype=np.int64)
        return np.unique(roots, return_inverse=True)[1].astype(np.int64)

    def rows_latlon(self) -> F64:
        """[P, 2] where each row was taken; the aerial centre where the ground has no place."""
        ground = self.ground_latlon[self.pairs[:, 0]]
        aerial = self.aerial_latlon[self.pairs[:, 1]]
        return np.where(np.isfinite(ground), ground, aerial)

    def find_camera_m(self, number: int, *, near: bool = False) -> tuple[float, float]:
        """Metres down and right from the middle of a row's aerial picture to its camera; or NaN.

        ``near``: of the near-miss of that number. By the data set's own offsets where it states
        them, else by both places.
        """
        relation = self.ignored if near else self.pairs
        offsets_px = self.ignored_offset_px if near else self.offset_px
        g, a = (int(index) for index in relation[number])
        if len(offsets_px):
            down, right = offsets_px[number] * self.metres_per_px[a]
            return float(down), float(right)
        if not np.isfinite([*self.aerial_latlon[a], *self.ground_latlon[g]]).all():
            return math.nan, math.nan
        east, north = project_to_local_m(LatLon(*self.aerial_latlon[a]), *self.ground_latlon[g])
        right_m, up_m = turn_axes_m(east, north, -self.up_bearing_deg[a])
        return -float(up_m), float(right_m)

    def list_parts(self) -> list[I64]:
        """The rows of each list that the table was joined from, at least one."""
        if not len(self.part):
            return [np.arange(len(self.pairs))]
        return [np.flatnonzero(self.part == number) for number in np.unique(self.part)]

    def take(self, rows: Sequence[int] | I64 | Bool) -> PairTable:
        """The table of some rows only: pictures that they do not use are dropped."""
        rows = np.asarray(rows)
        pairs = self.pairs[rows].reshape(-1, 2)
        offsets = self.offset_px[rows].reshape(-1, 2) if len(self.offset_px) else self.offset_px
        part = self.part[rows] if len(self.part) else self.part
        table = replace(self, pairs=pairs, offset_px=offsets, part=part)
        return table._select_pictures(np.unique(pairs[:, 0]), np.unique(pairs[:, 1]))

    def without(self, *, ground: Sequence[int] = (), aerial: Sequence[int] = ()) -> PairTable:
        """The table without some pictures, which could not be read, say.

        Pictures of the asking side that have no match left are dropped too; references stay.
        """
        lost = np.isin(self.pairs[:, 0], ground) | np.isin(self.pairs[:, 1], aerial)
        pairs = self.pairs[~lost]
        offsets = self.offset_px[~lost] if len(self.offset_px) else self.offset_px
        part = self.part[~lost] if len(self.part) else self.part
        keep = [
            np.setdiff1d(np.arange(len(files)), gone)
            for files, gone in ((self.ground, ground), (self.aerial, aerial))
        ]
        asking = SIDES.index(self.queries)
        keep[asking] = np.unique(pairs[:, asking])
        kept = replace(self, pairs=pairs, offset_px=offsets, part=part)
        return kept._select_pictures(*keep)

    def _select_pictures(self, g: I64, a: I64) -> PairTable:
        """Only the ground pictures ``g`` and aerial pictures ``a`` (sorted), all rows within."""
        per_ground: dict[str, Any] = {
            name: getattr(self, name)[g]
            for name in ("ground_latlon", "heading_deg", "fov_deg", "perspective")
        }
        per_aerial: dict[str, Any] = {
            name: getattr(self, name)[a]
            for name in ("aerial_latlon", "metres_per_px", "up_bearing_deg")
        }
        kept = np.isin(self.ignored[:, 0], g) & np.isin(self.ignored[:, 1], a)
        return replace(
            self,
            ground=tuple(self.ground[i] for i in g),
            aerial=tuple(self.aerial[i] for i in a),
            pairs=_renumber(self.pairs, g, a),
            ignored=_renumber(self.ignored[kept], g, a),
            ignored_offset_px=self.ignored_offset_px[kept if len(self.ignored_offset_px) else []],
            **per_ground,
            **per_aerial,
        )


def join_tables(tables: Sequence[PairTable], *, as_parts: bool = True) -> PairTable:
    """One table of all rows in order; ``as_parts``: it remembers from which table each came.

    Pictures stay apart even where two tables name the same file. BadData where the tables differ
    in the side that asks, in what their files show, or in stating where cameras stand.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables[1:]:
        same = (table.queries, table.framing) == (first.queries, first.framing)
        stated = ("offset_px", "ignored_offset_px")
        alike = all(bool(len(getattr(table, n))) == bool(len(getattr(first, n))) for n in stated)
        if not same or not alike:
            raise BadData(
                "lists of pairs cannot be joined: they differ in the side that asks, in what their "
                "files show (keep_rows), or in stating where cameras stand."
            )
    starts = np.cumsum([[0, 0]] + [[len(t.ground), len(t.aerial)] for t in tables], axis=0)

    def stack(name: str) -> Any:
        return np.concatenate([getattr(table, name) for table in tables])

    def shift(name: str) -> I64:
        shifted = [getattr(t, name) + start for t, start in zip(tables, starts, strict=False)]
        return np.concatenate(shifted).astype(np.int64)

    none = np.zeros(0, np.int64)
    per_picture = ("ground_latlon", "heading_deg", "fov_deg", "perspective", "aerial_latlon")
    return replace(
        first,
        ground=tuple(file for table in tables for file in table.ground),
        aerial=tuple(file for table in tables for file in table.aerial),
        pairs=shift("pairs"),
        ignored=shift("ignored"),
        offset_px=stack("offset_px"),
        ignored_offset_px=stack("ignored_offset_px"),
        part=np.repeat(np.arange(len(tables)), list(map(len, tables))) if as_parts else none,
        root=Path(),
        **{name: stack(name) for name in (*per_picture, "metres_per_px", "up_bearing_deg")},
    )


def draw_held_out(table: PairTable, share: float, seed: int) -> Bool:
    """[P] rows set aside for validation: ``share`` of the *places*, drawn by ``seed``.

    At least one place is set aside if share > 0, and at least one is kept.
    """
    places = table.places()
    count = int(places.max()) + 1 if len(places) else 0
    number = min(max(1, round(share * count)), count - 1) if share > 0 else 0
    drawn = np.random.default_rng(seed).permutation(count)[: max(0, number)]
    return np.isin(places, drawn)


def _renumber(relation: I64, g: I64, a: I64) -> I64:
    columns = [np.searchsorted(g, relation[:, 0]), np.searchsorted(a, relation[:, 1])]
    return np.stack(columns, axis=1).astype(np.int64)


def _name_files(files: tuple[Path, ...], root: Path) -> tuple[str, ...]:
    start = f"{root.as_posix()}/"
    return tuple(file.as_posix().removeprefix(start) for file in files)


def _find_root(parent: I64, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = int(parent[node])
    return node


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
