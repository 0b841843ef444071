"""A robustness grid: one model, one table, every condition, a record each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from crossview.arrays import F32, I64
from crossview.evaluation.answers import answers_of
from crossview.evaluation.conditions import Condition, not_trained_for
from crossview.evaluation.embed import Embedded
from crossview.evaluation.evaluation_record import Evaluation, Protocol
from crossview.evaluation.fast_scores import Space, space_of
from crossview.evaluation.measure import About, record_of
from crossview.evaluation.task import Rules, Task, skipping, task_of
from crossview.evaluation.vectors import check_spread
from crossview.model.info import ModelInfo

HARD_SAMPLES = {"mirrored_score": "mirrored", "rotated_score": "turned"}  # of Queries: change


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
    """A record per condition, in the order asked for; hard samples go into that of their own."""
    task = task_of(embedded.table, subject.data, subject.split, subject.rules)
    task = skipping(task, embedded.skipped)
    references = embedded.references[task.reference_rows]

    def space(condition: Condition) -> Space:
        queries = embedded.queries[condition][task.query_rows]
        seen = embedded.seen_deg[condition][task.query_rows]
        return space_of(subject.info.azimuth_bins, queries, references, seen)

    _warn(subject, check_spread(references, "references"))
    for condition in [one for one in embedded.queries if not one.change]:
        _warn(subject, check_spread(embedded.queries[condition], f"queries, {condition.folder}"))
        answers = answers_of(space(condition), task)
        changed = {
            name: _true_scores(space(hard), answers.truth)
            for name, change in HARD_SAMPLES.items()
            if (hard := replace(condition, change=change)) in embedded.queries
        }
        about = _about(subject, task, condition)
        yield condition, record_of(task, answers, about, changed)


def with_hard_samples(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions and, of each, the mirrored picture and the one turned by 90 degrees.

    A picture's own reference does not show their layout (GeoDTR+, Figure 10).
    """
    changes = ("", *HARD_SAMPLES.values())
    return [replace(condition, change=change) for condition in conditions for change in changes]


def _true_scores(space: Space, truth: I64) -> F32:
    """[Q] of the best match; NaN where there is none."""
    known = np.flatnonzero(truth >= 0)
    found = np.full(len(truth), np.nan, np.float32)
    found[known] = space.exact(known, truth[known])
    return found


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
