"""docs/reproduction.md leaves no published row out, and claims none that was not run."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

from crossview.studies.catalogue import STUDIES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8").splitlines()
PUBLISHED = sorted((ROOT / "src" / "crossview" / "reports" / "published").glob("*.toml"))


@pytest.mark.parametrize(
    "path", [p for p in PUBLISHED if p.stem != "methods"], ids=lambda p: p.stem
)
def test_every_published_row_is_listed(path):
    missing = []
    for table in tomllib.loads(path.read_text(encoding="utf-8"))["tables"]:
        for method, how, *values in table["rows"]:
            shown = " / ".join("-" if math.isnan(v) else f"{v:g}" for v in values)
            start = f"| {method} | {how} | {shown} |"
            if not any(line.startswith(start) for line in PAGE):
                missing.append(start)
    assert missing == []


@pytest.mark.parametrize("study", [s for s in STUDIES.values() if "table" in s.name])
def test_every_row_of_an_ablation_is_listed(study):
    listed = [line for line in PAGE if line.startswith(f"| {study.name} |")]
    says = [line.split(" | ")[1] for line in listed]
    assert says == [row.says for row in study.rows]
