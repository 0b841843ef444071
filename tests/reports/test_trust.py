"""Calibrated regions in a report: reliability, coverage, refusals."""

import json

import pytest
from tests.reports.made_up import evaluation

from crossview.errors import BadData, BadIndex, InvalidValue
from crossview.localization.calibration_record import Calibrated, Calibration, Fit, Reach
from crossview.reports.report_page import ReportFacts, write_report
from crossview.reports.trust import (
    draw_calibration,
    draw_reliability,
    list_kinds,
    read_calibrations,
)
from crossview.schema import compute_checksum


def share(value):
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


MEASURED = {
    "spots": 40, "recall": {"1": share(0.8)}, "within_25m_by_chance": 0.01, "brier": 0.1,
    "calibration_error": 0.03, "calibration_error_by_chance": 0.02,
    "reliability": [[0.2, 0.25, 50], [0.9, 0.88, 50]], "false_reject": share(0.05),
    "sets": [{"asked": 0.9, "coverage": share(0.91), "median_share": 0.1}],
    "false_accept": share(0.2),
}  # fmt: skip
KIND = Calibrated(
    name="panoramas", fov_deg=(360.0, 360.0), assumed=False, n=100, measured=MEASURED,
    fit=Fit(temperature=0.1, bias=0.0, slope=1.0, refused_below=0.0,
            reaches=(Reach(coverage=0.9, below_best=0.1),)),
)  # fmt: skip
CALIBRATION = Calibration(
    kinds=(KIND,), created="2026-01-01T00:00:00", share=0.05, false_reject=0.05, crossview="0"
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "suburb.json"
    values = CALIBRATION.to_json()
    path.write_text(json.dumps({**values, "checksum": compute_checksum(values)}))
    return path


def test_every_kind_has_its_diagram(file):
    ((name, kind),) = list_kinds(read_calibrations([file]))
    panel = draw_reliability(name, kind)
    assert panel.title == "suburb, panoramas"
    assert "Expected calibration error 0.030 (0.020 by chance at this n)" in panel.note


def test_a_report_shows_calibrations_with_their_intervals_beside_evaluations(file, tmp_path):
    about = ReportFacts(title="t", created="now")
    page = write_report([evaluation()], tmp_path / "out", about, read_calibrations([file]))
    text = page.read_text(encoding="utf-8")
    section = text[text.index('<section id="trust">') :].partition("</section>")[0]
    for value in ("80.0 (78.0 to 82.0)", "90: 91.0 (89.0 to 93.0); median 10.0 % of the region"):
        assert value in section
    numbers = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert numbers["calibrations"][0]["name"] == "suburb"


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_figure_of_a_calibration_has_the_format_of_its_name(ending, start, tmp_path):
    region = {
        "n": 100,
        "calibration_error": 0.03,
        "reliability": MEASURED["reliability"],
        "refusals": [[0.0, 1.0], [0.1, 0.3], [1.0, 0.0]],
        "told_apart": 0.9,
    }
    path = tmp_path / f"figure.{ending}"
    draw_calibration({"suburb": {"panoramas": region}}, path)
    assert path.read_bytes().startswith(start)


def test_a_figure_of_another_format_is_refused(tmp_path):
    with pytest.raises(InvalidValue, match=".png, .svg or .pdf"):
        draw_calibration({}, tmp_path / "figure.jpg")


def test_what_is_not_a_calibration_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("nonsense")
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "c.json").write_text(json.dumps(CALIBRATION.to_json()))  # has lost its checksum
    with pytest.raises(BadData, match="crossview calibrate --out"):
        read_calibrations([tmp_path / "a.json"])
    with pytest.raises(BadIndex):
        read_calibrations([tmp_path / "b.json"])
    with pytest.raises(BadData, match="has lost its checksum"):
        read_calibrations([tmp_path / "c.json"])
