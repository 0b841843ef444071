"""The record of one evaluation: a folder that says what was measured, how, and every answer.

``evaluation.json``  what was measured under which protocol, and every figure with its interval
``queries.npz``      one row per query: its rank, its ten best references, its error in metres
``references.npz``   the gallery: ids and places

One record holds one field of view, one way of treating headings and one seed. A sweep is a folder
of such folders; :func:`read_all` opens either. Loading never unpickles.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F32, F64, I64, AnyArray, Str
from crossview.errors import BadData
from crossview.files import walk_files, write_together
from crossview.locks import lock
from crossview.schema import Count, Text, check_known, read_arrays, read_object

FORMAT = 1
JSON_NAME = "evaluation.json"
QUERIES_NAME = "queries.npz"
REFERENCES_NAME = "references.npz"
BEST = 10  # references kept per query


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number. ``low`` and ``high``: 95 % interval, NaN where there is none."""

    name: str  # of evaluation.metrics.METRICS, or of another program
    value: float
    low: float
    high: float
    n: int  # queries, or trainings, that it rests on
    unit: str  # "%", "m" or "deg"
    over: str  # "queries, one training" or "trainings"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How it was measured; figures of different protocols are not compared."""

    relation: str  # who counts as right, in words
    headings: str  # "aligned", "unknown", "within 20 degrees", or "as given"
    fov_deg: float | None  # horizontal; None: drawn per query, or unknown
    representation: str  # "narrow", "padded" or "as given"
    off_protocol: tuple[str, ...] = ()  # what the model was not trained for; empty: nothing
    decoding: str = "exact"
    selection: str = "not recorded"  # which data chose the weights
    corruption: str = ""  # "fog 3"; empty: clean pictures


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """Q rows. References are row numbers of :class:`References`; -1 where there are fewer."""

    ids: Str  # [Q]
    rank: I64  # [Q] of the best match, from 1, ties against the query; 0: it has no match
    error_m: F64  # [Q] truth to the first reference; NaN unknown
    truth_latlon: F64  # [Q, 2]
    found_latlon: F64  # [Q, 2] place of the first reference
    truth: I64  # [Q] the best match; -1 without one
    best: I64  # [Q, 10] best first
    best_score: F32  # [Q, 10]
    true_score: F32  # [Q] of the best match; NaN without one
    unmatched_score: F32  # [Q] of one wrong reference drawn at random
    cluster: I64  # [Q] queries that share a match have the same number: they are not independent
    mirrored_score: F32 | None = None  # [Q] of the best match against the mirrored picture
    rotated_score: F32 | None = None  # [Q] of the best match against the picture turned by 90
    heading_error_deg: F64 | None = None  # [Q] of the turn towards ``truth``; NaN unknown
    offset_latlon: F64 | None = None  # [Q, 2] regressed place in the first reference
    offset_error_m: F64 | None = None  # [Q] truth to that place; NaN unknown
    right_error_m: F64 | None = None  # [Q] truth to the middle of ``truth``
    right_offset_error_m: F64 | None = None  # [Q] truth to the regressed place in ``truth``


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """R rows."""

    ids: Str  # [R]
    latlon: F64  # [R, 2] NaN unknown


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Everything about one evaluation."""

    label: str  # of the run, as tables name it
    method: str
    model: Mapping[str, Any]  # "fingerprint" and what else is known; empty for given vectors
    data: str  # as given: NAME:ROOT
    split: str
    root: str  # the folder that ids are relative to
    protocol: Protocol
    seeds: tuple[int, ...]  # of the headings
    skipped: int  # queries whose picture could not be read
    k_at_1_percent: int
    figures: tuple[Figure, ...]
    queries: Queries
    references: References
    created: str = ""  # ISO 8601, UTC
    command: str = ""
    crossview: str = ""  # version

    def figure(self, name: str) -> Figure | None:
        """The figure of that name."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def write(self, folder: str | Path) -> None:
        """Write the three files; a killed process leaves those that were there, or the new ones."""
        facts: dict[str, Any] = {"format": FORMAT}
        facts |= {name: getattr(self, name) for name in _FACTS}
        facts["protocol"] = asdict(self.protocol)
        facts["figures"] = [asdict(figure) for figure in self.figures]
        facts |= {"queries": len(self.queries.ids), "references": len(self.references.ids)}
        contents: dict[str, bytes | str] = {
            QUERIES_NAME: _pack(self.queries),
            REFERENCES_NAME: _pack(self.references),
            JSON_NAME: json.dumps(_without_nan(facts), indent=2) + "\n",
        }
        with lock(folder, "crossview evaluate", wait=True, make_parents=True):
            write_together(folder, contents, contents)

    @staticmethod
    def read(folder: str | Path) -> Evaluation:
        """Open a record; :class:`BadData` says what is missing or damaged."""
        folder = Path(folder)
        facts = _facts(folder / JSON_NAME)
        queries = Queries(**_arrays(folder / QUERIES_NAME, Queries))
        references = References(**_arrays(folder / REFERENCES_NAME, References))
        _require_together(folder, facts, queries, references)
        return Evaluation(
            **{name: getattr(facts, name) for name in _FACTS},
            protocol=facts.protocol,
            figures=tuple(Figure(**_with_nan(asdict(figure))) for figure in facts.figures),
            queries=queries,
            references=references,
        )


@dataclass(frozen=True, kw_only=True)
class FigureValues:
    """A :class:`Figure` in JSON, which has no NaN: null stands for it."""

    name: Text
    value: float | None
    low: float | None
    high: float | None
    n: Count
    unit: Text
    over: Text


@dataclass(frozen=True, kw_only=True)
class EvaluationFacts:
    """What ``evaluation.json`` holds; ``queries`` and ``references`` count the rows beside it."""

    label: Text
    method: Text
    model: dict[str, Any]
    data: Text
    split: Text
    root: Text
    protocol: Protocol
    seeds: tuple[int, ...]
    skipped: Count
    k_at_1_percent: Count
    figures: tuple[FigureValues, ...]
    created: Text
    command: Text
    crossview: Text
    queries: Count
    references: Count


_FACTS = tuple(
    field.name
    for field in fields(Evaluation)
    if field.name not in ("protocol", "figures", "queries", "references")
)


def read_all(folder: str | Path) -> list[Evaluation]:
    """The record in ``folder``, or all records in the folders below it, by name.

    Raises :class:`BadData` where there is none.
    """
    folder = Path(folder)
    if (folder / JSON_NAME).is_file():
        return [Evaluation.read(folder)]
    records = [path for path in walk_files(folder) if path.name == JSON_NAME]
    if not records:
        raise BadData(
            f"No evaluation in {folder}: there is no {JSON_NAME}.\n"
            "Make one with: crossview evaluate RUN --data NAME:ROOT --out FOLDER"
        )
    return [Evaluation.read(path.parent) for path in records]


def _facts(path: Path) -> EvaluationFacts:
    try:
        values = read_object(path)
        if values.get("format") != FORMAT:
            raise BadData(f"{path} is no evaluation of format {FORMAT}; evaluate again.")
        return check_known(EvaluationFacts, values)
    except FileNotFoundError as problem:
        raise BadData(f"No evaluation at {path}.") from problem
    except (OSError, ValueError) as problem:
        raise BadData(f"{path} is no whole record of an evaluation: {problem}.") from problem


def _require_together(
    folder: Path, facts: EvaluationFacts, queries: Queries, references: References
) -> None:
    """BadData where the three files do not belong together."""
    count = len(references.ids)
    rows = (queries.truth, queries.best)
    for fits, what in (
        (len(queries.ids) == facts.queries, f"{facts.queries} queries"),
        (count == facts.references, f"{facts.references} references"),
        (all(((row >= -1) & (row < count)).all() for row in rows), "rows of references"),
        ((queries.rank >= 0).all(), "ranks from 0 on"),
    ):
        if not fits:
            raise BadData(f"{folder} is damaged: its arrays do not hold the {what} that they tell.")


def _pack(record: Queries | References) -> bytes:
    stream = io.BytesIO()
    arrays = {field.name: getattr(record, field.name) for field in fields(record)}
    np.savez_compressed(stream, **{k: v for k, v in arrays.items() if v is not None})
    return stream.getvalue()


def _arrays(path: Path, kind: type[Queries] | type[References]) -> dict[str, Any]:
    """The arrays of a record; texts stay texts, because nothing is unpickled."""
    try:
        held = read_arrays(path)
        by_name = {f.name: held[f.name] for f in fields(kind) if f.name in held}
        if absent := [f.name for f in fields(kind) if f.default is MISSING and f.name not in held]:
            raise ValueError(f"{', '.join(absent)} missing")
        count = len(by_name["ids"]) if by_name["ids"].ndim else 0
        for field in fields(kind):
            if (values := by_name.get(field.name)) is not None:
                _require_like(str(field.type), field.name, values, count)
    except (OSError, ValueError) as problem:
        raise BadData(f"{path} cannot be read: {problem}.") from problem
    return by_name


def _require_like(kind: str, name: str, values: AnyArray, count: int) -> None:
    """ValueError unless an array has a row per id, and the type of its field."""
    wanted = "U" if kind == "Str" else "iu" if kind == "I64" else "f"
    places = {"truth_latlon", "found_latlon", "latlon", "offset_latlon"}
    ranked = values.shape[1] if values.ndim == 2 else BEST
    columns = [2] if name in places else [ranked] if name in {"best", "best_score"} else []
    shape = (count, *columns)
    if values.dtype.kind not in wanted or values.shape != shape:
        raise ValueError(f"{name} holds {values.dtype} {list(values.shape)}, not {list(shape)}")


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _with_nan(figure: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float("nan") if value is None else value for key, value in figure.items()}


def open_records(paths: Iterable[str | Path]) -> list[Evaluation]:
    """Every record in or below each path; :class:`BadData` where a path has none."""
    records = [evaluation for path in paths for evaluation in read_all(path)]
    if not records:
        raise BadData("No evaluation was given.\nMake one with: crossview evaluate")
    return records
