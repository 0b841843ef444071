"""Published figures, and what a result must share with another to be compared with it.

The figures are the TOML files in ``published``. A file is one test: ``title``, ``data`` (names of
:mod:`crossview.catalogue`), ``split``, ``queries`` and ``k_at_1_percent`` as its authors count it.
Each of its ``tables`` has one source and one protocol; a row is method, variant, then one value per
column in percent (nan: not given). With several ``fov_deg`` there is one column, and one value per
field of view.

Tables with ``ablation = true`` hold variants of one paper: studies quote them, reports do not list
them. ``standing`` says how far a figure can be trusted: see :data:`STANDINGS`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from crossview.errors import UnknownName
from crossview.evaluation.evaluation_record import Evaluation
from crossview.evaluation.metrics import METRICS
from crossview.texts import phrase

ONE_MODEL = "one model for all"
# How far a published figure can be trusted; the words for each are among the texts.
STANDINGS = ("printed", "listed", "figure", "summary", "reproduced", "unverified")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How a figure was measured. Empty text: not known."""

    headings: str  # "aligned", "unknown", "within 20 degrees", "as given"
    fov_deg: float | None  # horizontal; None: drawn per query, or not said
    rule: str = ""  # who counts as right; empty: the benchmark has one rule only
    trained_on: str = ""  # a data set's name, as `name_training_data` writes it
    models: str = ONE_MODEL
    off_protocol: tuple[str, ...] = ()
    corruption: str = ""

    @property
    def words(self) -> str:
        """The view in words: "360°, heading unknown"."""
        view = (_name_field(self.fov_deg), _name_headings(self.headings), self.corruption)
        return ", ".join(filter(None, view))


def describe_conditions(evaluation: Evaluation) -> Conditions:
    """The conditions of a record."""
    protocol = evaluation.protocol
    return Conditions(
        headings=protocol.headings,
        fov_deg=protocol.fov_deg,
        rule=protocol.relation,
        trained_on=name_training_data(str(evaluation.model.get("training_data", ""))),
        off_protocol=protocol.off_protocol,
        corruption=protocol.corruption,
    )


def name_data(data: str) -> str:
    """NAME of ``NAME:ROOT``; of a bare path its last part."""
    name, colon, _ = data.partition(":")
    return name if colon and len(name) > 1 else PurePath(data).name


def name_training_data(data: str) -> str:
    """The name under which training data is compared: label corrections do not count.

    The directions of University-1652 train on the same pictures.
    """
    name = name_data(data).lower() if data and " " not in data else data
    if name.startswith("university-1652"):
        return "university-1652"
    return name.removesuffix("-corrected").removesuffix("-cleaned")


def list_differences(theirs: Conditions, ours: Conditions) -> tuple[str, ...]:
    """What keeps ``theirs`` from being compared with ``ours``, each in a few words.

    Anything that is not known on either side counts as a difference, and is said to be unknown.
    """
    training = _name_training(theirs.trained_on, ours.trained_on)
    other_rule = theirs.rule and not is_same_rule(theirs.rule, ours.rule)
    damage = theirs.corruption or phrase("conditions.clean")
    differences = [
        training,
        _name_headings(theirs.headings) if theirs.headings != ours.headings else "",
        _name_field(theirs.fov_deg) if theirs.fov_deg != ours.fov_deg else "",
        phrase("conditions.rule", rule=theirs.rule) if other_rule else "",
        phrase("conditions.models", models=theirs.models) if theirs.models != ours.models else "",
        damage if theirs.corruption != ours.corruption else "",
        *theirs.off_protocol,
    ]
    return tuple(filter(None, differences))


def is_same_rule(theirs: str, ours: str) -> bool:
    """Whether two rules in words are one; the shorter may be the beginning of the other."""
    a, b = theirs.lower(), ours.lower()
    return a.startswith(b) or b.startswith(a) if a and b else a == b


def _name_training(theirs: str, ours: str) -> str:
    if theirs and theirs == ours:
        return ""
    if not ours:
        return phrase("conditions.own_training_not_recorded", data=theirs)
    if not theirs:
        return phrase("conditions.training_not_recorded")
    return phrase("conditions.trained_on", data=theirs)


def _name_headings(headings: str) -> str:
    if headings in ("aligned", "as given"):
        return phrase(f"conditions.{headings.replace(' ', '_')}")
    return phrase("conditions.heading", headings=headings)


def _name_field(fov_deg: float | None) -> str:
    return phrase("conditions.no_fixed_field") if fov_deg is None else f"{fov_deg:g}°"


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published row under one protocol; ``values`` by metric, in percent."""

    method: str
    variant: str
    venue: str
    source: str
    standing: str
    conditions: Conditions
    values: Mapping[str, float]
    k_at_1_percent: int | None


@dataclass(frozen=True, kw_only=True)
class PublishedBenchmark:
    """One test of the field, and what was published on it."""

    title: str
    data: tuple[str, ...]
    split: str
    queries: int | None
    rows: tuple[PublishedRow, ...]
    ablations: tuple[PublishedRow, ...] = ()


def find_benchmark(data: str, split: str) -> PublishedBenchmark | None:
    """The benchmark of this name and split, or None when nothing was published on it."""
    return next((b for b in load_benchmarks() if data in b.data and split == b.split), None)


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The published figures that belong beside one's own: those of a method and variant."""

    method: str
    variant: str = ""
    models: str = ONE_MODEL
    fov_deg: float | None = None  # this one alone; None: all that were printed

    def figures(
        self, data: str, split: str, *, trained_on: str, headings: str
    ) -> dict[float, Mapping[str, float]]:
        """By field of view, figures by metric, in percent; {} where nothing was printed.

        ``find_trained_on`` is a data set's name: figures of another training are never quoted.
        """
        benchmark = find_benchmark(data, split)
        figures: dict[float, Mapping[str, float]] = {}
        for row in (*benchmark.rows, *benchmark.ablations) if benchmark else ():
            c = row.conditions
            if (
                (row.method, row.variant, c.models) == (self.method, self.variant, self.models)
                and (c.trained_on, c.headings) == (trained_on, headings)
                and c.fov_deg is not None
                and self.fov_deg in (None, c.fov_deg)
            ):
                figures.setdefault(c.fov_deg, row.values)
        return figures


@cache
def load_benchmarks() -> tuple[PublishedBenchmark, ...]:
    """All benchmarks, by file name."""
    folder = files("crossview.reports") / "published"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml"))
    return tuple(_read_benchmark(_read(name)) for name in names if name != "methods.toml")


@cache
def load_venues() -> dict[str, str]:
    """Where each method was published."""
    return _read("methods.toml")


def _read(name: str) -> dict[str, Any]:
    file = files("crossview.reports") / "published" / name
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _read_benchmark(text: dict[str, Any]) -> PublishedBenchmark:
    return PublishedBenchmark(
        title=text["title"],
        data=tuple(text["data"]),
        split=text["split"],
        queries=text.get("queries"),
        rows=_collect_rows(text, ablation=False),
        ablations=_collect_rows(text, ablation=True),
    )


def _collect_rows(text: dict[str, Any], *, ablation: bool) -> tuple[PublishedRow, ...]:
    tables = [table for table in text["tables"] if table.get("ablation", False) == ablation]
    return tuple(row for table in tables for row in _read_rows(table, text))


def _read_rows(table: dict[str, Any], trial: dict[str, Any]) -> Iterator[PublishedRow]:
    for method, variant, *values in table["rows"]:
        for fov_deg, named in _split_by_field(table, values):
            yield PublishedRow(
                method=method,
                variant=variant,
                venue=load_venues().get(method, ""),
                source=table["source"],
                standing=table["standing"],
                conditions=_read_conditions(table, fov_deg),
                values={name: float(v) for name, v in named.items() if not math.isnan(v)},
                k_at_1_percent=table.get("k_at_1_percent", trial.get("k_at_1_percent")),
            )


def _split_by_field(
    table: dict[str, Any], values: list[float]
) -> Iterator[tuple[float | None, dict[str, float]]]:
    columns, fov_deg = table["columns"], table.get("fov_deg")
    for name in columns:
        if name not in METRICS:
            raise UnknownName("figure", name, METRICS)
    if isinstance(fov_deg, list):
        yield from ((fov, {columns[0]: v}) for fov, v in zip(fov_deg, values, strict=True))
    else:
        yield fov_deg, dict(zip(columns, values, strict=True))


def _read_conditions(table: dict[str, Any], fov_deg: float | None) -> Conditions:
    return Conditions(
        headings=table["headings"],
        fov_deg=None if fov_deg is None else float(fov_deg),
        rule=table.get("rule", ""),
        trained_on=table["trained_on"],
        models=table.get("models", ONE_MODEL),
    )
