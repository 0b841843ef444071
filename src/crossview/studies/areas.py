"""Where a study trains and where it tests: synthetic towns, or data sets of one's own.

On the towns: towns of one style to train on; "same" are other towns of that style, "cross" towns of
styles that were never seen. With real data: "same" is the test split of what was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crossview import catalogue
from crossview.errors import BadData
from crossview.pairs.table import PairTable
from crossview.worlds.town_pairs import TownPlan, ensure_pairs

TRAINED_STYLE = "suburb"
OTHER_STYLES = ("old", "terraces")
TOWNS = TownPlan(
    styles=(TRAINED_STYLE,),
    towns_per_style=8,
    pairs_per_town=300,
    validation_pairs_per_style=40,
    test_styles=(TRAINED_STYLE, *OTHER_STYLES),
    test_pairs_per_style=300,
)


@dataclass(frozen=True, kw_only=True)
class Areas:
    """Pairs to train on, and tables to test on by name ("same", "cross", ...)."""

    data: str  # as it can be given to --data
    train: PairTable
    tests: Mapping[str, PairTable]
    info: Mapping[str, Any]
    synthetic: bool
    towns: Mapping[str, list[str]] = field(default_factory=dict)  # of every query, by test


def town_areas(root: Path, plan: TownPlan = TOWNS) -> Areas:
    """Render what is missing below ``root``; the first test style is "same", the others "cross"."""
    path = ensure_pairs(root, plan)
    source = catalogue.open_data(str(path))
    tables = source.tables
    style = np.array([f.parent.name.rpartition("-")[0] for f in tables["test"].ground])
    of_row = style[tables["test"].pairs[:, 0]]
    trained = of_row == plan.test_styles[0]
    parts = {"same": trained, "cross": ~trained}
    tests = {name: tables["test"].take(rows) for name, rows in parts.items() if rows.any()}
    return Areas(
        data=str(source.info["training_data"]),
        train=tables["train"],
        tests=tests,
        info=source.info,
        synthetic=True,
        towns={name: _towns_of(table) for name, table in tests.items()},
    )


def _towns_of(table: PairTable) -> list[str]:
    """The town of every query, in the order of their ranks."""
    return [table.ground[picture].parent.name for picture in np.unique(table.pairs[:, 0])]


def real_areas(data: str, cross: str) -> Areas:
    """Full-size data sets: trained on ``data``, tested there and, if given, on ``cross``."""
    source = catalogue.open_data(data)
    tests = {"same": _tested(source)}
    if cross:
        tests["cross"] = _tested(catalogue.open_data(cross))
    return Areas(
        data=source.name,
        train=source.tables["train"],
        tests=tests,
        info=source.info,
        synthetic=bool(source.info.get("synthetic")),
    )


def published_settings(method: str, data: str) -> Mapping[str, Any]:
    """The recipe of the data set that ``data`` names (NAME or NAME:ROOT), if there is one."""
    return catalogue.find_published(method, data) or {}


def tested_split(data: str) -> str:
    """The split of a data set that published tables test on."""
    return "val" if data.startswith("cvact") else "test"


def _tested(source: catalogue.Data) -> PairTable:
    """The split that GeoDTR+'s tables test on: of CVACT the 8,884 of val, not all of test."""
    for split in (tested_split(source.name), "test", "val"):
        if split in source.tables:
            return source.tables[split]
    raise BadData(f"{source.name} has no rows of split test or val to test on.")
