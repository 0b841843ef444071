"""A map of errors: where the queries were taken, and where the run put those that it missed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from crossview.arrays import F64, I64
from crossview.evaluation.evaluation_record import Evaluation
from crossview.geo.components import label_touching_cells
from crossview.geo.points import LatLon, local_m, middle_of
from crossview.localization.accuracy import RIGHT_WITHIN_M
from crossview.reports.results import Result, Trial
from crossview.reports.svg import INK, KINDS, LINE, Panel, drawn

MOST_AREAS, MOST_QUERIES, MOST_REFERENCES = 4, 400, 600
_CELL_DEG = 0.02  # about 2 km; places in touching cells are one area
_LEAST_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class _Area:
    """Queries of one town or district, in metres east and north of their middle."""

    truth: F64  # [N, 2]
    found: F64  # [N, 2]
    error_m: F64  # [N]
    gallery: F64  # [R, 2]
    total: int  # before thinning


def map_panels(trial: Trial, result: Result) -> list[Panel]:
    """One map per area, the areas with most queries first; none where places are not known."""
    areas = list(_areas(result.first))
    return [_panel(trial, result, area, n, len(areas)) for n, area in enumerate(areas, 1)]


def _panel(trial: Trial, result: Result, area: _Area, number: int, areas: int) -> Panel:
    near = area.error_m <= RIGHT_WITHIN_M

    def draw(axes: Axes) -> None:
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.plot(*area.gallery.T, color=LINE, markersize=1, marker="s", linestyle="none")
        gap = np.full_like(area.truth, np.nan)  # parts the lines of one path
        misses = np.stack([area.truth, area.found, gap], axis=1)[~near].reshape(-1, 2)
        axes.plot(*misses.T, color=KINDS[1], linewidth=0.7, alpha=0.45)
        axes.plot(*area.truth[near].T, "o", color=KINDS[0], markersize=4, markeredgewidth=0)
        axes.plot(*area.truth[~near].T, "x", color=KINDS[1], markersize=4.5, markeredgewidth=1.4)
        _frame(axes, np.concatenate([area.truth, area.gallery]))

    share = 100.0 * float(np.mean(near))
    thinned = f", {len(near)} of {area.total:,} drawn" if area.total > len(near) else ""
    where = f" · area {number}" if areas > 1 else ""
    note = f"{share:.0f} % within {RIGHT_WITHIN_M:g} m; n = {area.total:,}{thinned}."
    title = f"{result.label} · {trial.name}{where}"
    return Panel(drawn(draw, f"Map of errors, {title}. {note}", (380, 320)), title, note)


def _frame(axes: Axes, places: F64) -> None:
    """Limits around the area, and a scale bar of a round length in its lower left corner."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = float(max(high - low)) or 1.0
    pad = 0.04 * side
    axes.set_xlim(low[0] - pad, high[0] + pad)
    axes.set_ylim(low[1] - 3 * pad, high[1] + pad)
    length = _round_length(0.25 * side)
    y = low[1] - 2 * pad
    axes.plot([low[0], low[0] + length], [y, y], color=INK, linewidth=2, solid_capstyle="butt")
    text = f"{length:g} m" if length < 1000 else f"{length / 1000:g} km"
    axes.annotate(text, (low[0] + length, y), (5, 0), textcoords="offset points", va="center",
                  fontsize=10)  # fmt: skip


def _round_length(metres: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(metres))
    return max(step * power for step in (1, 2, 5) if step * power <= metres)


def _areas(evaluation: Evaluation) -> Iterator[_Area]:
    queries = evaluation.queries
    known = np.isfinite(queries.truth_latlon).all(1) & np.isfinite(queries.found_latlon).all(1)
    if not known.any():
        return
    latlon, found = queries.truth_latlon[known], queries.found_latlon[known]
    errors = queries.error_m[known]
    groups = _touching(latlon)
    numbers, counts = np.unique(groups, return_counts=True)
    for number in numbers[np.argsort(-counts)][:MOST_AREAS]:
        rows = np.flatnonzero(groups == number)
        if len(rows) >= _LEAST_SHARE * len(latlon):
            yield _area(latlon, found, errors, rows, evaluation.references.latlon)


def _area(latlon: F64, found: F64, errors: F64, rows: np.ndarray, gallery: F64) -> _Area:
    middle = middle_of(*latlon[rows].T)
    drawn_rows = _thinned(rows, MOST_QUERIES)
    truth, references = _metres(latlon[rows], middle), _metres(gallery, middle)
    within = (references >= truth.min(axis=0)) & (references <= truth.max(axis=0))
    inside = np.flatnonzero(within.all(axis=1))
    return _Area(
        _metres(latlon[drawn_rows], middle),
        _metres(found[drawn_rows], middle),
        errors[drawn_rows],
        references[_thinned(inside, MOST_REFERENCES)],
        len(rows),
    )


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the rows, the same ones every time."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _metres(latlon: F64, middle: LatLon) -> F64:
    """Metres [N, 2] east and north of the middle."""
    return np.stack(local_m(middle, *latlon.T), axis=1)


def _touching(latlon: F64) -> I64:
    """Numbers [N] of the areas: places whose cells touch, directly or through others, are one."""
    columns = round(360.0 / _CELL_DEG)
    cells = np.floor(latlon / _CELL_DEG).astype(np.int64)
    cells[:, 1] %= columns
    unique, inverse = np.unique(cells, axis=0, return_inverse=True)
    areas: I64 = label_touching_cells(unique, columns)[inverse.ravel()]
    return areas
