"""Where a map of errors puts its points, and what it takes for one area.

Numbers behind the charts, against slow and obvious loops.

Drawings take their colours from the page, and many of them may stand on one page.
"""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from tests.reports.made_up import evaluation

from crossview.geo.points import LatLon, measure_distance_m
from crossview.localization.accuracy import RIGHT_WITHIN_M, mark_hits
from crossview.reports.figures import (
    DASHES,
    GRID,
    MARKERS,
    Curve,
    _find_areas,
    compute_answered_curve,
    compute_error_curve,
    compute_recall_curve,
    draw_curve,
    draw_svg,
    set_percent_axis,
)
from crossview.reports.results import sort_into_trials
from crossview.reports.significance import pair_hits


def at(latlon, error_m=3.0):
    """A record whose queries were taken and found at these places."""
    places = np.asarray(latlon, float)
    record = evaluation(count=len(places))
    queries = replace(
        record.queries,
        truth_latlon=places,
        found_latlon=places,
        error_m=np.full(len(places), error_m),
    )
    return replace(record, queries=queries)


def town(lat, lon, count=50, seed=0):
    """Places within about a kilometre."""
    around = np.random.default_rng(seed).uniform(-0.005, 0.005, (count, 2))
    return around + np.array([lat, lon])


def test_points_lie_as_far_apart_as_on_the_ground():
    (area,) = _find_areas(at(town(60.0, 25.0)))
    places = town(60.0, 25.0)
    for i, j in ((0, 1), (5, 30), (7, 49)):
        metres = measure_distance_m(LatLon(*places[i]), LatLon(*places[j]))
        assert np.hypot(*(area.truth[i] - area.truth[j])) == pytest.approx(metres, rel=1e-3)


def test_towns_that_lie_apart_are_areas_of_their_own_the_largest_first():
    areas = list(_find_areas(at(np.r_[town(47.0, 8.0, 40), town(47.3, 8.5, 60)])))
    assert [area.total for area in areas] == [60, 40]


def test_a_town_on_longitude_180_is_one_area_of_its_real_size():
    places = town(-16.8, 180.0, 80)
    places[:, 1] = (places[:, 1] + 180.0) % 360.0 - 180.0
    assert {-1.0, 1.0} == set(np.sign(places[:, 1]))
    (area,) = _find_areas(at(places))
    assert area.total == 80
    assert np.abs(area.truth).max() < 700.0


def test_references_are_drawn_where_the_queries_are():
    record = evaluation()
    (area,) = _find_areas(record)
    low, high = area.truth.min(axis=0), area.truth.max(axis=0)
    assert len(area.gallery)
    assert ((area.gallery >= low) & (area.gallery <= high)).all()


def test_an_answer_is_right_within_what_is_right_everywhere():
    assert RIGHT_WITHIN_M == 25.0
    (area,) = _find_areas(at(town(47.0, 8.0), error_m=24.9))
    assert (area.error_m <= RIGHT_WITHIN_M).all()


def test_towns_ten_kilometres_apart_are_two_areas_and_districts_a_kilometre_apart_are_one():
    apart = np.r_[town(47.0, 8.0, 40), town(47.1, 8.0, 60)]
    assert [area.total for area in _find_areas(at(apart))] == [60, 40]
    districts = np.r_[town(47.0, 8.0, 40), town(47.02, 8.0, 60)]
    assert [area.total for area in _find_areas(at(districts))] == [100]


def result(**changes):
    return sort_into_trials([evaluation(**changes)])[0].results[0]


def test_the_recall_curve_counts_ranks():
    run = result()
    curve = compute_recall_curve(run, 100)
    ranks = run.first.queries.rank
    slow = [100.0 * sum(rank <= k for rank in ranks) / len(ranks) for k in curve.x]
    assert curve.y == pytest.approx(slow)
    assert (curve.low <= curve.y).all()
    assert (curve.y <= curve.high).all()


def test_a_curve_at_its_end_still_has_an_interval():
    curve = compute_recall_curve(result(right=1.0), 10)
    assert curve.y[0] == 100.0
    assert 95.0 < curve.low[0] < 100.0


def test_the_error_curve_counts_metres():
    run = result()
    curve = compute_error_curve(run, np.array([5.0, 25.0, 100.0]))
    assert curve.y == pytest.approx([100.0 * np.mean(run.errors_m <= m) for m in (5, 25, 100)])


def test_answering_everything_gives_the_recall():
    run = result()
    answered, right = compute_answered_curve(run)
    assert answered[-1] == 100.0
    assert right[-1] == pytest.approx(100.0 * np.mean(run.first.queries.rank == 1))


def test_charts_and_comparisons_count_queries_without_a_match_as_r_at_k_does():
    """Rank 0: it has no match. Leaving such queries out would draw another R@1 than the table's."""
    records = []
    for label, right in (("a", 0.8), ("b", 0.5)):
        record = evaluation(label, right=right)
        rank = np.where(np.arange(200) < 50, 0, record.queries.rank)
        records.append(replace(record, queries=replace(record.queries, rank=rank)))
    (trial,) = sort_into_trials(records)
    shares = [100.0 * float(mark_hits(r.queries.rank, 1).mean()) for r in records]
    assert [compute_recall_curve(r, 10).y[0] for r in trial.results] == pytest.approx(shares)
    assert [compute_answered_curve(r)[1][-1] for r in trial.results] == pytest.approx(shares)
    ours, theirs, _ = pair_hits(*trial.results)
    assert [ours.mean(), theirs.mean()] == pytest.approx(shares)


PAINT = re.compile(r"(?:fill|stroke): ([^;\"]+)")


def draw(slots=(0, 3)):
    x = np.arange(1.0, 9.0)

    def curves(axes):
        for slot in slots:
            draw_curve(axes, slot, Curve(x, 10 * x, 9 * x, 11 * x))
        set_percent_axis(axes)
        axes.set_xlabel("a <label>")

    return draw_svg(curves, 'says "so" & more')


@pytest.fixture(scope="module")
def svg():
    return draw()


def test_every_paint_is_the_colour_of_a_class_of_the_page(svg):
    assert set(PAINT.findall(svg)) == {"none", "currentColor"}
    assert "#808080" not in svg
    groups = re.findall(r'<g class="([^"]+)"', svg)
    assert {"run-0 pen-0", "run-3 pen-3", GRID} == set(groups)


def test_every_line_of_the_grid_has_its_pen_whatever_ticks_the_layout_ends_with():
    svg = draw_svg(lambda axes: axes.plot([0.123, 7.77], [3, 4]), "auto")
    root = ElementTree.fromstring(svg)
    ticks = len(root.findall(".//text"))
    assert ticks > 5
    assert svg.count(f'class="{GRID}"') == ticks + 1  # and the axis below


def test_a_run_beyond_the_pens_shares_one_but_stays_a_run_of_its_own():
    assert '<g class="run-9 pen-1"' in draw([9])
    assert len(DASHES) == len(MARKERS) == 8


def test_identifiers_of_two_drawings_differ_and_each_is_defined_where_it_is_used(svg):
    other = draw([1])
    for text in (svg, other):
        defined = set(re.findall(r'\bid="([^"]+)"', text))
        used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
        assert {a or b for a, b in used} <= defined
    assert not set(re.findall(r'\bid="([^"]+)"', svg)) & set(re.findall(r'\bid="([^"]+)"', other))


def test_a_drawing_says_in_words_what_it_shows_and_its_words_are_text(svg):
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'says "so" & more')
    assert "a <label>" in [text.text for text in root.iter("text")]
    assert "0 %" in [text.text for text in root.iter("text")]
