"""``crossview study`` as typed, on a tiny study."""

import json
import shutil
from dataclasses import replace

import pytest
from tests.studies.test_study import TINY
from tests.tiny_pairs import write_pairs
from tests.training.tiny import SMALL

from crossview.catalogue import open_data
from crossview.cli import main
from crossview.studies.running import Areas
from crossview.studies.study import Planned, Row, read_studies

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


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Run ``crossview study bench`` on a table of pairs, two rows; gives (code, stdout, stderr)."""
    study = replace(
        TINY,
        name="bench",
        rows=(Row(name="narrow", says="narrow", seeds=2), Row(name="wide", says="wide", seeds=1)),
        towns={**SMALL, "steps": 4},
        against=(),
        headings="both",
        bench=True,
        measures=("R@1", "R@10"),
        planned=Planned(
            prediction="none", measure="R@10", tests=("same",), secondary=(("narrow", "wide"),)
        ),
    )
    monkeypatch.setitem(read_studies(), "bench", study)
    pairs = write_pairs(tmp_path / "own", 16, val=4)

    def open_areas(*_):
        source = open_data(f"pairs:{pairs}")
        table = source.tables["train"]
        towns = {"same": ["a", "b"] * (len(table) // 2)}
        return Areas(data="made up", train=table, tests={"same": table}, info=source.info,
                     synthetic=True, towns=towns)  # fmt: skip

    monkeypatch.setattr("crossview.studies.running.open_town_areas", open_areas)

    def run(*more):
        line = ["study", "bench", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
        code = main([*line, "--workers", "0", "--device", "cpu", *more])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def kept(folder):
    return sorted(path.name for path in (folder / "out" / "bench").glob("*.json"))


def test_rows_of_a_bench_have_seeds_of_their_own_and_a_file_each(bench, tmp_path):
    code, _, err = bench()
    assert code == 0, err
    assert kept(tmp_path) == ["narrow-1.json", "narrow-2.json", "wide-1.json"]
    text = (tmp_path / "out" / "bench.md").read_text()
    assert "| narrow | 2 |" in text
    assert "Not run" not in text


def test_seeds_can_be_asked_for(bench, tmp_path):
    assert bench("--row", "wide", "--seed", "2")[0] == 0
    assert kept(tmp_path) == ["wide-2.json"]
    assert "Not run: narrow 1, 2; wide 1." in (tmp_path / "out" / "bench.md").read_text()


def test_a_file_beside_the_table_stands_for_a_run_folder_that_is_gone(bench, tmp_path):
    assert bench("--row", "wide")[0] == 0
    shutil.rmtree(tmp_path / "runs")
    assert bench("--row", "wide")[0] == 0
    assert not (tmp_path / "runs").exists()
    code, _, err = bench("--row", "wide", "--config", "steps=3")
    assert code == 1
    assert "wide-1.json holds a run of another kind: steps 4, asked 3" in err


def test_minutes_end_within_a_row_and_the_next_call_goes_on(bench, tmp_path, monkeypatch):
    now = iter(range(10_000))  # a second passes with every look at the clock
    monkeypatch.setattr("crossview.cli.study.time.monotonic", lambda: float(next(now)))
    code, _, err = bench("--minutes", str(2.5 / 60))
    assert code == 0
    assert "Time is over; all is saved. Not run yet: narrow 1, 2; wide 1." in err
    assert kept(tmp_path) == []
    log = (tmp_path / "runs" / "bench" / "narrow-1" / "log.jsonl").read_text()
    assert 0 < log.count('"loss"') < 4
    assert "narrow | not run" in (tmp_path / "out" / "bench.md").read_text()
    monkeypatch.undo()


def test_what_is_no_time_and_no_count_of_recipes_is_refused(typed):
    for words, says in (
        (("--minutes", "-1"), "--minutes takes a number of at least 0, got -1"),
        (("--minutes", "nan"), "--minutes takes a number of at least 0, got nan"),
        (("--recipes",), "Give it with --dry-run"),
        (("--seeds", "-1"), "Seeds count from 1"),
    ):
        code, _, err = typed(*words)
        assert code == 2
        assert says in err


def test_recipes_are_counted_onto_a_page(tmp_path, monkeypatch, capsys):
    study = replace(TINY, name="one", method="l2ltr", rows=(Row(name="a", says="a"),), against=())
    monkeypatch.setitem(read_studies(), "one", study)
    monkeypatch.setattr("crossview.catalogue.recipes", lambda _: {"cvusa": {"whole": True}})
    code = main(["study", "one", "--dry-run", "--recipes", "--out", str(tmp_path)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "| `l2ltr` | cvusa | cvusa |" in (tmp_path / "one-full-size.md").read_text()
    assert printed.out.strip().endswith("one-full-size.md")
