"""From answers to a record: figures, clusters, metres, and who said what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from crossview import __version__
from crossview.evaluation.answers import Answers
from crossview.evaluation.evaluation_record import Evaluation, Protocol, Queries, References
from crossview.evaluation.metrics import errors_m, figures_of, k_at_1_percent
from crossview.evaluation.task import Task


@dataclass(frozen=True, kw_only=True)
class About:
    """Who is measured, and under which protocol."""

    label: str
    method: str
    protocol: Protocol
    model: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    command: str = ""


def record_of(
    task: Task, answers: Answers, about: About, more: Mapping[str, Any] | None = None
) -> Evaluation:
    """The whole record; ``more``: further arrays of :class:`Queries`, such as mirrored_score."""
    first = answers.best[:, 0]
    return Evaluation(
        label=about.label,
        method=about.method,
        model=about.model,
        data=task.data,
        split=task.split,
        root=task.root,
        protocol=about.protocol,
        seeds=about.seeds,
        skipped=task.skipped,
        k_at_1_percent=k_at_1_percent(task.relation.references),
        figures=figures_of(task, answers),
        queries=Queries(
            ids=np.array(task.query_ids),
            rank=answers.ranks.of_queries(),
            error_m=errors_m(task, answers.best),
            truth_latlon=task.query_latlon,
            found_latlon=task.reference_latlon[first],
            truth=answers.truth,
            best=answers.best,
            best_score=answers.best_score.astype(np.float32),
            true_score=answers.ranks.best_scores().astype(np.float32),
            unmatched_score=answers.unmatched_score.astype(np.float32),
            cluster=task.relation.clusters(),
            **(more or {}),
        ),
        references=References(ids=np.array(task.reference_ids), latlon=task.reference_latlon),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=about.command,
        crossview=__version__,
    )
