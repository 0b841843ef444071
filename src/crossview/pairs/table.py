"""PairTable: ground pictures, aerial pictures, and the relation between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.errors import BadData

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KINDS = ("panorama", "perspective")


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTable:
    """G ground pictures, A aerial pictures, P matching pairs and I ignored near-misses.

    A *row* is one matching pair: training draws rows, and everything "per row" is indexed by its
    position in ``pairs``. One relation serves one-to-one, many-to-one and many-to-many data.
    Arrays are read-only. Unknown numbers are NaN.
    """

    ground: tuple[Path, ...]  # G files
    aerial: tuple[Path, ...]  # A files
    pairs: Ints  # [P, 2] columns: index into ground, index into aerial
    ignored: Ints  # [I, 2] neither right nor wrong (VIGOR's semi-positives)
    ground_latlon: Floats  # [G, 2] degrees
    aerial_latlon: Floats  # [A, 2] degrees, of the picture's centre
    metres_per_px: Floats  # [A] on the ground
    up_bearing_deg: Floats  # [A] bearing of the picture's up, clockwise from true north
    heading_deg: Floats  # [G] azimuth of the picture's middle, clockwise from true north
    fov_deg: Floats  # [G] horizontal; NaN: read from the file
    perspective: Bools  # [G] a photo, not a panorama

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        g, a = len(self.ground), len(self.aerial)
        shapes: dict[str, tuple[int, ...]]
        shapes = {"pairs": (len(self.pairs), 2), "ignored": (len(self.ignored), 2)}
        shapes |= {"ground_latlon": (g, 2), "aerial_latlon": (a, 2)}
        shapes |= {"metres_per_px": (a,), "up_bearing_deg": (a,)}
        shapes |= {"heading_deg": (g,), "fov_deg": (g,), "perspective": (g,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise BadData(f"{name} has shape {getattr(self, name).shape}, expected {shape}.")
        for relation in (self.pairs, self.ignored):
            if len(relation) and (relation.min() < 0 or (relation.max(axis=0) >= (g, a)).any()):
                raise BadData(f"a pair points outside {g} ground and {a} aerial pictures.")

    def __len__(self) -> int:
        return len(self.pairs)

    def places(self) -> Ints:
        """[P] one number per row; rows joined by a shared picture have the same number."""
        parent = np.arange(len(self.ground) + len(self.aerial))
        for g, a in self.pairs + np.array([0, len(self.ground)]):
            parent[_root(parent, a)] = _root(parent, g)
        roots = np.array([_root(parent, g) for g in self.pairs[:, 0]], dtype=np.int64)
        return np.unique(roots, return_inverse=True)[1].astype(np.int64)

    def rows_latlon(self) -> Floats:
        """[P, 2] where each row was taken; the aerial centre where the ground has no place."""
        ground = self.ground_latlon[self.pairs[:, 0]]
        aerial = self.aerial_latlon[self.pairs[:, 1]]
        return np.where(np.isfinite(ground), ground, aerial)

    def take(self, rows: Sequence[int] | Ints | Bools) -> PairTable:
        """The table of some rows only: pictures that they do not use are dropped."""
        pairs = self.pairs[np.asarray(rows)].reshape(-1, 2)
        g, g_new = np.unique(pairs[:, 0], return_inverse=True)
        a, a_new = np.unique(pairs[:, 1], return_inverse=True)
        kept = np.isin(self.ignored[:, 0], g) & np.isin(self.ignored[:, 1], a)
        ignored = self.ignored[kept]
        per_ground: dict[str, Any] = {
            name: getattr(self, name)[g]
            for name in ("ground_latlon", "heading_deg", "fov_deg", "perspective")
        }
        per_aerial: dict[str, Any] = {
            name: getattr(self, name)[a]
            for name in ("aerial_latlon", "metres_per_px", "up_bearing_deg")
        }
        return replace(
            self,
            ground=tuple(self.ground[i] for i in g),
            aerial=tuple(self.aerial[i] for i in a),
            pairs=np.stack([g_new, a_new], axis=1).astype(np.int64),
            ignored=np.stack(
                [np.searchsorted(g, ignored[:, 0]), np.searchsorted(a, ignored[:, 1])], axis=1
            ).astype(np.int64),
            **per_ground,
            **per_aerial,
        )


def held_out(table: PairTable, share: float, seed: int) -> Bools:
    """[P] rows set aside for validation: ``share`` of the *places*, drawn by ``seed``.

    At least one place is set aside if share > 0, and at least one is kept.
    """
    places = table.places()
    count = int(places.max()) + 1 if len(places) else 0
    number = min(max(1, round(share * count)), count - 1) if share > 0 else 0
    drawn = np.random.default_rng(seed).permutation(count)[: max(0, number)]
    return np.isin(places, drawn)


def _root(parent: Ints, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = int(parent[node])
    return node
