"""``crossview study`` as typed, on a tiny study."""

import json
from dataclasses import replace

import pytest
from tests.studies.test_study import TINY
from tests.tiny_pairs import write_pairs
from tests.training.tiny import SMALL

from crossview.cli import main
from crossview.studies.study import Row, read_studies

ROWS = (
    Row(name="plain", says="plain", settings=dict(SMALL)),
    Row(name="twice", says="two pictures", settings=dict(SMALL), small={**SMALL, "steps": 16}),
)


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Run ``crossview study tiny`` on two tables of pairs; gives (exit code, stdout, stderr)."""
    study = replace(TINY, rows=ROWS, towns=SMALL, against=())
    monkeypatch.setitem(read_studies(), "tiny", study)
    own = write_pairs(tmp_path / "own", 16, val=4)
    other = write_pairs(tmp_path / "other one", 8, val=4)

    def run(*more):
        line = ["study", "tiny", "--data", f"pairs:{own}"]
        line += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
        code = main([*line, "--workers", "0", "--device", "cpu", *more])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    run.own, run.other = own, other
    return run


def test_the_table_names_rows_and_both_data_sets_in_its_command(typed, tmp_path):
    line = ["--cross", f"pairs:{typed.other}", "--row", "plain", "--seeds", "1"]
    code, _, err = typed(*line)
    assert code == 0, err
    (command,) = json.loads((tmp_path / "out" / "tiny.json").read_text())["commands"]
    assert command == (
        f"crossview study tiny --data pairs:{typed.own} --cross 'pairs:{typed.other}' "
        "--row plain --seeds 1"
    )
    assert command in (tmp_path / "out" / "tiny.md").read_text()


def test_steps_are_scaled_and_noted_for_rows_that_take_more(typed, tmp_path):
    code, _, err = typed("--seeds", "1", "--config", "steps=3")
    assert code == 0
    assert "twice takes 6 steps, so that all rows cost the same." in err
    assert "plain takes" not in err
    rows = json.loads((tmp_path / "out" / "tiny.json").read_text())["rows"]
    assert [row["results"][0]["steps"] for row in rows] == [3, 6]
    text = (tmp_path / "out" / "tiny.md").read_text()
    assert "Steps of a training: 3 (plain); 6 (twice)." in text


def test_a_setting_that_rows_are_about_is_refused(typed, tmp_path):
    code, _, err = typed("--config", "width=8")
    assert code == 2
    assert "plain, twice set this themselves" in err
    assert not (tmp_path / "out").exists()


def test_runs_of_other_settings_are_not_tabulated(typed):
    assert typed("--row", "plain", "--seeds", "1")[0] == 0
    code, _, err = typed("--row", "plain", "--seeds", "1", "--config", "steps=3")
    assert code == 1
    assert "holds a run of another kind: steps" in err
    assert "Give another --runs" in err
