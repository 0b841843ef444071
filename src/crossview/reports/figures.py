"""Charts of a report: the numbers behind them, and drawings of matplotlib as inline SVG.

A drawing takes its colours from the page, in light and in dark. An artist is not coloured here: its
``gid`` names classes of the page's style sheet (``pen-2``), and every line and area of the finished
drawing has the ``currentColor`` of its class. The backend is chosen per drawing: nothing global is
changed, and no window is ever opened.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from crossview.arrays import F64, I64
from crossview.evaluation.evaluation_record import Evaluation
from crossview.evaluation.metrics import MAIN, RADII_M
from crossview.geo.points import LatLon, find_middle, label_touching_cells, project_to_local_m
from crossview.localization.accuracy import RIGHT_WITHIN_M, mark_hits
from crossview.reports.published import PublishedRow
from crossview.reports.results import RunResult, Sweep, Trial
from crossview.stats import cluster_intervals, share_in_order
from crossview.texts import phrase


@dataclass(frozen=True, eq=False)
class Curve:
    """y [N] over x [N], both with an interval of 95 %; percent."""

    x: F64
    y: F64
    low: F64
    high: F64


def compute_recall_curve(result: RunResult, most: int, seed: int = 0) -> Curve:
    """Percent of queries whose truth is among the first k, for k from 1 to ``most``.

    As R@k: queries without a match are not found.
    """
    ks = np.unique(np.round(np.geomspace(1, max(2, most), 40)))
    rank = np.concatenate([e.queries.rank for e in result.evaluations])
    within_k = np.stack([mark_hits(rank, int(k)) for k in ks], axis=1)
    return _average(ks, within_k, _list_clusters(result), np.ones(len(rank), dtype=bool), seed)


def compute_error_curve(result: RunResult, metres: F64, seed: int = 0) -> Curve:
    """Percent of queries whose first place is at most this far from the truth."""
    error = np.concatenate([e.queries.error_m for e in result.evaluations])
    return _average(
        metres, error[:, None] <= metres, _list_clusters(result), np.isfinite(error), seed
    )


def compute_answered_curve(result: RunResult) -> tuple[F64, F64]:
    """(percent answered, percent of the answers that are right), most confident first.

    Confidence is the score of the first reference; right is a truth at rank 1.
    """
    score = np.concatenate([e.queries.best_score[:, 0] for e in result.evaluations])
    rank = np.concatenate([e.queries.rank for e in result.evaluations])
    scored = np.isfinite(score)
    right = mark_hits(rank[scored], 1)[np.argsort(-score[scored], kind="stable")]
    answered = np.arange(1, len(right) + 1)
    keep = np.unique(np.linspace(max(0, len(right) // 50 - 1), len(right) - 1, 80).astype(int))
    share = np.cumsum(right) / answered
    return 100.0 * answered[keep] / len(right), 100.0 * share[keep]


def compute_separation(matched: F64, unmatched: F64) -> float:
    """Percent of (matched, unmatched) draws in which the matched score is the higher one.

    50 is chance; equal scores count half.
    """
    return 100.0 * share_in_order(matched, unmatched)


def _list_clusters(result: RunResult) -> np.ndarray:
    return np.concatenate([e.queries.cluster for e in result.evaluations])


def _average(
    x: F64, hit: np.ndarray, clusters: np.ndarray, counted: np.ndarray, seed: int
) -> Curve:
    """Shares of the counted rows of ``hit`` [Q, N], with their intervals over clusters."""
    if not counted.any():
        nothing = np.full(len(x), np.nan)
        return Curve(x, nothing, nothing, nothing)
    low, high = cluster_intervals(hit[counted], clusters[counted], seed=seed)
    share = hit[counted].mean(axis=0)
    return Curve(x.astype(np.float64), 100.0 * share, 100.0 * low, 100.0 * high)


# Classes of pens; the page's style sheet gives each its colour, for light and for dark.
INK, MUTED, GRID, SURFACE = "pen-ink", "pen-muted", "pen-grid", "pen-surface"
KINDS = tuple(f"pen-kind-{n}" for n in range(4))  # matched, unmatched, mirrored, rotated
RUN_PENS = 8

DOTS = (0, (1.5, 3))  # of guides and of chance
MARKERS = {  # of matplotlib, and how the page draws them about (17, 6)
    "o": "M17 2a4 4 0 1 0 .1 0z",
    "s": "M13 2h8v8h-8z",
    "^": "M17 1l5 9h-10z",
    "D": "M17 1l5 5-5 5-5-5z",
    "v": "M17 11l5-9h-10z",
    "P": "M15.5 1h3v3.500h3.500v3h-3.500v3.500h-3v-3.500H12v-3h3.500z",
    "X": "M13 4l2-2 2 2 2-2 2 2-2 2 2 2-2 2-2-2-2 2-2-2 2-2z",
    "*": "M17 0l1.800 4h4.200l-3.400 2.600 1.400 4.400-4-2.700-4 2.700 1.400-4.400L11 4h4.200z",
}
DASHES: tuple[tuple[float, ...], ...] = (
    (), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2),
    (8, 3), (3, 1.5), (6, 1.5, 1.5, 1.5, 1.5, 1.5), (1, 2.5),
)  # fmt: skip
# Never seen: matplotlib writes no paint where it is black, which is what SVG takes anyway.
_GREY = "#808080"
_STYLE: Any = {
    "font.size": 12.5, "font.family": "sans-serif", "svg.fonttype": "none",
    "svg.hashsalt": "crossview",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color",
                     "ytick.color", "grid.color", "lines.color", "patch.facecolor"), _GREY),
    "axes.facecolor": "none", "figure.facecolor": "none",
    "axes.grid": True, "grid.linewidth": 0.8, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "lines.linewidth": 2, "lines.solid_capstyle": "round", "axes.labelsize": 12.5,
    "xtick.labelsize": 12, "ytick.labelsize": 12, "axes.unicode_minus": True,
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One drawing and its words."""

    svg: str
    title: str
    note: str = ""


def draw_svg(
    draw: Callable[[Axes], None], label: str, size_px: tuple[int, int] = (380, 250)
) -> str:
    """The SVG of what ``draw`` puts on one pair of axes; ``label`` says it to a screen reader.

    The page scales it; text has the size of the page's small print at ``size_px``.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(size_px[0] / 72, size_px[1] / 72), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_prop_cycle(color=[_GREY])
        axes.grid(visible=True, gid=GRID)
        for spine in axes.spines.values():
            spine.set_gid(GRID)
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return _inline(stream.getvalue(), label)


def draw_curve(axes: Axes, slot: int, curve: Curve, marks: int = 6) -> None:
    """A run's curve with its band; ``marks`` markers along it."""
    every = max(1, len(curve.x) // marks) if marks else len(curve.x)
    shown: dict[str, Any] = {"marker": marker(slot), "markevery": every} if marks else {}
    band: dict[str, Any] = {"alpha": 0.16, "linewidth": 0, "gid": pen(slot)}
    axes.fill_between(curve.x, curve.low, curve.high, **band)
    axes.plot(curve.x, curve.y, **line_style(slot), **shown, markersize=5)


def draw_points(
    axes: Axes, slot: int, points: Sequence[tuple[float, RunResult]], metric: str
) -> None:
    """A run's figures with their intervals over x; hollow where it was not trained for that.

    Runs are moved apart a little, so that their intervals do not hide each other.
    """
    ordered = sorted(points, key=lambda point: point[0])
    xs = [x + 0.04 * (slot % 5 - 2) for x, _ in ordered]
    figures = [result.figures[metric] for _, result in ordered]
    axes.plot(xs, [f.value for f in figures], **line_style(slot))
    for x, f, (_, result) in zip(xs, figures, ordered, strict=True):
        axes.plot([x, x], [f.low, f.high], linewidth=1.4, gid=pen(slot))
        mark: dict[str, Any] = {"marker": marker(slot), "markersize": 6.5}
        if result.conditions.off_protocol:
            axes.plot(x, f.value, **mark, markeredgewidth=0, gid=pen(slot, SURFACE))
            mark["markerfacecolor"] = "none"
        axes.plot(x, f.value, **mark, gid=pen(slot))


def pen(slot: int, colour: str | None = None) -> str:
    """The classes of a run's share of a chart: the run, which the page lets stand out, and its pen.

    ``colour``: another pen than the run's own.
    """
    return f"run-{slot} {colour or f'pen-{slot % RUN_PENS}'}"


def line_style(slot: int) -> dict[str, Any]:
    """Pen and dashes of a run's line, as matplotlib takes them."""
    return {"linestyle": (0, dashes(slot)), "gid": pen(slot)}


def dashes(slot: int) -> tuple[float, ...]:
    """Lengths of a run's dashes and gaps; none: a line without gaps."""
    return DASHES[slot % len(DASHES)]


def marker(slot: int) -> str:
    """A run's marker, a key of :data:`MARKERS`."""
    return list(MARKERS)[slot % len(MARKERS)]


def marker_path(slot: int) -> str:
    """The path of a run's marker on the page, about (17, 6)."""
    return MARKERS[marker(slot)]


def set_percent_axis(axes: Axes) -> None:
    """The vertical axis from 0 to 100 %."""
    axes.set_ylim(0, 101.5)
    axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0f} %"))


def set_log_axis(axes: Axes, ticks: list[int]) -> None:
    """A logarithmic horizontal axis with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.grid(axis="x", linewidth=0.5)


def _inline(svg: str, label: str) -> str:
    """The drawing as an element of a page: its paints, fonts and identifiers adapted.

    Identifiers get a prefix of their own, as a page holds many drawings.
    """
    drawing = ElementTree.fromstring(svg)  # noqa: S314 - matplotlib's own text
    view = drawing.get("viewBox", "")
    _adapt(drawing, f"f{zlib.crc32(f'{label}{svg}'.encode()):08x}-")
    drawing.attrib = {"viewBox": view, "role": "img", "aria-label": label}
    return ElementTree.tostring(drawing, encoding="unicode")


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    element.tag = _strip_namespace(element.tag)
    attributes = (_adapt_attribute(element.tag, *item, prefix) for item in element.items())
    element.attrib = dict(filter(None, attributes))
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    for child in list(element):
        _adapt(child, prefix)
        empty = child.tag in ("defs", "g") and not len(child)
        if empty or child.tag in ("metadata", "style"):
            element.remove(child)
    styles = {child.get("style") for child in element if child.tag == "use"}
    if len(styles) == 1 and len(element) > 1 and all(child.tag == "use" for child in element):
        for marker_ in element:
            element.set("style", marker_.attrib.pop("style"))


def _adapt_attribute(tag: str, name: str, value: str, prefix: str) -> tuple[str, str] | None:
    match _strip_namespace(name):
        case "id" if tag == "g":  # of matplotlib, or the classes that a gid names
            return ("class", value) if "pen-" in value else None
        case "id":
            return "id", prefix + value
        case "href":
            return "href", f"#{prefix}{value.removeprefix('#')}"
        case "clip-path":
            return "clip-path", value.replace("url(#", f"url(#{prefix}")
        case "style":
            return "style", "; ".join(map(_adapt_declaration, value.split(";")))
        case other:
            return other, _shorten(value)


def _adapt_declaration(declaration: str) -> str:
    """A paint becomes the colour of the class, a font that of the page."""
    name, value = (part.strip() for part in declaration.split(":"))
    if name in ("fill", "stroke") and value != "none":
        value = "currentColor"
    elif name == "font":
        value = f"{value.partition(' ')[0]} var(--font)"
    return f"{name}: {_shorten(value)}"


def _shorten(numbers: str) -> str:
    """Coordinates to a tenth of a pixel, which halves a page."""
    return re.sub(r"(\d+\.\d)\d{3,}", r"\1", " ".join(numbers.split()))


def _strip_namespace(name: str) -> str:
    """HTML writes the names of SVG without their namespace."""
    return name.rpartition("}")[2]


MOST_AREAS, MOST_QUERIES, MOST_REFERENCES = 4, 400, 600  # of the maps of a run
MOST_SEVERE = 5
_CELL_DEG = 0.02  # about 2 km; places in touching cells are one area
_LEAST_SHARE = 0.02
_SCORES = {  # columns of a record by what they compare; a text of each name is shown
    "matched": "true_score",
    "unmatched": "unmatched_score",
    "mirrored": "mirrored_score",
    "rotated": "rotated_score",
}


def draw_recall(trial: Trial) -> Panel:
    """R@k over k, up to 1 % of the gallery or 100, with the chance of a drawn answer."""
    k_1 = trial.results[0].first.k_at_1_percent
    most = min(trial.references, max(100, k_1))
    curves = [(result, compute_recall_curve(result, most)) for result in trial.results]

    def draw(axes: Axes) -> None:
        ks = np.geomspace(1, most, 40)
        if trial.chance_percent is not None:
            axes.plot(ks, trial.chance_percent * ks, gid=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            draw_curve(axes, result.slot, curve)
        set_log_axis(axes, [k for k in (1, 5, 10, 50, 100, 500, 1000) if k <= most])
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.recall_axis"))

    values = (phrase("charts.recall_value", run=r.label, percent=c.y[0]) for r, c in curves)
    label = phrase("charts.recall_label", trial=trial.name, values=", ".join(values))
    kind = "recall_note_chance" if trial.chance_percent else "recall_note"
    note = phrase(f"charts.{kind}", counts=_count(trial))
    return Panel(draw_svg(draw, label), trial.name, note)


def draw_errors(trial: Trial) -> Panel | None:
    """Share of queries within so many metres, or None where places are not known."""
    placed = [result for result in trial.results if len(result.errors_m)]
    if not placed:
        return None
    most = max(float(result.errors_m.max()) for result in placed)
    metres = np.geomspace(1.0, max(200.0, most), 60)
    curves = [(result, compute_error_curve(result, metres)) for result in placed]

    def draw(axes: Axes) -> None:
        for guide in RADII_M:
            axes.axvline(guide, gid=MUTED, linewidth=1.2, linestyle=DOTS)
        for result, curve in curves:
            draw_curve(axes, result.slot, curve, marks=0)
        set_log_axis(axes, [1, *RADII_M, *(m for m in (1000, 10_000, 100_000) if m <= most)])
        axes.grid(visible=False, axis="x")
        axes.set_xlim(1.0, metres[-1])
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.errors_axis"))

    values = (
        phrase("charts.errors_value", run=r.label, metres=float(np.median(r.errors_m)))
        for r in placed
    )
    label = phrase("charts.errors_label", trial=trial.name, values=", ".join(values))
    return Panel(draw_svg(draw, label), trial.name, _count(trial))


def draw_answered(trial: Trial) -> Panel:
    """How many answers are right when only the most confident share is given."""

    def draw(axes: Axes) -> None:
        for result in trial.results:
            answered, right = compute_answered_curve(result)
            axes.plot(answered, right, **line_style(result.slot))
        axes.set_xlim(0, 100)
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.answered_axis"))

    label = phrase("charts.answered_label", trial=trial.name)
    return Panel(draw_svg(draw, label), trial.name, _count(trial))


def _count(trial: Trial) -> str:
    return phrase("charts.counts", queries=trial.queries, references=trial.references)


def draw_fields_of_view(sweep: Sweep) -> Panel:
    """A chart of a data set that was asked under several fields of view."""
    group, angles = sweep.trials, sweep.fovs_deg
    ours = _collect_measured(group)
    theirs = _collect_published(group, angles)

    def draw(axes: Axes) -> None:
        for name, printed in theirs.items():
            xs = [angles.index(a) for a in sorted(printed, reverse=True)]
            ys = [printed[a] for a in sorted(printed, reverse=True)]
            axes.plot(xs, ys, gid=MUTED, linewidth=1, marker="o", markersize=3)
            axes.annotate(name, (xs[-1], ys[-1]), (4, 0), textcoords="offset points", gid=MUTED,
                          fontsize=9, va="center")  # fmt: skip
        for slot, measured in ours.items():
            draw_points(axes, slot, [(angles.index(fov), r) for fov, r in measured], MAIN)
        axes.set_xticks(range(len(angles)), [f"{a:g}°" for a in angles])
        axes.set_xlim(-0.3, len(angles) - 0.4 + (0.5 if theirs else 0))
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.fields_axis"))

    conditions = group[0].conditions
    title = phrase("charts.fields_title", data=group[0].title, headings=conditions.headings)
    note = phrase("charts.fields_note", queries=max(t.queries for t in group))
    if any(result.conditions.off_protocol for trial in group for result in trial.results):
        note += phrase("charts.fields_hollow")
    if theirs:
        note += phrase("charts.fields_published")
    return Panel(draw_svg(draw, phrase("charts.fields_label", title=title)), title, note)


def _collect_measured(group: Sequence[Trial]) -> dict[int, list[tuple[float, RunResult]]]:
    """The results of every run, by its slot, each with its field of view in degrees."""
    by_slot: dict[int, list[tuple[float, RunResult]]] = {}
    for trial in group:
        for result in trial.results:
            if MAIN in result.figures:
                point = (trial.conditions.fov_deg or 0.0, result)
                by_slot.setdefault(result.slot, []).append(point)
    return by_slot


def _collect_published(
    group: Sequence[Trial], angles: Sequence[float]
) -> dict[str, dict[float, float]]:
    """R@1 by name and angle of comparable published rows that have at least two of the angles."""
    first = group[0]
    by_name: dict[str, dict[float, float]] = {}
    for row in first.benchmark.rows if first.benchmark else ():
        angle = row.conditions.fov_deg
        if angle is None or angle not in angles or MAIN not in row.values:
            continue
        if _is_comparable(row, first):
            name = f"{row.method} ({row.variant})" if row.variant else row.method
            by_name.setdefault(name, {})[angle] = row.values[MAIN]
    return {name: points for name, points in by_name.items() if len(points) > 1}


def _is_comparable(row: PublishedRow, trial: Trial) -> bool:
    theirs, ours = row.conditions, trial.conditions
    return (theirs.headings, theirs.trained_on, theirs.models) == (
        ours.headings, ours.trained_on, ours.models,
    )  # fmt: skip


def collect_scores(result: RunResult) -> list[tuple[int, str, F64]]:
    """(slot, name, scores) of what was measured: matched, unmatched, and the hard samples."""
    kinds = [
        (slot, phrase(f"charts.{name}"), _concatenate_scores(result, column))
        for slot, (name, column) in enumerate(_SCORES.items())
    ]
    return [kind for kind in kinds if len(kind[2]) > 1]


def draw_similarities(trial: Trial, result: RunResult) -> Panel | None:
    """Densities of the scores of true and wrong references, and of hard samples if measured."""
    kinds = collect_scores(result)
    if len(kinds) < 2:
        return None
    every = np.concatenate([values for _, _, values in kinds])
    low, high = np.percentile(every, (0.1, 99.9))
    edges = np.linspace(low, high, 46)

    def draw(axes: Axes) -> None:
        for slot, _, values in kinds:
            height, _ = np.histogram(values, edges, density=True)
            outline: dict[str, Any] = {"linewidth": 1.8, "linestyle": (0, dashes(slot))}
            axes.stairs(height, edges, fill=True, alpha=0.12, gid=KINDS[slot])
            axes.stairs(height, edges, **outline, gid=KINDS[slot])
        axes.set_yticks([])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(phrase("charts.scores_axis"))

    medians = (
        phrase("charts.scores_median", kind=name, median=float(np.median(values)))
        for _, name, values in kinds
    )
    note = phrase(
        "charts.scores_note",
        n=len(kinds[0][2]),
        medians="; ".join(medians),
        separation=compute_separation(kinds[0][2], kinds[1][2]),
    )
    label = phrase("charts.scores_label", run=result.label, trial=trial.name, note=note)
    title = phrase("charts.scores_title", run=result.label, trial=trial.name)
    return Panel(draw_svg(draw, label, (380, 190)), title, note)


def _concatenate_scores(result: RunResult, column: str) -> F64:
    """The finite scores of all records that have the column."""
    columns = [getattr(e.queries, column) for e in result.evaluations]
    scores = [c.astype(np.float64) for c in columns if c is not None]
    values: F64 = np.concatenate(scores) if scores else np.empty(0)
    return values[np.isfinite(values)]


@dataclass(frozen=True, eq=False)
class _Area:
    """Queries of one town or district, in metres east and north of their middle."""

    truth: F64  # [N, 2]
    answers: F64  # [N, 2]
    error_m: F64  # [N]
    gallery: F64  # [R, 2]
    total: int  # before thinning


def draw_maps(trial: Trial, result: RunResult) -> list[Panel]:
    """One map per area, the areas with most queries first; none where places are not known."""
    areas = list(_find_areas(result.first))
    title = phrase("charts.map_title", run=result.label, trial=trial.name)
    if len(areas) == 1:
        return [_draw_map(title, areas[0])]
    return [
        _draw_map(phrase("charts.map_area", title=title, number=number), area)
        for number, area in enumerate(areas, 1)
    ]


def _draw_map(title: str, area: _Area) -> Panel:
    near = area.error_m <= RIGHT_WITHIN_M

    def draw(axes: Axes) -> None:
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.plot(*area.gallery.T, markersize=1, marker="s", linestyle="none", gid=GRID)
        gap = np.full_like(area.truth, np.nan)  # parts the lines of one path
        misses = np.stack([area.truth, area.answers, gap], axis=1)[~near].reshape(-1, 2)
        axes.plot(*misses.T, gid=KINDS[1], linewidth=0.7, alpha=0.45)
        axes.plot(*area.truth[near].T, "o", gid=KINDS[0], markersize=4, markeredgewidth=0)
        axes.plot(*area.truth[~near].T, "x", gid=KINDS[1], markersize=4.5, markeredgewidth=1.4)
        _set_limits(axes, np.concatenate([area.truth, area.gallery]))

    note = phrase(
        "charts.map_note_thinned" if area.total > len(near) else "charts.map_note",
        percent=100.0 * float(np.mean(near)),
        radius=RIGHT_WITHIN_M,
        n=area.total,
        drawn=len(near),
    )
    label = phrase("charts.map_label", title=title, note=note)
    return Panel(draw_svg(draw, label, (380, 320)), title, note)


def _set_limits(axes: Axes, places: F64) -> None:
    """Limits around the area, and a scale bar of a round length in its lower left corner."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = float(max(high - low)) or 1.0
    pad = 0.04 * side
    axes.set_xlim(low[0] - pad, high[0] + pad)
    axes.set_ylim(low[1] - 3 * pad, high[1] + pad)
    length = _choose_length(0.25 * side)
    y = low[1] - 2 * pad
    axes.plot([low[0], low[0] + length], [y, y], gid=INK, linewidth=2, solid_capstyle="butt")
    text = f"{length:g} m" if length < 1000 else f"{length / 1000:g} km"
    axes.annotate(text, (low[0] + length, y), (5, 0), textcoords="offset points", va="center",
                  fontsize=10, gid=INK)  # fmt: skip


def _choose_length(metres: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(metres))
    return max(step * power for step in (1, 2, 5) if step * power <= metres)


def _find_areas(evaluation: Evaluation) -> Iterator[_Area]:
    queries = evaluation.queries
    placed = np.isfinite(queries.truth_latlon).all(1) & np.isfinite(queries.found_latlon).all(1)
    if not placed.any():
        return
    latlon, answers = queries.truth_latlon[placed], queries.found_latlon[placed]
    errors = queries.error_m[placed]
    groups = _label_areas(latlon)
    numbers, counts = np.unique(groups, return_counts=True)
    for number in numbers[np.argsort(-counts)][:MOST_AREAS]:
        rows = np.flatnonzero(groups == number)
        if len(rows) >= _LEAST_SHARE * len(latlon):
            yield _cut_area(latlon, answers, errors, rows, evaluation.references.latlon)


def _cut_area(latlon: F64, answers: F64, errors: F64, rows: np.ndarray, gallery: F64) -> _Area:
    middle = find_middle(*latlon[rows].T)
    thinned = _thin(rows, MOST_QUERIES)
    truth, references = _project(latlon[rows], middle), _project(gallery, middle)
    within = (references >= truth.min(axis=0)) & (references <= truth.max(axis=0))
    inside = np.flatnonzero(within.all(axis=1))
    return _Area(
        _project(latlon[thinned], middle),
        _project(answers[thinned], middle),
        errors[thinned],
        references[_thin(inside, MOST_REFERENCES)],
        len(rows),
    )


def _thin(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the rows, the same ones every time."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _project(latlon: F64, middle: LatLon) -> F64:
    """Metres [N, 2] east and north of the middle."""
    return np.stack(project_to_local_m(middle, *latlon.T), axis=1)


def _label_areas(latlon: F64) -> I64:
    """Numbers [N] of the areas: places whose cells touch, directly or through others, are one."""
    columns = round(360.0 / _CELL_DEG)
    cells = np.floor(latlon / _CELL_DEG).astype(np.int64)
    cells[:, 1] %= columns
    unique, inverse = np.unique(cells, axis=0, return_inverse=True)
    areas: I64 = label_touching_cells(unique, columns)[inverse.ravel()]
    return areas


def is_damaged(trial: Trial) -> bool:
    """Whether its ground pictures were damaged on purpose."""
    return bool(trial.conditions.corruption)


def draw_damage(trials: Sequence[Trial]) -> list[Panel]:
    """A chart per data set, view and kind of damage, from the clean pictures to the worst."""
    groups: dict[tuple[object, ...], dict[int, Trial]] = {}
    for trial in filter(is_damaged, trials):
        name, severity = split_damage(trial)
        groups.setdefault((*_key_of_clean(trial), name), {})[severity] = trial
    clean = {_key_of_clean(trial): trial for trial in trials if not is_damaged(trial)}
    return [
        _draw_severities(
            str(name), ({0: clean[key]} if (key := tuple(rest)) in clean else {}) | group
        )
        for (*rest, name), group in groups.items()
    ]


def split_damage(trial: Trial) -> tuple[str, int]:
    """What was done to the pictures and how much, from 1 to 5; a bare name counts as 1."""
    name, _, severity = trial.conditions.corruption.rpartition(" ")
    return (name, int(severity)) if name and severity.isdigit() else (name or severity, 1)


def _key_of_clean(trial: Trial) -> tuple[object, ...]:
    c = trial.conditions
    return (trial.title, c.headings, c.fov_deg, c.rule, c.trained_on)


def _draw_severities(damage: str, by_severity: dict[int, Trial]) -> Panel:
    runs: dict[int, list[tuple[float, RunResult]]] = {}
    for severity, trial in sorted(by_severity.items()):
        for result in trial.results:
            if MAIN in result.figures:
                runs.setdefault(result.slot, []).append((severity, result))

    def draw(axes: Axes) -> None:
        for slot, points in runs.items():
            draw_points(axes, slot, points, MAIN)
        ticks = [phrase("charts.damage_none"), *map(str, range(1, MOST_SEVERE + 1))]
        axes.set_xticks(range(MOST_SEVERE + 1), ticks)
        axes.set_xlim(-0.3, MOST_SEVERE + 0.3)
        set_percent_axis(axes)
        axes.set_xlabel(phrase("charts.damage_axis"))

    trial = next(iter(by_severity.values()))
    words = trial.conditions.words
    note = phrase("charts.damage_note", queries=trial.queries, conditions=words)
    label = phrase("charts.damage_label", damage=damage, note=note)
    title = phrase("charts.damage_title", data=trial.title, damage=damage)
    return Panel(draw_svg(draw, label), title, note)
