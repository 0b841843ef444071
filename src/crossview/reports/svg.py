"""Drawings of matplotlib as inline SVG that takes its colours from the page, in light and in dark.

An artist is not coloured here: its ``gid`` names classes of the page's style sheet (``pen-2``), and
every line and area of the finished drawing has the ``currentColor`` of its class. The backend is
chosen per drawing: nothing global is changed, and no window is ever opened.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from crossview.reports.curves import Curve
from crossview.reports.results import RunResult

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
