"""Which differences between runs are more than chance, and what that says in a sentence.

Paired tests on the same queries; then, for every data set, who leads and by how much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from crossview.arrays import F64, I64
from crossview.evaluation.metrics import MAIN, OVER
from crossview.evaluation.run_comparison import (
    Comparison,
    compare_queries,
    compare_trainings,
    correct_together,
)
from crossview.localization.accuracy import mark_hits
from crossview.reports.results import RunResult, Trial
from crossview.texts import phrase


@dataclass(frozen=True, kw_only=True)
class RunComparison(Comparison):
    """``run`` minus ``against`` in points of R@1, corrected for all comparisons of the report.

    ``n``: trainings, or the queries that both answered.
    """

    run: str
    against: str
    slot: int
    against_slot: int
    metric: str
    over: str  # "queries, one training" or "trainings"

    def reverse(self) -> RunComparison:
        """The same comparison, seen from the other run."""
        return replace(
            self, run=self.against, against=self.run, slot=self.against_slot,
            against_slot=self.slot, difference=-self.difference, low=-self.high, high=-self.low,
        )  # fmt: skip


@dataclass(frozen=True)
class _Pair:
    """Two runs of one test, and the second minus the first before the correction."""

    run: RunResult
    against: RunResult
    comparison: Comparison
    over: str


def compare_runs(trials: Sequence[Trial], seed: int = 0) -> list[tuple[Trial, list[RunComparison]]]:
    """All pairs of runs of each test that may be compared, with p corrected over the report."""
    pairs = [(trial, list(_compare_pairs(trial, seed))) for trial in trials]
    corrected = iter(correct_together([p.comparison for _, of_trial in pairs for p in of_trial]))
    return [(trial, [_name(p, next(corrected)) for p in of_trial]) for trial, of_trial in pairs]


def _compare_pairs(trial: Trial, seed: int) -> Iterable[_Pair]:
    comparable = [result for result in trial.results if not result.conditions.off_protocol]
    for run, against in combinations(comparable, 2):
        trainings = min(run.trainings, against.trainings)
        if trainings > 1 and run.trainings == against.trainings:
            step = 100.0 / max(1, len(run.first.queries.ids))
            comparison = compare_trainings(_list_values(against), _list_values(run), step=step)
            yield _Pair(run, against, comparison, "trainings")
            continue
        ours, theirs, clusters = pair_hits(run, against)
        if len(ours) > 1:
            comparison = compare_queries(theirs, ours, clusters, seed)
            yield _Pair(run, against, replace(comparison, n=len(ours)), OVER)


def _name(pair: _Pair, comparison: Comparison) -> RunComparison:
    return RunComparison(
        run=pair.run.label, against=pair.against.label, slot=pair.run.slot,
        against_slot=pair.against.slot, metric=MAIN, over=pair.over, **vars(comparison),
    )  # fmt: skip


def _list_values(result: RunResult) -> list[float]:
    return [f.value for e in result.evaluations if (f := e.figure(MAIN))]


def pair_hits(run: RunResult, against: RunResult) -> tuple[F64, F64, I64]:
    """Hits at rank 1 in percent of both runs [N], and clusters [N], over the shared queries.

    Of several records of a run, each query's hits are averaged first.
    """
    ours, theirs = _average_hits(run), _average_hits(against)
    first = run.first.queries
    clusters = dict(zip(first.ids.tolist(), first.cluster.tolist(), strict=True))
    shared = [query for query in ours if query in theirs and query in clusters]
    first_hits, second_hits = (
        100.0 * np.array([of[query] for query in shared]) for of in (ours, theirs)
    )
    return first_hits, second_hits, np.array([clusters[query] for query in shared], dtype=np.int64)


def _average_hits(result: RunResult) -> dict[str, float]:
    """Mean hit at rank 1 of every query, by its id; one without a match is never found."""
    sums: dict[str, list[float]] = {}
    for evaluation in result.evaluations:
        queries = evaluation.queries
        for query, hit in zip(
            queries.ids.tolist(), mark_hits(queries.rank, 1).tolist(), strict=True
        ):
            sums.setdefault(query, []).append(float(hit))
    return {query: sum(hit) / len(hit) for query, hit in sums.items()}


def format_points(value: float) -> str:
    """A difference with its sign, and a real minus; what rounds to nothing has no sign."""
    return "0.0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "−")


def format_p(p: float) -> str:
    """A p value with as many digits as make sense."""
    size = "tiny" if p < 0.001 else "small" if p < 0.1 else "plain"
    return phrase(f"p_value.{size}", p=p)


Compared = Sequence[tuple[Trial, Sequence[RunComparison]]]


@dataclass(frozen=True)
class Verdict:
    """What stands out on one data set: its name and a few sentences."""

    heading: str
    text: str


def write_verdicts(trials: Sequence[Trial], compared: Compared) -> list[Verdict]:
    """One verdict for every data set on which a run is comparable."""
    comparisons = {id(trial): of_trial for trial, of_trial in compared}
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.title, []).append(trial)
    verdicts = (_write_verdict(same, comparisons[id(same[0])]) for same in groups.values())
    return [verdict for verdict in verdicts if verdict]


def _write_verdict(trials: Sequence[Trial], comparisons: Sequence[RunComparison]) -> Verdict | None:
    """The leader's R@1 on the first of the trials of one data set, its lead, and the others."""
    trial, *others = trials
    comparable = (r for r in trial.results if MAIN in r.figures and not r.conditions.off_protocol)
    ranked = sorted(comparable, key=lambda r: -r.figures[MAIN].value)
    if not ranked:
        return None
    leader, figure = ranked[0], ranked[0].figures[MAIN]
    chance = trial.chance_percent
    sentences = [
        phrase(
            "overview.leader",
            run=leader.label,
            value=figure.value,
            n=figure.n,
            low=figure.low,
            high=figure.high,
            references=trial.references,
            chance="" if chance is None else phrase("overview.chance", chance=chance),
        ),
        *_compare_with_next(ranked, comparisons),
        *(_describe_other(other, leader) for other in others),
    ]
    return Verdict(phrase("overview.heading", trial=trial.name), "".join(sentences))


def _compare_with_next(
    ranked: Sequence[RunResult], comparisons: Sequence[RunComparison]
) -> Iterator[str]:
    """The leader's lead over the next run, where both answered the same queries."""
    slots = tuple(result.slot for result in ranked[:2])
    for comparison in comparisons:
        lead = comparison if comparison.slot == slots[0] else comparison.reverse()
        if (lead.slot, lead.against_slot) == slots:
            yield phrase(
                "overview.ahead" if lead.sure else "overview.may_be_chance",
                other=lead.against,
                lead=phrase(
                    "overview.lead",
                    difference=format_points(lead.difference),
                    low=format_points(lead.low),
                    high=format_points(lead.high),
                ),
                p=format_p(lead.p_holm),
            )


def _describe_other(trial: Trial, leader: RunResult) -> str:
    """What the leader of the first trial reaches under other conditions."""
    result = next((r for r in trial.results if r.slot == leader.slot), None)
    figure = result.figures.get(MAIN) if result else None
    if result is None or figure is None:
        return ""
    notes = (phrase("overview.off_protocol", text=text) for text in result.conditions.off_protocol)
    return phrase(
        "overview.under_other_conditions",
        conditions=trial.conditions.words,
        value=figure.value,
        off_protocol="".join(notes),
    )
