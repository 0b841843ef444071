"""One list of figures: what is measured is in it, and what is shown comes from it."""

from pathlib import Path

import pytest

import crossview
from crossview.errors import UnknownName
from crossview.evaluation.metrics import CUTS, METRICS, RADII_M, RECALLS
from crossview.reports import published


def test_the_list_names_every_figure_once_with_its_unit_and_direction():
    assert tuple(METRICS) == (
        "R@1", "R@5", "R@10", "R@1%", "hit rate", "AP", "R@1 without distractors",
        "AP without distractors", "median error m", "mean error m", "90th percentile error m",
        "within 5 m", "within 10 m", "within 20 m", "within 25 m", "within 50 m", "within 100 m",
        "median error by offset m", "mean error by offset m", "mean error in right tile m",
        "mean error in right tile by offset m", "within 5 m by offset", "within 10 m by offset",
        "within 20 m by offset", "within 50 m by offset", "heading error", "heading right",
        "heading right at R@1", "mean R@1", "mean R@5", "mean R@10", "mean R@1%",
    )  # fmt: skip
    less = [m.name for m in METRICS.values() if not m.higher_is_better]
    assert less == [m.name for m in METRICS.values() if m.unit in ("m", "deg")]
    assert {m.kind for m in METRICS.values() if m.unit == "m"} == {"places"}
    assert (*(f"R@{k}" for k in CUTS), "R@1%") == RECALLS
    assert RADII_M == (5, 25, 100)
    assert all(m.definition and m.title and m.word for m in METRICS.values())


def test_a_published_column_that_nobody_knows_is_refused():
    table = {"columns": ["R@2"], "rows": [["A", "", 1.0]]}
    with pytest.raises(UnknownName, match="Unknown figure 'R@2'"):
        list(published._read_rows(table, {}))


def test_no_other_file_lists_figures():
    """A second list of names is where a new figure would be forgotten."""
    package = Path(crossview.__file__).parent
    names = ("R@5", "hit rate", "median error m", "AP without distractors")
    wrong = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for name in names
        if f'"{name}"' in path.read_text(encoding="utf-8")
    }
    assert wrong == {"evaluation/metrics.py"}
