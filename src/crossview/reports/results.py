"""Records sorted into tests: who was asked the same questions under the same conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath

import numpy as np

from crossview.arrays import F64
from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol
from crossview.evaluation.run_comparison import (
    FIELDS_WORDS,
    FieldsMean,
    means_over_fields,
    network,
    over_trainings,
    without_field,
)
from crossview.reports.published import (
    Conditions,
    PublishedBenchmark,
    describe_conditions,
    find_benchmark,
    name_data,
)
from crossview.texts import phrase


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run on one test: a record, or several of other heading seeds or other trainings."""

    label: str
    slot: int  # number of the run in this report, which gives its colour and marker
    conditions: Conditions
    evaluations: tuple[Evaluation, ...]

    @property
    def first(self) -> Evaluation:
        """The record that pictures and maps are drawn from."""
        return self.evaluations[0]

    @property
    def trainings(self) -> int:
        """How many networks there are; records of one fingerprint are one network."""
        return len({network(e) for e in self.evaluations})

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Each figure once: of the only record, or the mean over all of them."""
        names = [figure.name for figure in self.first.figures]
        by_name = {n: [f for e in self.evaluations if (f := e.figure(n))] for n in names}
        return {name: self._combine(figures) for name, figures in by_name.items()}

    @property
    def errors_m(self) -> F64:
        """Errors of all records where both places are known."""
        errors: F64 = np.concatenate([e.queries.error_m for e in self.evaluations])
        return errors[np.isfinite(errors)]

    def spread(self, name: str) -> float | None:
        """Largest minus smallest value over the records, or None with one record."""
        values = [f.value for e in self.evaluations if (f := e.figure(name))]
        return max(values) - min(values) if len(values) > 1 else None

    def _combine(self, figures: Sequence[Figure]) -> Figure:
        if len(figures) == 1:
            return figures[0]
        values = np.array([[f.value, f.low, f.high] for f in figures])
        mean, low, high = (float(v) for v in values.mean(axis=0))
        if self.trainings == 1:
            return replace(figures[0], value=mean, low=low, high=high)
        return over_trainings(figures)


@dataclass(frozen=True, eq=False)
class Trial:
    """Results that answer the same questions and may stand in one table."""

    key: str  # short and unique, for anchors and files
    title: str
    conditions: Conditions
    results: tuple[RunResult, ...]
    benchmark: PublishedBenchmark | None

    @property
    def references(self) -> int:
        """Size of the gallery."""
        return len(self.results[0].first.references.ids)

    @property
    def queries(self) -> int:
        """The most queries that any record of the test has."""
        return max(len(e.queries.ids) for r in self.results for e in r.evaluations)

    @property
    def name(self) -> str:
        """Title and conditions in one line."""
        return f"{self.title}, {self.conditions.words}"

    @property
    def chance_percent(self) -> float | None:
        """R@1 of an answer drawn at random, in percent; None where queries have many matches."""
        to_one = self.results[0].first.protocol.relation.split(",")[0].endswith("to one")
        return 100.0 / max(1, self.references) if to_one else None


@dataclass(frozen=True, eq=False)
class Sweep:
    """Trials that differ in the field of view alone, the widest first."""

    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The trial of the widest view."""
        return self.trials[0]

    @property
    def fovs_deg(self) -> list[float]:
        """The fields of view, the widest first."""
        fovs = {t.conditions.fov_deg for t in self.trials if t.conditions.fov_deg is not None}
        return sorted(fovs, reverse=True)

    @property
    def name(self) -> str:
        """Title and conditions beside the field of view."""
        conditions = self.first.conditions
        heading = phrase("sweep.heading", headings=conditions.headings)
        return ", ".join(filter(None, [self.first.title, heading, conditions.corruption]))

    @property
    def mean_name(self) -> str:
        """What the means over the fields of view are called."""
        return phrase("sweep.mean_of", sweep=self.name, fields=FIELDS_WORDS)

    @cached_property
    def means(self) -> list[RunMean]:
        """Of every run and representation that was asked at all four fields of view.

        Over several trainings each has a mean of its own, and the figure is the mean of those.
        """
        groups: dict[tuple[int, Protocol], list[Evaluation]] = {}
        runs = [result for trial in self.trials for result in trial.results]
        for result in runs:
            for record in result.evaluations:
                key = (result.slot, without_field(record.protocol))
                groups.setdefault(key, []).append(record)
        first = {result.slot: result for result in reversed(runs)}
        run_means = []
        for (slot, _), records in groups.items():
            if means := means_over_fields(records):
                off = dict.fromkeys(text for m in means for text in m.protocol.off_protocol)
                run_means.append(RunMean(first[slot], _combine_figures(means), tuple(off)))
        return run_means


@dataclass(frozen=True, eq=False)
class RunMean:
    """The headline of one run: figures by name, and what it was not trained for."""

    result: RunResult  # at the widest view
    figures: dict[str, Figure]
    off_protocol: tuple[str, ...]


def _combine_figures(means: Sequence[FieldsMean]) -> dict[str, Figure]:
    names = [figure.name for figure in means[0].figures]
    by_name = {name: [f for mean in means if (f := mean.figure(name))] for name in names}
    return {name: f[0] if len(f) == 1 else over_trainings(f) for name, f in by_name.items()}


def group_sweeps(trials: Iterable[Trial]) -> list[Sweep]:
    """The trials of every data set and condition that was asked under several fields of view."""
    groups: dict[tuple[object, ...], list[Trial]] = {}
    for trial in trials:
        c = trial.conditions
        if c.fov_deg is not None:
            key = (trial.title, c.headings, c.rule, c.trained_on, c.corruption)
            groups.setdefault(key, []).append(trial)
    ordered = (
        Sweep(tuple(sorted(group, key=lambda t: -(t.conditions.fov_deg or 0.0))))
        for group in groups.values()
    )
    return [sweep for sweep in ordered if len(sweep.fovs_deg) > 1]


def sort_into_trials(evaluations: Sequence[Evaluation]) -> list[Trial]:
    """Sort records into trials: data sets as they first appear, the widest view first.

    Runs keep one slot through the whole report. On a benchmark, runs that are known to be trained
    on other data form a trial of their own, because published figures are compared by it; what was
    trained on something unrecorded joins the first.
    """
    slots = {label: n for n, label in enumerate(dict.fromkeys(e.label for e in evaluations))}
    groups: dict[tuple[object, ...], list[RunResult]] = {}
    for records in _group_records(evaluations):
        first, conditions = records[0], describe_conditions(records[0])
        result = RunResult(first.label, slots[first.label], conditions, tuple(records))
        groups.setdefault(_identify_test(first), []).append(result)
    titles = list(dict.fromkeys(_name_test(e) for e in evaluations))
    ordered = sorted(groups.values(), key=lambda group: _rank_trial(group[0], titles))
    of_trials = [results for group in ordered for results in _split_by_training(group)]
    return [_make_trial(number, results) for number, results in enumerate(of_trials, 1)]


def _rank_trial(result: RunResult, titles: Sequence[str]) -> tuple[object, ...]:
    """Where its trial stands: by data set, clean before damaged, aligned first, wide first."""
    c = result.conditions
    return (titles.index(_name_test(result.first)), c.corruption, c.headings, -(c.fov_deg or 0.0))


def _group_records(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Records of one run under the same conditions."""
    groups: dict[tuple[object, ...], list[Evaluation]] = {}
    for evaluation in evaluations:
        key = (evaluation.label, evaluation.method, describe_conditions(evaluation))
        groups.setdefault((*key, *_identify_test(evaluation)), []).append(evaluation)
    return list(groups.values())


def _identify_test(evaluation: Evaluation) -> tuple[object, ...]:
    """What is the same for everyone who is measured on one test."""
    conditions = replace(describe_conditions(evaluation), trained_on="", off_protocol=())
    gallery = (len(evaluation.references.ids), str(np.sort(evaluation.references.ids)[:1]))
    shape = evaluation.protocol.representation
    return (_name_test(evaluation), evaluation.split, conditions, gallery, shape)


def _split_by_training(results: Sequence[RunResult]) -> list[list[RunResult]]:
    if _find_own_benchmark(results[0].first) is None:
        return [list(results)]
    names = list(dict.fromkeys(r.conditions.trained_on for r in results if r.conditions.trained_on))
    first = names[0] if names else ""
    return [
        [r for r in results if (r.conditions.trained_on or first) == name] for name in names or [""]
    ]


def _make_trial(number: int, results: Sequence[RunResult]) -> Trial:
    first = results[0].first
    trained_on = next((r.conditions.trained_on for r in results if r.conditions.trained_on), "")
    return Trial(
        key=f"trial-{number}",
        title=_name_test(first),
        conditions=replace(results[0].conditions, trained_on=trained_on, off_protocol=()),
        results=tuple(results),
        benchmark=_find_own_benchmark(first),
    )


def _name_test(evaluation: Evaluation) -> str:
    """The benchmark's title; else the last part of the data's path that names it."""
    if benchmark := _find_own_benchmark(evaluation):
        return benchmark.title
    path = PurePath(evaluation.data.partition(":")[2] or evaluation.data)
    return path.parent.name if path.stem == "pairs" and path.parent.name else path.stem


def _find_own_benchmark(evaluation: Evaluation) -> PublishedBenchmark | None:
    return find_benchmark(name_data(evaluation.data), evaluation.split)
