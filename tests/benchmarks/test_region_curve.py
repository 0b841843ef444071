"""The curve of gathered pairs: its figures, and that a finished piece is not measured again."""

from __future__ import annotations

import pytest
from benchmarks.region_curve import TINY, describe, measure_missing, summarise

from benchmarks import region_curve
from crossview.files import append_lines
from crossview.worlds.styles import UNSEEN_STYLE


def line(town, pairs, before, after):
    key = "panoramas, heading known"
    figures = {"before": before, "after": after}
    return {
        "town": f"curve-{UNSEEN_STYLE}-{region_curve.FIRST_SEED + town}",
        "pairs": pairs,
        "size": describe(TINY, "town"),
        "kept": "fine-tuned",
        **{when: {key: {"within_25m": value, "n": 40}} for when, value in figures.items()},
    }


def test_figures_are_means_over_towns_and_gains_are_paired():
    lines = [line(0, 20, 0.2, 0.5), line(1, 20, 0.4, 0.5), line(0, 0, 0.2, 0.2)]
    figures = summarise(lines)
    row = figures["panoramas, heading known, 20 pairs"]
    assert row["before"][0] == pytest.approx(30.0)
    assert row["gain"][0] == pytest.approx(20.0)
    assert 10.0 <= row["gain"][1] <= 20.0 <= row["gain"][2] <= 30.0
    assert figures["panoramas, heading known, 0 pairs"]["gain"][0] == 0.0


def test_what_is_finished_is_not_measured_again(tmp_path, monkeypatch):
    def render(root, place):
        raise AssertionError(f"{place.name} is finished")

    monkeypatch.setattr(region_curve._towns, "render", render)
    lines = [line(town, pairs, 0.0, 0.0) for town in range(TINY.towns) for pairs in TINY.pairs]
    append_lines(tmp_path / region_curve.RESULTS_NAME, lines)
    assert list(measure_missing(tmp_path, TINY, "town")) == []
    with pytest.raises(AssertionError, match="is finished"):
        list(measure_missing(tmp_path, TINY, "earth"))
