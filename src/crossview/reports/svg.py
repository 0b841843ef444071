"""Figures of matplotlib as inline SVG in the page's colours, so that they follow light and dark.

Figures are drawn in stand-in colours; the finished text names the page's CSS variables instead. The
backend is chosen per figure: nothing global is changed, and no window is ever opened.

How runs and axes are drawn in every chart.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from crossview.reports.curves import Curve
from crossview.reports.markup import Html
from crossview.reports.results import RunResult

# Stand-in colours. The page's style sheet defines the variables, for light and for dark.
INK, MUTED, LINE, SURFACE, ACCENT = "#010101", "#020202", "#030303", "#040404", "#050505"
RUNS = tuple(f"#1000{n:02x}" for n in range(8))
KINDS = tuple(f"#2000{n:02x}" for n in range(4))  # matched, unmatched, mirrored, rotated
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", LINE: "--grid", SURFACE: "--surface", ACCENT: "--accent",
    **{colour: f"--run-{n}" for n, colour in enumerate(RUNS)},
    **{colour: f"--kind-{n}" for n, colour in enumerate(KINDS)},
}  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()), (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)),
    (0, (8, 3)), (0, (3, 1.5)), (0, (6, 1.5, 1.5, 1.5, 1.5, 1.5)), (0, (1, 2.5)),
)  # fmt: skip
_STYLE: Any = {
    "font.size": 12.5, "font.family": "sans-serif", "svg.fonttype": "none",
    "svg.hashsalt": "crossview",
    "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": LINE, "xtick.color": MUTED,
    "ytick.color": MUTED, "axes.facecolor": "none", "figure.facecolor": "none",
    "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.8, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "lines.linewidth": 2, "lines.solid_capstyle": "round", "axes.labelsize": 12.5,
    "xtick.labelsize": 12, "ytick.labelsize": 12, "axes.unicode_minus": True,
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One drawing and its words."""

    svg: Html
    title: str
    note: str = ""


def draw_svg(
    draw: Callable[[Axes], None], label: str, size_px: tuple[int, int] = (380, 250)
) -> Html:
    """The SVG of what ``draw`` puts on one pair of axes; ``label`` says it to a screen reader.

    The page scales it; text has the size of the page's small print at ``size_px``.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(size_px[0] / 72, size_px[1] / 72), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return _for_page(stream.getvalue(), label)


def _for_page(svg: str, label: str) -> Html:
    """Without prologue and needless groups; ids of its own; colours and fonts of the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="(run-\d+)"', r'<g class="\1"', body)
    body = re.sub(r'<g id="[^"]+"', "<g", body)
    body = re.sub(r"<g/>|<defs>\s*</defs>", "", body)
    prefix = f"f{zlib.crc32(f'{label}{body}'.encode()):08x}-"
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}\1"', body)
    body = re.sub(r"#[0-9a-f]{6}", lambda found: _variable(found[0]), body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font: \1 var(--font)", body)
    body = re.sub(r"(\d+\.\d)\d{3,}", r"\1", body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = re.sub(r'(?:<use [^>]*? style="[^"]*"/>\n)+', lambda found: _one_style(found[0]), body)
    size = re.search(r'viewBox="[^"]+"', body)
    head = f'<svg {size[0] if size else ""} role="img" aria-label="{_attribute(label)}">'
    return Html(head + body[body.index(">") + 1 :].strip())


def _one_style(markers: str) -> str:
    """Markers of one style, which is written once."""
    styles = re.findall(r' style="[^"]*"', markers)
    if len(set(styles)) > 1:
        return markers
    return f"<g{styles[0]}>" + markers.replace(styles[0], "").replace("\n", "") + "</g>\n"


def _variable(colour: str) -> str:
    return f"var({_VARIABLES[colour]})" if colour in _VARIABLES else colour


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


DOTS = (0, (1.5, 3))  # of guides and of chance


def draw_curve(axes: Axes, slot: int, curve: Curve, marks: int = 6) -> None:
    """A run's curve with its band; ``marks`` markers along it."""
    every = max(1, len(curve.x) // marks) if marks else len(curve.x)
    shown: dict[str, Any] = {"marker": MARKERS[slot % len(MARKERS)], "markevery": every}
    band: dict[str, Any] = {
        "color": colour(slot),
        "alpha": 0.16,
        "linewidth": 0,
        "gid": run_id(slot),
    }
    axes.fill_between(curve.x, curve.low, curve.high, **band)
    axes.plot(curve.x, curve.y, **pen(slot), **(shown if marks else {}), markersize=5)


def draw_points(
    axes: Axes, slot: int, given: Sequence[tuple[float, RunResult]], metric: str
) -> None:
    """A run's figures with their intervals over x; hollow where it was not trained for that.

    Runs are moved apart a little, so that their intervals do not hide each other.
    """
    ordered = sorted(given, key=lambda point: point[0])
    xs = [x + 0.04 * (slot % 5 - 2) for x, _ in ordered]
    figures = [result.figures[metric] for _, result in ordered]
    own: dict[str, Any] = {"color": colour(slot), "gid": run_id(slot)}
    axes.plot(xs, [f.value for f in figures], **pen(slot))
    marker = MARKERS[slot % len(MARKERS)]
    for x, f, (_, result) in zip(xs, figures, ordered, strict=True):
        axes.plot([x, x], [f.low, f.high], linewidth=1.4, **own)
        face = SURFACE if result.conditions.off_protocol else colour(slot)
        axes.plot(x, f.value, marker=marker, markerfacecolor=face, markersize=6.5, **own)


def colour(slot: int) -> str:
    """The stand-in colour of a run."""
    return RUNS[slot % len(RUNS)]


def run_id(slot: int) -> str:
    """What marks a run's share of a chart; the page lets one run stand out by it."""
    return f"run-{slot}"


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
    axes.grid(axis="x", color=LINE, linewidth=0.5)


def pen(slot: int) -> dict[str, Any]:
    """Colour, dashes and mark of a run's line."""
    return {"color": colour(slot), "linestyle": DASHES[slot % len(DASHES)], "gid": run_id(slot)}
