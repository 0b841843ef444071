"""The picture of the calibration experiment: reliability, and the cost of refusing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossview.files import writing

PARTS = {"test": "other towns, styles seen in training", "unseen": "a style never seen"}
COLOURS = ("#0b6e8a", "#c4501b")


def draw(found: dict[str, Any], path: Path) -> None:
    """Two columns, one per part: stated against true shares, and false accepts by false rejects."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 8.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for column, (part, title) in enumerate(PARTS.items()):
        upper, lower = axes[0][column], axes[1][column]
        for colour, (kind, told) in zip(COLOURS, found[part].items(), strict=False):
            stated, true, _ = zip(*told["reliability"], strict=True)
            error = told["calibration_error"]
            label = f"{kind}: n {told['n']}, error {error:.3f}"
            upper.plot(stated, true, "o-", color=colour, markersize=4, label=label)
            refused, accepted = zip(*told["curve"], strict=True)
            area = told["told_apart_elsewhere"]
            lower.plot(refused, accepted, color=colour, label=f"{kind}: told apart {area:.2f}")
        for axis in (upper, lower):
            axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axis.grid(alpha=0.25)
            axis.legend(loc="upper left" if axis is upper else "upper right", fontsize=8)
        upper.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        lower.plot([0, 1], [1, 0], color="#888888", linewidth=0.8)
        upper.set(title=title, xlabel="stated probability of lying within 25 m",
                  ylabel="share that did")  # fmt: skip
        lower.set(xlabel="pictures of the region that are refused",
                  ylabel="pictures of another town that are accepted")  # fmt: skip
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
