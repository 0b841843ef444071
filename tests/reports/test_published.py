"""The published figures: whole, as their sources print them, and found by name."""

import pytest

from crossview.reports.published import (
    STANDINGS,
    Quote,
    find_benchmark,
    load_benchmarks,
    load_venues,
)

ROWS = [(b, row) for b in load_benchmarks() for row in (*b.rows, *b.ablations)]


def test_every_value_is_a_percentage_and_every_row_says_where_it_is_from():
    for _, row in ROWS:
        assert all(0.0 <= value <= 100.0 for value in row.values.values())
        assert row.values
        assert row.source
        assert row.standing in STANDINGS


def test_recall_never_falls_with_k():
    order = ["R@1", "R@5", "R@10", "R@1%"]
    for _, row in ROWS:
        values = [row.values[name] for name in order if name in row.values]
        assert values == sorted(values), row


def test_the_hit_rate_is_at_least_recall_at_1():
    for _, row in ROWS:
        if "hit rate" in row.values:
            assert row.values["hit rate"] >= row.values["R@1"]


def test_no_row_stands_twice_under_the_same_conditions():
    keys = [(b.title, r.method, r.variant, r.conditions, r.source) for b, r in ROWS]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("data", "split", "method", "variant", "metric", "value"),
    [
        ("cvusa", "test", "GeoDTR+", "polar", "R@1", 95.40),
        ("cvact", "val", "GeoDTR+", "", "R@1", 87.76),
        ("vigor-cross", "test", "GeoDTR+", "", "hit rate", 39.40),
        ("vigor-same-corrected", "test", "TransGeo", "", "R@1", 61.48),
        ("cvact", "test", "Sample4Geo", "", "R@1%", 98.70),
    ],
)  # fmt: skip
def test_figures_are_found_by_the_name_of_the_data(data, split, method, variant, metric, value):
    found = [
        r for r in find_benchmark(data, split).rows if (r.method, r.variant) == (method, variant)
    ]
    assert value in [row.values.get(metric) for row in found]


def test_data_without_published_figures_has_no_benchmark():
    assert find_benchmark("town", "test") is None


def test_a_table_over_fields_of_view_becomes_one_row_for_each():
    rows = [r for r in find_benchmark("cvusa", "test").rows if r.method == "SinGeo"]
    printed = {r.conditions.fov_deg: r.values["R@1"] for r in rows if r.standing == "summary"
               and r.conditions.headings == "unknown"}  # fmt: skip
    assert printed == {360.0: 96.8, 180.0: 91.8, 90.0: 70.1, 70.0: 58.0}


def test_every_method_with_a_venue_has_a_figure():
    assert set(load_venues()) <= {row.method for _, row in ROWS}


def test_ablations_are_quoted_by_studies_and_not_listed_in_reports():
    listed = [row.variant for row in find_benchmark("cvusa", "test").rows]
    assert "K = 6" not in listed
    quote = Quote(method="GeoDTR+", variant="K = 6")
    found = quote.figures("cvusa", "test", trained_on="cvact", headings="aligned")
    assert found == {360.0: {"R@1": 53.61, "R@5": 73.97, "R@10": 80.69, "R@1%": 94.57}}
    assert quote.figures("cvusa", "test", trained_on="cvusa", headings="unknown") == {}
    assert quote.figures("town", "test", trained_on="cvusa", headings="aligned") == {}


@pytest.mark.parametrize(("trained_on", "tests"), [("cvusa", 2), ("cvact", 2)])
def test_tables_iv_and_v_are_whole(trained_on, tests):
    rows = [r for _, r in ROWS if r.source.startswith(("GeoDTR+ paper, Table IV",
            "GeoDTR+ paper, Table V ")) and r.conditions.trained_on == trained_on]  # fmt: skip
    assert len(rows) == tests * (6 + 4)
    assert all(set(row.values) == {"R@1", "R@5", "R@10", "R@1%"} for row in rows)
