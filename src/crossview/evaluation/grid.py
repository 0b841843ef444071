"""A robustness grid: one model, one table, every condition, a record each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from crossview.evaluation.answers import answers_of
from crossview.evaluation.conditions import Condition, not_trained_for
from crossview.evaluation.embedding import Embedded
from crossview.evaluation.measure import About, record_of
from crossview.evaluation.record import Evaluation, Figure, Protocol
from crossview.evaluation.spaces import space_of
from crossview.evaluation.statistics import over_trainings
from crossview.evaluation.task import Rules, Task, skipping, task_of
from crossview.evaluation.vectors import check_spread
from crossview.retrieval.model import ModelInfo


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who is measured on what."""

    info: ModelInfo
    label: str
    method: str
    data: str  # as given
    split: str
    rules: Rules
    model: Mapping[str, Any]
    decoding: str = "exact"
    selection: str = "not recorded"
    off_protocol: tuple[str, ...] = ()  # that hold for all conditions
    command: str = ""
    warnings: list[str] = field(default_factory=list)  # collected here


def measured(subject: Subject, embedded: Embedded) -> Iterator[tuple[Condition, Evaluation]]:
    """A record per condition, in the order asked for."""
    task = task_of(embedded.table, subject.data, subject.split, subject.rules)
    task = skipping(task, embedded.skipped)
    references = embedded.references[task.reference_rows]
    _warn(subject, check_spread(references, "references"))
    for condition, vectors in embedded.queries.items():
        _warn(subject, check_spread(vectors, f"queries, {condition.folder}"))
        seen = embedded.seen_deg[condition][task.query_rows]
        space = space_of(subject.info.azimuth_bins, vectors[task.query_rows], references, seen)
        about = _about(subject, task, condition)
        yield condition, record_of(task, answers_of(space, task), about)


def over_seeds(records: list[Evaluation]) -> list[Figure]:
    """Figures of one cell over its seeds: mean and interval. Not over trainings."""
    means = [over_trainings(list(same)) for same in zip(*(r.figures for r in records), strict=True)]
    return [replace(mean, over="seeds of the headings, one training") for mean in means]


def _about(subject: Subject, task: Task, condition: Condition) -> About:
    return About(
        label=subject.label,
        method=subject.method,
        model=subject.model,
        seeds=(condition.seed,),
        command=subject.command,
        protocol=Protocol(
            relation=task.relation.words,
            headings=condition.headings,
            fov_deg=condition.fov_deg,
            representation=subject.info.ground.representation,
            off_protocol=subject.off_protocol + not_trained_for(subject.info, condition),
            decoding=subject.decoding,
            selection=subject.selection,
            corruption=condition.weather,
        ),
    )


def _warn(subject: Subject, text: str) -> None:
    if text and text not in subject.warnings:
        subject.warnings.append(text)
