"""The page's last section: what every word means, where figures come from, how to do it again."""

from __future__ import annotations

from collections.abc import Sequence

from crossview.evaluation.metrics import METRICS
from crossview.reports.markup import Html, tag
from crossview.reports.published import STANDINGS
from crossview.reports.report_tables import tabulate_means, tabulate_places, tabulate_ranks
from crossview.reports.results import Trial, group_sweeps

_WORDS = {
    "95 % interval": "Cluster bootstrap: queries that share a true reference are drawn together "
    "(Wilson's interval at 0 and 100 %). It tells the chance in the choice of queries, for one "
    "training; only where a row says “trainings” does it tell the chance in training too.",
    "paired test": "Sign-flip permutation of the differences on the same queries, flipped together "
    "where queries share a true reference; p values are corrected for all comparisons on the page "
    "by Holm's rule.",
    "unknown heading": "Every query is turned by an angle that its id and the seed fix, so every "
    "run is asked about the same part of the same panorama.",
    "not trained for": "The run was asked for what its training never showed. Such rows stand "
    "among the other protocols.",
}


def definitions(trials: Sequence[Trial]) -> list[Html]:
    """What the words of the tables mean; of the figures, those that occur."""
    tables = [
        table for trial in trials for table in (tabulate_ranks(trial), tabulate_places(trial))
    ]
    tables += [tabulate_means(sweep) for sweep in group_sweeps(trials)]
    shown = {name for table in tables if table for name in table.columns}
    words = {m.word: m.definition for name, m in METRICS.items() if name in shown} | _WORDS
    items = [[tag("dt", word), tag("dd", text)] for word, text in words.items()]
    return [tag("dl", items, class_="pairs")]


def sources(trials: Sequence[Trial]) -> list[Html]:
    """Where the published figures come from, and how far each source can be trusted."""
    rows = [row for trial in trials if trial.benchmark for row in trial.benchmark.rows]
    found = dict.fromkeys((row.source, row.standing) for row in rows)
    if not found:
        return []
    items = [
        tag("li", tag("strong", f"{standing}: "), source,
            tag("span", f" ({STANDINGS[standing]})", class_="muted"))
        for source, standing in found
    ]  # fmt: skip
    title = tag("h3", "Sources of the published figures", id="sources")
    return [title, tag("ul", items, class_="small sources")]


def records_table(trials: Sequence[Trial]) -> Html:
    """Every record with its command, so that it can be made again."""
    head = ("Run", "Test", "Seeds", "Left out", "Weights chosen by", "Model", "Command")
    rows = [
        tag("tr", tag("th", e.label, scope="row"), tag("td", trial.name, class_="words"),
            tag("td", ", ".join(map(str, e.seeds)) or "–"), tag("td", str(e.skipped)),
            tag("td", e.protocol.selection, class_="words"),
            tag("td", str(e.model.get("fingerprint", ""))[:12] or "given vectors", class_="mono"),
            tag("td", e.command or "not recorded", class_="mono words"))
        for trial in trials for result in trial.results for e in result.evaluations
    ]  # fmt: skip
    table = tag("table", tag("caption", "Left out: queries whose picture could not be read."),
                tag("thead", tag("tr", [tag("th", h, scope="col") for h in head])),
                tag("tbody", rows))  # fmt: skip
    return tag("div", tag("h3", "Records"), tag("div", table, class_="scroll", tabindex="0"))
