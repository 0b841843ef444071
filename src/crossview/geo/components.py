"""Connected components: what touches, directly or through others, is one group or region.

By hand: cells are sparse and columns may go around the Earth, for which cv2 would need the whole
grid; scipy is not in the base install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from crossview.arrays import F64, I64
from crossview.geo.points import EARTH_RADIUS_M, unroll_lon

MOST_REGIONS = 256  # a map draws each by itself


def label_components(count: int, neighbours: Callable[[int], Iterable[int]]) -> I64:
    """Group numbers [count], in the order of each group's first member.

    ``neighbours`` gives the members (0 to ``count`` - 1) that touch one; touching is mutual.
    """
    labels: I64 = np.full(count, -1, np.int64)
    group = -1
    for seed in range(count):
        if labels[seed] >= 0:
            continue
        group += 1
        labels[seed] = group
        border = [seed]
        while border:
            for near in neighbours(border.pop()):
                if labels[near] < 0:
                    labels[near] = group
                    border.append(near)
    return labels


def label_touching_cells(cells: I64, columns: int | None = None) -> I64:
    """Group numbers [N] of different cells [N, 2] (row, column) that touch at a side or a corner.

    ``columns``: how many go round the Earth, where the last touches the first. Cells may lie far
    apart: nothing between them is walked.
    """
    members = {(int(row), int(column)): i for i, (row, column) in enumerate(cells)}
    keys = list(members)

    def neighbours(member: int) -> Iterable[int]:
        row, column = keys[member]
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                across = column + j if columns is None else (column + j) % columns
                near = members.get((row + i, across))
                if near is not None:
                    yield near

    return label_components(len(keys), neighbours)


def split_regions(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    """Rows of points [N] of each region, the largest first.

    Points less than about ``gap_m`` metres apart are in one region; where that gives more than
    ``MOST_REGIONS``, the gap is doubled until it does not.
    """
    if not len(lat):
        return []
    unrolled = unroll_lon(lon)
    groups = _join_points(lat, unrolled, gap_m)
    while len(groups) > MOST_REGIONS:
        gap_m *= 2.0
        groups = _join_points(lat, unrolled, gap_m)
    return sorted(groups, key=len, reverse=True)


def _join_points(lat: F64, lon: F64, gap_m: float) -> list[I64]:
    step = float(np.degrees(gap_m / EARTH_RADIUS_M))
    across = step / np.cos(np.radians(np.round(lat)))
    keys = np.stack([np.floor(lat / step), np.floor(lon / across)], axis=1).astype(np.int64)
    cells, number = np.unique(keys, axis=0, return_inverse=True)
    of_point = label_touching_cells(cells)[number.reshape(-1)]
    return [np.flatnonzero(of_point == region) for region in range(int(of_point.max()) + 1)]
