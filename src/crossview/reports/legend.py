"""How a run is drawn: one colour, one dash and one marker through the whole report."""

from __future__ import annotations

from collections.abc import Sequence

from crossview.reports.markup import Html, tag
from crossview.reports.results import Trial
from crossview.reports.svg import DASHES, KINDS, MARKERS

_SHAPES = {
    "o": "M17 2a4 4 0 1 0 .1 0z",
    "s": "M13 2h8v8h-8z",
    "^": "M17 1l5 9h-10z",
    "D": "M17 1l5 5-5 5-5-5z",
    "v": "M17 11l5-9h-10z",
    "P": "M15.5 1h3v3.500h3.500v3h-3.500v3.500h-3v-3.500H12v-3h3.500z",
    "X": "M13 4l2-2 2 2 2-2 2 2-2 2 2 2-2 2-2-2-2 2-2-2 2-2z",
    "*": "M17 0l1.800 4h4.200l-3.400 2.600 1.400 4.400-4-2.700-4 2.700 1.400-4.400L11 4h4.200z",
}


def swatch(slot: int) -> Html:
    """A short piece of the run's line with its marker."""
    colour = f"var(--run-{slot % 8})"
    dashes = " ".join(f"{length:g}" for length in DASHES[slot % len(DASHES)][1]) or None
    line = tag("line", x1=0, x2=34, y1=6, y2=6, stroke_dasharray=dashes,
               style=f"stroke: {colour}; stroke-width: 2.5")  # fmt: skip
    mark = tag("path", d=_SHAPES[MARKERS[slot % len(MARKERS)]], style=f"fill: {colour}")
    return tag("svg", line, mark, viewBox="0 0 34 12", class_="swatch", aria_hidden="true")


def kind_swatch(slot: int) -> Html:
    """The colour of a kind of score, or of hit and miss on a map."""
    box = tag("rect", x=6, y=0, width=22, height=12, rx=3, style=f"fill: var(--kind-{slot})")
    return tag("svg", box, viewBox="0 0 34 12", class_="swatch", aria_hidden="true")


def kinds_line(names: Sequence[str]) -> Html:
    """A line that names the kinds drawn in the colours of kinds, in their order."""
    shown = [tag("span", kind_swatch(n % len(KINDS)), f" {name}  ") for n, name in enumerate(names)]
    return tag("p", shown, class_="small intro")


def runs_bar(trials: Sequence[Trial]) -> Html:
    """All runs of the report; choosing one lets it stand out in every chart."""
    runs = dict(sorted((result.slot, result.label) for trial in trials for result in trial.results))
    items = [
        tag("li", tag("button", swatch(slot), label, type="button", data_run=str(slot),
                      aria_pressed="false", disabled=True))
        for slot, label in runs.items()
    ]  # fmt: skip
    return tag("div", tag("ul", items, aria_label="Runs"), class_="runs")
