"""Sections that show: charts as small multiples, maps, galleries, and the matrix of differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossview.outputs.page_images import Budget
from crossview.reports.gallery import AnswerCard, pick_cards
from crossview.reports.legend import swatch
from crossview.reports.markup import Html, tag
from crossview.reports.results import RunResult, Trial
from crossview.reports.significance import RunComparison
from crossview.reports.svg import Panel
from crossview.reports.verdicts import p_in_words, points


def panels(made: Sequence[Panel]) -> Html:
    """Charts beside each other."""
    return tag("div", [_figure(panel) for panel in made], class_="panels")


def _figure(panel: Panel) -> Html:
    caption = tag("figcaption", panel.note) if panel.note else None
    return tag("figure", tag("h4", panel.title), panel.svg, caption)


def differences_matrix(trial: Trial, found: Sequence[RunComparison]) -> Html:
    """Row minus column in points of R@1; what may be chance is grey."""
    results = [r for r in trial.results if not r.conditions.off_protocol]
    known = {(c.slot, c.against_slot): (c, 1.0) for c in found}
    known |= {(c.against_slot, c.slot): (c, -1.0) for c in found}
    named = [(swatch(r.slot), tag("span", r.label)) for r in results]
    head = [tag("th", "row minus column", scope="col"),
            *(tag("th", name, scope="col") for name in named)]  # fmt: skip
    rows = [
        tag("tr", tag("th", tag("span", swatch(a.slot), a.label, class_="name"), scope="row"),
            [_difference(known.get((a.slot, b.slot)), a is b) for b in results])
        for a in results
    ]  # fmt: skip
    units = sorted({f"{c.n:,} {c.over.split(',')[0]}" for c in found})
    least = max(c.detectable for c in found)
    caption = (
        f"Over {' or '.join(units)}. A true difference of {least:.1f} points would have been "
        "noticed in four of five such studies."
    )
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", head)),
                tag("tbody", rows), class_="matrix")  # fmt: skip
    title = tag("h4", trial.name)
    return tag("div", title, tag("div", table, class_="scroll", tabindex="0"))


def _difference(known: tuple[RunComparison, float] | None, same: bool) -> Html:
    if same or known is None:
        return tag("td", "" if same else "other queries", class_="self small")
    comparison, sign = known
    value = sign * comparison.difference
    low, high = sorted((sign * comparison.low, sign * comparison.high))
    shown = [
        tag("span", points(value), class_="value"),
        tag("span", f"{points(low)} to {points(high)}", class_="range"),
        tag("span", p_in_words(comparison.p_holm), class_="range"),
    ]
    if not comparison.sure:
        return tag("td", shown, class_="unsure")
    tone, share = ("more" if value > 0 else "less"), min(40.0, 10.0 + abs(value))
    style = f"--tone: var(--{tone}); --share: {share:.0f}%"
    return tag("td", shown, class_="tint", style=style)


def gallery_section(trial: Trial, result: RunResult, budget: Budget) -> list[Html]:
    """Best, worst and most confident wrong answers of one run, or why there are none."""
    made = pick_cards(result, budget)
    head = tag("h3", swatch(result.slot), f" {result.label} · {trial.name}")
    if not made:
        where = result.first.root or "no folder was recorded"
        why = f"The pictures are not where they were: {where}."
        return [head, tag("p", why, class_="intro small")]
    parts = [head]
    for gallery in made:
        why = tag("span", f": {gallery.explained}", class_="muted")
        parts.append(tag("h4", gallery.title, why))
        parts.append(tag("div", [_card(card) for card in gallery.cards], class_="cards"))
    return parts


def _card(card: AnswerCard) -> Html:
    right = card.rank == 1
    error = f", {card.error_m:,.0f} m away" if math.isfinite(card.error_m) else ""
    told = f"right{error}" if right else f"truth at rank {card.rank:,}; first answer wrong{error}"
    scores = f". Scores: first {card.found_score:.3f}, truth {card.true_score:.3f}. "
    text = [tag("strong", told), scores, tag("span", card.query, class_="mono")]
    tiles = [
        _tile(card.found_tile, "first answer", "true-tile" if right else "false-tile"),
        _tile(card.other_tile, *(("second answer", "") if right else ("truth", "true-tile"))),
    ]
    return tag("div", _image(card.ground, f"query {card.query}"), tag("div", tiles, class_="tiles"),
               tag("p", text), class_="card")  # fmt: skip


def _tile(picture: str | None, name: str, kind: str) -> Html:
    return tag("div", _image(picture, name), tag("span", name), class_=kind or None)


def _image(picture: str | None, text: str) -> Html:
    if picture is None:
        return tag("span", "not found", class_="gone")
    return tag("img", src=f"data:image/jpeg;base64,{picture}", alt=text, loading="lazy")
