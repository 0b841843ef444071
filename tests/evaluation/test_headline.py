"""The mean over 360, 180, 90 and 70 degrees, against slow and obvious loops."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.reports.made_up import evaluation

from crossview.evaluation.run_comparison import (
    FIELDS_DEG,
    mean_over_fields,
    means_over_fields,
    write_means,
)

RIGHT = {360.0: 0.9, 180.0: 0.7, 90.0: 0.4, 70.0: 0.2}


def swept(label="ours", **changes):
    """Records of one run at the four fields of view; queries of a cluster share their truth."""
    return [
        evaluation(label, right=right, fov_deg=fov, seed=int(fov), **changes)
        for fov, right in RIGHT.items()
    ]


def test_the_headline_is_the_mean_over_four_fields_of_view():
    assert FIELDS_DEG == (360.0, 180.0, 90.0, 70.0)


@pytest.mark.parametrize("headings", ["unknown", "aligned", "within 20 degrees"])
@pytest.mark.parametrize(("name", "k"), [("R@1", 1), ("R@5", 5), ("R@10", 10), ("R@1%", 4)])
def test_the_mean_counts_every_query_at_every_field_of_view(headings, name, k):
    records = swept(headings=headings)
    slow = []
    for record in records:
        found = 0
        for rank in record.queries.rank:
            found += 1 <= rank <= k
        slow.append(100.0 * found / len(record.queries.rank))
    (mean,) = means_over_fields(records)
    figure = mean.figure(f"mean {name}")
    assert figure.value == pytest.approx(sum(slow) / 4)
    assert figure.low < figure.value < figure.high
    assert (figure.n, figure.unit, figure.over) == (200, "%", "queries, one training")
    assert (mean.protocol.headings, mean.protocol.fov_deg) == (headings, None)


def test_the_interval_resamples_the_same_clusters_at_all_four():
    records = swept(count=60)
    records = [replace(r, queries=replace(r.queries, cluster=np.arange(60) // 3)) for r in records]
    draws = np.random.default_rng(0).integers(0, 20, (1000, 20))
    means = []
    for drawn in draws:
        rows = np.concatenate([np.arange(3 * c, 3 * c + 3) for c in drawn])
        means.append(np.mean([100.0 * np.mean(r.queries.rank[rows] == 1) for r in records]))
    figure = mean_over_fields(records).figure("mean R@1")
    slow = np.quantile(means, [0.025, 0.975])
    assert (figure.low, figure.high) == pytest.approx(tuple(slow))


def test_a_query_without_a_match_is_not_found():
    records = swept()
    lost = [replace(r, queries=replace(r.queries, rank=r.queries.rank * 0)) for r in records]
    figure = mean_over_fields(lost).figure("mean R@1")
    assert (figure.value, figure.low) == (0.0, 0.0)
    assert 0.0 < figure.high < 3.0  # Wilson's


def test_three_of_the_four_fields_of_view_have_no_headline():
    assert means_over_fields(swept()[:3]) == []
    narrower = replace(swept()[3], protocol=replace(swept()[3].protocol, fov_deg=60.0))
    assert means_over_fields([*swept()[:3], narrower]) == []


def test_further_fields_of_view_change_nothing():
    more = [*swept(), evaluation(right=0.0, fov_deg=45.0), evaluation(right=1.0, fov_deg=None)]
    assert means_over_fields(more) == means_over_fields(swept())


def test_every_way_of_treating_headings_pictures_and_networks_has_a_mean_of_its_own():
    records = [
        *swept(headings="unknown"),
        *swept(headings="aligned"),
        *swept(corruption="fog 3"),
        *swept(representation="padded"),
        *swept(model={"fingerprint": "another"}),
    ]
    means = means_over_fields(records)
    assert len(means) == 5
    assert [m.protocol.headings for m in means[:2]] == ["unknown", "aligned"]
    assert mean_over_fields(records[2:6]) is None  # unknown and aligned headings mixed


def test_heading_seeds_are_averaged_query_by_query():
    again = [
        evaluation(right=right, fov_deg=fov, seed=7, seeds=(1,)) for fov, right in RIGHT.items()
    ]
    (mean,) = means_over_fields([*swept(), *again])
    both = [means_over_fields(records)[0].figure("mean R@10").value for records in (swept(), again)]
    assert mean.figure("mean R@10").value == pytest.approx(np.mean(both))
    assert mean.seeds == (0, 1)


def test_queries_that_were_not_asked_at_every_field_of_view_are_left_out():
    records = swept()
    short = [*records[:3], evaluation(right=RIGHT[70.0], fov_deg=70.0, seed=70, count=150)]
    figure = mean_over_fields(short).figure("mean R@1")
    ids = short[3].queries.ids.tolist()
    slow = [
        np.mean([r.queries.rank[r.queries.ids.tolist().index(name)] == 1 for name in ids])
        for r in short
    ]
    assert (figure.n, figure.value) == (150, pytest.approx(100.0 * np.mean(slow)))


def test_what_was_not_trained_for_at_one_field_of_view_marks_the_mean():
    records = swept()
    records[3] = replace(
        records[3], protocol=replace(records[3].protocol, off_protocol=("not trained for 70",))
    )
    assert mean_over_fields(records).protocol.off_protocol == ("not trained for 70",)


def test_the_mean_is_kept_as_json(tmp_path):
    means = means_over_fields(swept())
    (kept,) = json.loads(write_means(tmp_path, means).read_text())["means"]
    assert kept["fovs_deg"] == [360.0, 180.0, 90.0, 70.0]
    names = [figure["name"] for figure in kept["figures"]]
    assert names == ["mean R@1", "mean R@5", "mean R@10", "mean R@1%"]
    assert kept["figures"][0]["value"] == means[0].figure("mean R@1").value
