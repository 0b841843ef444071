"""Tables as LaTeX; they use the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crossview.evaluation.headline import FIELDS_WORDS
from crossview.reports.report_tables import Cell, Line, Table, column_title, mean_table, rank_table
from crossview.reports.results import Trial, sweeps

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "°": r"$^\circ$",
    "<": r"\textless{}", ">": r"\textgreater{}", "→": r"$\rightarrow$", "±": r"$\pm$",
}  # fmt: skip


def latex_tables(trials: Iterable[Trial]) -> str:
    """One table per test, then the means over fields of view.

    What was measured elsewhere is set apart in the same table.
    """
    every = list(trials)
    means = [
        latex_table(sweep.first, table, f"{sweep.name}, mean of {FIELDS_WORDS}")
        for sweep in sweeps(every)
        if (table := mean_table(sweep))
    ]
    return "\n".join([*(latex_table(trial, rank_table(trial)) for trial in every), *means])


def latex_table(trial: Trial, table: Table, name: str = "") -> str:
    """One table; the best comparable value of each column is bold.

    ``name`` of what is shown, if not the trial's.
    """
    name = name or trial.name
    columns = len(table.columns)
    lines = [
        f"% {name}: {trial.queries} queries, {trial.references} references",
        r"\begin{table}",
        rf"\caption{{{escaped(_caption(trial, name))}}}",
        rf"\begin{{tabular}}{{l{'r' * columns}}}",
        r"\toprule",
        " & ".join(["Method", *(escaped(column_title(c)) for c in table.columns)]) + r" \\",
        r"\midrule",
        *(_row(line, table.columns) for line in table.same),
    ]
    if table.apart:
        title = r"\emph{Other protocols, not comparable}"
        apart = rf"\multicolumn{{{columns + 1}}}{{l}}{{{title}}} \\"
        lines += [r"\midrule", apart, *(_row(line, table.columns) for line in table.apart)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escaped(text: str) -> str:
    """``text`` with everything that LaTeX would take for a command escaped."""
    return re.sub(r"[\\&%$#_{}~^°<>→±]", lambda found: _SPECIAL[found[0]], text)


def _caption(trial: Trial, name: str) -> str:
    first = trial.results[0].first
    return (
        f"{name}. {trial.queries} queries, {trial.references} references; R@1% is k = "
        f"{first.k_at_1_percent}. Brackets: 95 % interval. Ties count against the query."
    )


def _row(line: Line, columns: Iterable[str]) -> str:
    told = [line.detail, "; ".join(line.differs)]
    detail = ", ".join(filter(None, told))
    name = escaped(line.name) + (rf" {{\scriptsize {escaped(detail)}}}" if detail else "")
    return " & ".join([name, *(_value(line.cells.get(c)) for c in columns)]) + r" \\"


def _value(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    value = rf"\textbf{{{cell.value:.2f}}}" if cell.best else f"{cell.value:.2f}"
    if cell.low is not None and cell.high is not None:
        value += rf" {{\scriptsize [{cell.low:.1f}, {cell.high:.1f}]}}"
    return value
