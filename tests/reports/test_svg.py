"""Drawings take their colours from the page, and many of them may stand on one page."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from crossview.reports.curves import Curve
from crossview.reports.svg import DASHES, GRID, MARKERS, draw_curve, draw_svg, set_percent_axis

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
