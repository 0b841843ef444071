"""``crossview report`` from the command line."""

import sys

from tests.reports.made_up import evaluation

from crossview.cli import main


def test_records_below_a_folder_become_a_page(tmp_path, capsys):
    for label in "ab":
        evaluation(label).write(tmp_path / "records" / label)
    code = main(["report", str(tmp_path / "records"), "--out", str(tmp_path / "report")])
    assert code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report" / "report.html")
    assert "<h1>Evaluation report</h1>" in (tmp_path / "report" / "report.html").read_text()


def test_a_folder_without_records_is_reported_in_two_lines(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == 1
    message = capsys.readouterr().err
    assert f"No evaluation in {tmp_path}" in message
    assert "crossview evaluate" in message
    assert not (tmp_path / "report").exists()


def test_without_matplotlib_the_extra_is_named(tmp_path, capsys, monkeypatch):
    evaluation().write(tmp_path / "record")
    for name in [name for name in sys.modules if name.startswith("crossview.reports.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", str(tmp_path / "record"), "--out", str(tmp_path / "report")]) == 1
    assert "pip install 'crossview[report]'" in capsys.readouterr().err
