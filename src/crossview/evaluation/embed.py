"""A table's pictures through a network: the gallery once, the queries under every condition.

Each side goes in an order drawn for it alone and in batches of its own, so a network that leans on
the position of its inputs cannot match the two sides.

A robustness grid: one model, one table, every condition, a record each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F32, F64, I64, U8
from crossview.errors import require
from crossview.evaluation.conditions import (
    Condition,
    DrawnQuery,
    QueryCanvas,
    draw_query,
    list_untrained,
)
from crossview.evaluation.evaluation_record import Evaluation, Protocol
from crossview.evaluation.fast_scores import Space, make_space
from crossview.evaluation.metrics import (
    AerialViews,
    HeadingErrors,
    RegressedPlaces,
    RunFacts,
    make_record,
)
from crossview.evaluation.ranking import rank_queries
from crossview.evaluation.task import Rules, Task, make_task, skip_queries
from crossview.evaluation.vectors import check_spread, normalize_rows
from crossview.model import Embedder, ModelInfo, Regression, find_regression
from crossview.pairs.batch import Views
from crossview.pairs.loading import (
    Picture,
    PictureReader,
    Unreadable,
    read_pictures,
    refuse_unreadable,
)
from crossview.pairs.reading import Source
from crossview.pairs.table import SIDES, PairTable

Progress = Callable[[int, int], None]

AS_GIVEN = Condition(within_deg=0.0)
_SHUFFLES = {"ground": 11, "aerial": 12}  # seeds: the two orders have nothing in common


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedTable:
    """Vectors of a table's readable pictures."""

    table: PairTable
    queries: dict[Condition, F32]  # each [Q, D], rows of the asking side of ``table``
    seen_deg: dict[Condition, F64]  # each [Q]
    heading_deg: dict[Condition, F64]  # each [Q], from true north, of what is shown; NaN unknown
    references: F32  # [R, D], rows of the answering side
    skipped: int  # queries left out
    side_m: F64  # [R] metres across each aerial view that answers; NaN unknown
    regress: Regression | None = None  # the network's head, if it regresses offsets


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """How pictures are read and embedded."""

    source: Source
    workers: int = 1
    batch: int = 32
    skip_unreadable: bool = False
    progress: Progress = field(default=lambda done, total: None)


def make_views(info: ModelInfo) -> Views:
    """What an exported model's branches see."""
    return Views(
        ground=info.ground,
        aerial=info.aerial,
        azimuth_bins=info.azimuth_bins,
        headings_seen=info.headings_seen,
        fov_seen_deg=info.fov_seen_deg,
    )


def embed(
    table: PairTable, embedder: Embedder, conditions: Sequence[Condition], how: EmbedSettings
) -> EmbeddedTable:
    """Read and embed everything once; all conditions share the gallery and the decoding.

    Unreadable pictures are collected, and refused at the end or left out and counted. Conditions
    change ground pictures that ask; where the aerial side asks, there can be only one.
    """
    asking = table.queries
    answering = "aerial" if asking == "ground" else "ground"
    require(
        asking == "ground" or len(conditions) == 1,
        "fields of view, headings and corruptions are for ground queries; here the aerial side "
        "asks. Leave --fov, --headings, --seeds and --corrupt away.",
    )
    work = _Work(PictureReader(table, how.source, make_views(embedder.info)), embedder, how)
    asked = work.side(asking, conditions)
    answers = work.side(answering, (AS_GIVEN,))
    if not how.skip_unreadable:
        refuse_unreadable(work.lost, work.total)
    kept = table.without(**{s: [lost.index for lost in work.lost if lost.side == s] for s in SIDES})
    kept = kept if work.lost else table
    q, r = (_select_rows(getattr(table, s), getattr(kept, s)) for s in (asking, answering))
    return EmbeddedTable(
        table=kept,
        queries={c: normalize_rows(asked[c][0][q], f"queries, {c.folder}") for c in conditions},
        seen_deg={c: asked[c][1][q] for c in conditions},
        heading_deg={c: asked[c][2][q] for c in conditions},
        references=normalize_rows(answers[AS_GIVEN][0][r], "references"),
        skipped=len(getattr(table, asking)) - len(getattr(kept, asking)),
        side_m=work.side_m[r] if asking == "ground" else np.zeros(0),
        regress=find_regression(embedder) if asking == "ground" else None,
    )


class _Work:
    """Reads and embeds side after side, and keeps what could not be read."""

    def __init__(self, pictures: PictureReader, embedder: Embedder, how: EmbedSettings) -> None:
        self._pictures, self._embedder, self._how = pictures, embedder, how
        self.total = sum(len(getattr(pictures.table, side)) for side in SIDES)
        self.lost: list[Unreadable] = []
        self.side_m = np.full(len(pictures.table.aerial), np.nan)
        self._done = 0
        self._ids = pictures.table.ground_ids()
        self._ahead = _middle_azimuth_deg(pictures.table)

    def side(
        self, side: str, conditions: Sequence[Condition]
    ) -> dict[Condition, tuple[F32, F64, F64]]:
        """Vectors [N, D], fields of view [N] and headings [N] of every condition.

        Rows of lost pictures hold ones; aerial pictures have no heading (NaN).
        """
        count, dim = len(getattr(self._pictures.table, side)), self._embedder.info.dim
        known_deg = self._pictures.table.heading_deg if side == "ground" else np.full(count, np.nan)
        by_condition = {
            c: (np.ones((count, dim), np.float32), np.full(count, 360.0), known_deg.copy())
            for c in conditions
        }
        for batch in self._batches(side):
            rows = np.array([picture.index for picture in batch])
            if side == "aerial":
                self.side_m[rows] = [p.number * p.pixels.shape[1] for p in batch]
            for condition, (vectors, seen, heading) in by_condition.items():
                drawn = [self._view(side, picture, condition) for picture in batch]
                views = [query.pixels for query in drawn]
                seen[rows] = [query.fov_deg for query in drawn]
                heading[rows] += [query.turned_deg for query in drawn]
                for some in _by_width(views):
                    images = np.stack([views[n] for n in some])
                    vectors[rows[some]] = getattr(self._embedder, side)(images)
        return by_condition

    def _view(self, side: str, picture: Picture, condition: Condition) -> DrawnQuery:
        if side == "aerial":
            return DrawnQuery(picture.pixels, 360.0, 0.0)
        n = picture.index
        asked = QueryCanvas(
            name=self._ids[n],
            canvas=picture.pixels,
            fov_deg=picture.number,
            ahead_deg=float(self._ahead[n]),
        )
        return draw_query(asked, self._embedder.info.ground, condition)

    def _batches(self, side: str) -> Iterator[list[Picture]]:
        count = len(getattr(self._pictures.table, side))
        order = np.random.default_rng(_SHUFFLES[side]).permutation(count).tolist()
        batch: list[Picture] = []
        for picture in read_pictures(self._pictures, side, order, self._how.workers):
            self._done += 1
            if isinstance(picture, Unreadable):
                self.lost.append(picture)
                continue
            batch.append(picture)
            if len(batch) == self._how.batch:
                yield batch
                self._how.progress(self._done, self.total)
                batch = []
        if batch:
            yield batch


def _middle_azimuth_deg(table: PairTable) -> F64:
    """[G] azimuth of each picture's middle from the up of its first match; NaN unknown."""
    ahead = table.heading_deg.copy()
    ground, first = np.unique(table.pairs[:, 0], return_index=True)
    ahead[ground] -= table.up_bearing_deg[table.pairs[first, 1]]
    return ahead


def _by_width(views: Sequence[U8]) -> Iterator[list[int]]:
    """Numbers of pictures of one size; networks take one size per batch."""
    shapes = [view.shape for view in views]
    for shape in dict.fromkeys(shapes):
        yield [n for n, other in enumerate(shapes) if other == shape]


def _select_rows(before: Sequence[Path], after: Sequence[Path]) -> I64 | slice:
    """Rows of ``before`` that ``after`` holds; all as a slice, which copies nothing."""
    if len(before) == len(after):
        return slice(None)
    kept = set(after)
    return np.array([row for row, path in enumerate(before) if path in kept], dtype=np.int64)


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


def evaluate_conditions(
    subject: Subject, embedded: EmbeddedTable
) -> Iterator[tuple[Condition, Evaluation]]:
    """A record per condition, in the order asked for; hard samples go into that of their own."""
    task = make_task(embedded.table, subject.data, subject.split, subject.rules)
    task = skip_queries(task, embedded.skipped)
    references = embedded.references[task.reference_rows]
    aerial = embedded.table.queries == "ground"
    up_deg = embedded.table.up_bearing_deg[task.reference_rows] if aerial else np.zeros(0)

    def space(condition: Condition) -> Space:
        queries = embedded.queries[condition][task.query_rows]
        seen = embedded.seen_deg[condition][task.query_rows]
        return make_space(subject.info.azimuth_bins, queries, references, seen)

    _warn(subject, check_spread(references, "references"))
    for condition in [plain for plain in embedded.queries if not plain.change]:
        _warn(subject, check_spread(embedded.queries[condition], f"queries, {condition.folder}"))
        answers = rank_queries(space(condition), task)
        changed = {
            name: _true_scores(space(hard), answers.truth)
            for name, change in HARD_SAMPLES.items()
            if (hard := replace(condition, change=change)) in embedded.queries
        }
        about = _describe_run(subject, task, condition)
        headings = HeadingErrors.of(
            space(condition),
            answers.truth,
            embedded.heading_deg[condition][task.query_rows],
            up_deg,
            embedded.seen_deg[condition][task.query_rows],
        )
        placed = None
        if embedded.regress is not None:
            queries = embedded.queries[condition][task.query_rows]
            shown = AerialViews(
                references, embedded.side_m[task.reference_rows], up_deg, task.reference_latlon
            )
            placed = RegressedPlaces.of(embedded.regress, queries, shown, answers)
        yield condition, make_record(task, answers, about, changed, headings, placed)


def add_hard_samples(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions and, of each, the mirrored picture and the one turned by 90 degrees.

    A picture's own reference does not show their layout (GeoDTR+, Figure 10).
    """
    changes = ("", *HARD_SAMPLES.values())
    return [replace(condition, change=change) for condition in conditions for change in changes]


def _true_scores(space: Space, truth: I64) -> F32:
    """[Q] of the best match; NaN where there is none."""
    matched = np.flatnonzero(truth >= 0)
    scores = np.full(len(truth), np.nan, np.float32)
    scores[matched] = space.exact(matched, truth[matched])
    return scores


def _describe_run(subject: Subject, task: Task, condition: Condition) -> RunFacts:
    return RunFacts(
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
            off_protocol=subject.off_protocol + list_untrained(subject.info, condition),
            decoding=subject.decoding,
            selection=subject.selection,
            corruption=condition.weather,
        ),
    )


def _warn(subject: Subject, text: str) -> None:
    if text and text not in subject.warnings:
        subject.warnings.append(text)
