"""Charts of one run's scores: how far right is from wrong, how true its confidence is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from crossview.arrays import F64
from crossview.reports.curves import separation
from crossview.reports.results import Result, Trial
from crossview.reports.svg import KINDS, Panel, drawn

_NAMES = ("matched", "unmatched", "mirrored", "turned by 90°")
_FIELDS = ("true_score", "unmatched_score", "mirrored_score", "rotated_score")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


def kinds_of_scores(result: Result) -> list[tuple[int, str, F64]]:
    """(slot, name, scores) of what was measured: matched, unmatched, and the hard samples."""
    found = [(slot, _NAMES[slot], _scores(result, field)) for slot, field in enumerate(_FIELDS)]
    return [kind for kind in found if len(kind[2]) > 1]


def similarity_panel(trial: Trial, result: Result) -> Panel | None:
    """Densities of the scores of true and wrong references, and of hard samples if measured."""
    kinds = kinds_of_scores(result)
    if len(kinds) < 2:
        return None
    every = np.concatenate([values for _, _, values in kinds])
    low, high = np.percentile(every, (0.1, 99.9))
    edges = np.linspace(low, high, 46)

    def draw(axes: Axes) -> None:
        for slot, _, values in kinds:
            height, _ = np.histogram(values, edges, density=True)
            pen = {"color": KINDS[slot], "linestyle": _DASHES[slot]}
            axes.stairs(height, edges, fill=True, color=KINDS[slot], alpha=0.12)
            axes.stairs(height, edges, linewidth=1.8, **pen)
        axes.set_yticks([])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("similarity")

    apart = separation(kinds[0][2], kinds[1][2])
    told = "; ".join(f"{name} {np.median(values):.2f}" for _, name, values in kinds)
    note = (
        f"n = {len(kinds[0][2]):,}. Medians: {told}. The true tile scores higher than a wrong one "
        f"drawn at random in {apart:.1f} % of draws."
    )
    label = f"Similarity distributions of {result.label} on {trial.name}. {note}"
    return Panel(drawn(draw, label, (380, 190)), f"{result.label} · {trial.name}", note)


def _scores(result: Result, field: str) -> F64:
    values = np.concatenate(list(_columns(result, field))).astype(np.float64)
    return values[np.isfinite(values)]


def _columns(result: Result, field: str) -> Iterator[np.ndarray]:
    """The column of every record; where a record does not have it, NaN."""
    for evaluation in result.evaluations:
        column = getattr(evaluation.queries, field)
        yield np.full(len(evaluation.queries.ids), np.nan) if column is None else column
