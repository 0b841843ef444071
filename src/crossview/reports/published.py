"""Published results, read from the TOML files beside this page.

A file is one test: ``title``, ``data`` (names of ``crossview.catalogue``), ``split``, ``queries``
and ``k_at_1_percent`` as its authors count it. Each of its ``tables`` has one source and one
protocol; a row is method, variant, then one value per column in percent (nan: not given). With
several ``fov_deg`` there is one column, and one value per field of view.

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
from typing import Any

from crossview.errors import UnknownName
from crossview.evaluation.metrics import METRICS
from crossview.reports.conditions import ONE_MODEL, Conditions

STANDINGS = {
    "printed": "printed by the authors, or in a paper that compares them",
    "listed": "taken from a list or table of others",
    "figure": "read from a figure of the authors",
    "summary": "taken from a summary of the paper",
    "reproduced": "measured by others with the authors' code",
    "unverified": "not verified at a source",
}


@dataclass(frozen=True, kw_only=True)
class Published:
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
class Benchmark:
    """One test of the field, and what was published on it."""

    title: str
    data: tuple[str, ...]
    split: str
    queries: int | None
    rows: tuple[Published, ...]
    ablations: tuple[Published, ...] = ()


def benchmark_of(data: str, split: str) -> Benchmark | None:
    """The benchmark of this name and split, or None when nothing was published on it."""
    return next((b for b in benchmarks() if data in b.data and split == b.split), None)


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

        ``trained_on`` is a data set's name: figures of another training are never quoted.
        """
        benchmark = benchmark_of(data, split)
        found: dict[float, Mapping[str, float]] = {}
        for row in (*benchmark.rows, *benchmark.ablations) if benchmark else ():
            c = row.conditions
            if (
                (row.method, row.variant, c.models) == (self.method, self.variant, self.models)
                and (c.trained_on, c.headings) == (trained_on, headings)
                and c.fov_deg is not None
                and self.fov_deg in (None, c.fov_deg)
            ):
                found.setdefault(c.fov_deg, row.values)
        return found


@cache
def benchmarks() -> tuple[Benchmark, ...]:
    """All benchmarks, by file name."""
    folder = files("crossview.reports") / "published"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml"))
    return tuple(_benchmark(_read(name)) for name in names if name != "methods.toml")


@cache
def venues() -> dict[str, str]:
    """Where each method was published."""
    return _read("methods.toml")


def _read(name: str) -> dict[str, Any]:
    file = files("crossview.reports") / "published" / name
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _benchmark(text: dict[str, Any]) -> Benchmark:
    return Benchmark(
        title=text["title"],
        data=tuple(text["data"]),
        split=text["split"],
        queries=text.get("queries"),
        rows=_of_tables(text, ablation=False),
        ablations=_of_tables(text, ablation=True),
    )


def _of_tables(text: dict[str, Any], *, ablation: bool) -> tuple[Published, ...]:
    tables = [table for table in text["tables"] if table.get("ablation", False) == ablation]
    return tuple(row for table in tables for row in _rows(table, text))


def _rows(table: dict[str, Any], trial: dict[str, Any]) -> Iterator[Published]:
    for method, variant, *values in table["rows"]:
        for fov_deg, named in _by_fov(table, values):
            yield Published(
                method=method,
                variant=variant,
                venue=venues().get(method, ""),
                source=table["source"],
                standing=table["standing"],
                conditions=_conditions(table, fov_deg),
                values={name: float(v) for name, v in named.items() if not math.isnan(v)},
                k_at_1_percent=table.get("k_at_1_percent", trial.get("k_at_1_percent")),
            )


def _by_fov(
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


def _conditions(table: dict[str, Any], fov_deg: float | None) -> Conditions:
    return Conditions(
        headings=table["headings"],
        fov_deg=None if fov_deg is None else float(fov_deg),
        rule=table.get("rule", ""),
        trained_on=table["trained_on"],
        models=table.get("models", ONE_MODEL),
    )
