"""What came out, in a sentence for every data set: who leads, by how much, and is it chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crossview.evaluation.metrics import MAIN
from crossview.reports.results import RunResult, Trial
from crossview.reports.significance import RunComparison, format_p, format_points
from crossview.texts import phrase

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
