import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_pairs import write_pairs
from tests.training.tiny import PAGE, SMALL

from crossview.errors import BadModel, InvalidValue, UnknownName, WeightsUnavailable
from crossview.studies import catalogue
from crossview.studies.areas import Areas, published_settings, real_areas
from crossview.studies.beginning import take
from crossview.studies.definitions import Row, Start, Study
from crossview.studies.rehearsal import rehearse
from crossview.studies.results import Result, read_result
from crossview.studies.running import Place, run, settings_of
from crossview.studies.tables import SYNTHETIC, write_tables
from crossview.wiring import make_config, method_page, open_data

TINY = Study(
    name="tiny",
    title="A tiny study",
    question="Does width help?",
    method=str(PAGE),
    rows=(
        Row(name="narrow", says="narrow", published={"same": 12.5}),
        Row(name="wide", says="wide", settings={"width": 8}),
        Row(name="never", says="never run"),
    ),
    towns={**SMALL, "steps": 4},
    against=(("narrow", "wide"),),
)


@pytest.fixture(scope="module")
def areas(tmp_path_factory):
    path = write_pairs(tmp_path_factory.mktemp("data"), 24)
    source = open_data(f"pairs:{path}")
    table = source.tables["train"]
    return Areas(
        data="made up",
        train=table,
        tests={"same": table, "cross": table.take(range(12))},
        info=source.info,
        synthetic=True,
        settings={},
    )


def place(tmp_path):
    return Place(runs=tmp_path, workers=0, device="cpu", save_every=2)


def ignore(report):
    """Nobody watches."""


def test_a_row_is_trained_tested_and_kept(areas, tmp_path):
    result = run(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), ignore)
    assert result.steps == 4
    assert result.tests["cross"]["references"] == 12
    assert 0 <= result.tests["same"]["R@1"] <= result.tests["same"]["R@10"] <= 100
    assert set(result.losses) == {"loss", "info_nce"}
    assert read_result(tmp_path / "tiny" / "narrow-1") == result


def test_a_row_that_is_done_is_not_trained_again(areas, tmp_path):
    seen = []
    first = run(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), seen.append)
    again = run(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), seen.append)
    assert again == first
    assert len(seen) == 4


TRUNK = ".trunk."
MASKS = Study(
    name="masks",
    title="Rows that begin from one training",
    question="Do they?",
    method="geodtr-plus",
    rows=(
        Row(name="plain", says="plain"),
        Row(name="two", says="K = 2", settings={"descriptors": 2}),
        Row(name="other", says="another backbone", settings={"backbone": "resnet10t"}),
    ),
    towns={
        "backbone": "test_convnext",
        "weights": "none",
        "ground_px": (32, 64),
        "aerial_px": (32, 64),
        "footprint_m": 40.0,
        "hidden": 32,
        "batch": 4,
        "steps": 2,
        "warmup_epochs": 0.0,
        "schedule": "steps",
        "lr": 1e-9,
    },
    start=Start(settings={"chsg": False, "steps": 1, "lr": 1e-3}, takes=(TRUNK,)),
)


def _trunks(folder):
    return {k: v for k, v in load_file(folder / "model.safetensors").items() if TRUNK in k}


def test_rows_begin_from_the_trunks_of_one_training(areas, tmp_path):
    for name in ("plain", "two"):
        run(MASKS, MASKS.row(name), 1, areas, place(tmp_path), ignore)
    start = _trunks(tmp_path / "masks" / "start-test_convnext-0")
    for name in ("plain-1", "two-1"):
        found = _trunks(tmp_path / "masks" / name)
        assert found.keys() == start.keys()
        for key, value in found.items():
            torch.testing.assert_close(value, start[key], atol=1e-6, rtol=0)


def test_the_training_that_rows_begin_from_is_made_once_per_backbone(areas, tmp_path):
    for name in ("plain", "two", "other"):
        run(MASKS, MASKS.row(name), 1, areas, place(tmp_path), ignore)
    starts = sorted(folder.name for folder in (tmp_path / "masks").glob("start-*"))
    assert starts == ["start-resnet10t-0", "start-test_convnext-0"]


def test_a_start_begins_from_the_start_before_it(areas, tmp_path):
    first = Start(settings={"chsg": False, "steps": 1, "lr": 1e-3}, takes=(TRUNK,), name="first")
    second = Start(
        settings={"chsg": False, "steps": 1}, takes=(TRUNK,), name="second", before=first
    )
    study = replace(MASKS, start=second)
    run(study, study.row("plain"), 1, areas, place(tmp_path), ignore)
    one, two, row = (
        _trunks(tmp_path / "masks" / name)
        for name in ("first-test_convnext-0", "second-test_convnext-0", "plain-1")
    )
    for key, value in one.items():  # at a rate of 1e-9 the later ones hardly move
        torch.testing.assert_close(two[key], value, atol=1e-6, rtol=0)
        torch.testing.assert_close(row[key], value, atol=1e-6, rtol=0)


def test_a_row_may_begin_from_a_start_of_its_own(areas, tmp_path):
    own = replace(MASKS.start, name="own")
    other = replace(MASKS.row("other"), start=own)
    study = replace(MASKS, rows=(MASKS.row("plain"), other))
    for row in study.rows:
        run(study, row, 1, areas, place(tmp_path), ignore)
    starts = sorted(folder.name for folder in (tmp_path / "masks").glob("*-0"))
    assert starts == ["own-resnet10t-0", "start-test_convnext-0"]


def test_the_page_tells_what_rows_begin_from(areas, tmp_path):
    before = Start(settings={"steps": 5}, takes=(TRUNK,), name="first")
    own = replace(MASKS.start, takes=(), name="own", before=before)
    rows = (MASKS.row("plain"), replace(MASKS.row("two"), start=own))
    study = replace(MASKS, rows=rows)
    result = run(study, study.row("plain"), 1, areas, place(tmp_path), ignore)
    page = write_tables(study, {"plain": [result]}, tmp_path, "crossview study", synthetic=True)
    text = page.read_text()
    assert "plain: begun from the trunks that one training of 1 steps (start), seed 0, left" in text
    chain = "5 steps (first), then with its trunks 1 steps (own)"
    assert f"two: begun from the network that one training of {chain}, seed 0, left" in text
    kept = json.loads((tmp_path / "masks.json").read_text())["starts"]
    assert [(one["rows"], one["name"]) for one in kept] == [(["plain"], "start"), (["two"], "own")]


def test_real_data_begins_from_published_weights(areas, tmp_path):
    real = replace(areas, synthetic=False)
    with pytest.raises(WeightsUnavailable):  # of the published backbone; nothing is made up instead
        run(MASKS, MASKS.row("plain"), 1, real, place(tmp_path), ignore)
    assert not list(tmp_path.glob("masks/start-*"))


def test_trunks_of_another_network_are_refused(tmp_path):
    save_file({"ground.trunk.stages.stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    model = method_page("geodtr-plus").load()
    config = make_config(model, {**MASKS.towns, "descriptors": 2})
    with pytest.raises(BadModel, match="no beginning for this network"):
        take(model.build(config), tmp_path / "other.safetensors", (TRUNK,))


def test_a_row_that_was_killed_ends_as_if_it_had_not_been(areas, tmp_path):
    def killed(report):
        if report.step == 3:
            raise KeyboardInterrupt

    whole = run(TINY, TINY.row("narrow"), 1, areas, place(tmp_path / "a"), ignore)
    with pytest.raises(KeyboardInterrupt):
        run(TINY, TINY.row("narrow"), 1, areas, place(tmp_path / "b"), killed)
    resumed = run(TINY, TINY.row("narrow"), 1, areas, place(tmp_path / "b"), ignore)
    assert resumed.tests == whole.tests


def made(row, seed, share):
    figures = {"queries": 100, "references": 100, "k at 1%": 1}
    figures |= dict.fromkeys(("R@1", "R@5", "R@10", "R@1%"), share)
    return Result(
        study="tiny",
        row=row,
        seed=seed,
        settings={},
        tests={"same": figures},
        losses={},
        steps=4,
        seconds=30.0,
        data="made up",
        versions={"crossview": "0"},
    )


def test_tables_tell_intervals_differences_and_what_was_not_run(tmp_path):
    rows = {
        "narrow": [made("narrow", s, v) for s, v in ((1, 10.0), (2, 12.0), (3, 14.0))],
        "wide": [made("wide", s, v) for s, v in ((1, 20.0), (2, 22.0), (3, 24.5))],
    }
    page = write_tables(TINY, rows, tmp_path, "crossview study tiny", synthetic=True).read_text()
    assert SYNTHETIC in page
    assert "| narrow | 3 | 12.0 [7.0, 17.0] |" in page
    assert "| never run | not run |" in page
    assert "| wide - narrow | same | +10.2 [+9.2, +11.2] |" in page
    assert page.count("+10.2 [+9.2, +11.2]") == 2  # of R@1 and of R@10, here the same
    assert "12.50" in page
    record = json.loads((tmp_path / "tiny.json").read_text())
    assert record["rows"][0]["seeds"] == [1, 2, 3]
    assert record["comparisons"][0]["n"] == 3


def test_one_training_has_no_interval_and_no_comparison(tmp_path):
    page = write_tables(TINY, {"narrow": [made("narrow", 1, 10.0)]}, tmp_path, "c", synthetic=False)
    assert "| narrow | 1 | 10.0 |" in page.read_text()
    assert "detectable" not in page.read_text()


@pytest.mark.parametrize("study", catalogue.STUDIES.values(), ids=lambda s: s.name)
@pytest.mark.parametrize("data", ["", "cvusa", "cvact", "vigor-same"])
def test_every_row_of_every_study_is_a_setting_of_its_method(study, data):
    for row in study.rows:
        page = method_page(row.method or study.method).load()
        settings = settings_of(study, row, None, 1)
        if data:
            settings = {**published_settings(row.method or study.method, data), **row.settings}
        page.views(page.Config(**settings))


def test_a_dry_run_builds_each_row_and_runs_a_batch():
    study = catalogue.study("geodtr-table-vi")
    study = replace(study, towns={**study.towns, "backbone": "test_convnext", "hidden": 16})
    raw, chsg = rehearse(study, (study.row("raw"), study.row("chsg")), "")
    assert raw.parameters == chsg.parameters
    assert raw.ground_px == (32, 128)
    assert set(chsg.losses) == {"triplet", "counterfactual"}


def test_real_data_is_tested_on_its_own_split_and_on_the_other(tmp_path):
    csv = write_pairs(tmp_path / "a", 12, val=4)
    other = write_pairs(tmp_path / "b", 8, val=3)
    found = real_areas("geodtr-plus", f"pairs:{csv}", f"pairs:{other}")
    assert {name: len(table) for name, table in found.tests.items()} == {"same": 4, "cross": 3}
    assert len(found.train) == 8


def test_a_setting_of_the_command_line_holds_in_every_row():
    changed = TINY.changed({"steps": "7"})
    assert settings_of(changed, changed.row("wide"), None, 1)["steps"] == "7"
    assert settings_of(changed, changed.row("wide"), None, 1)["width"] == 8
    assert TINY.changed({}) == TINY


def test_unknown_studies_and_rows_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'geodtr-table-vi'"):
        catalogue.study("geodtr-tabel-vi")
    with pytest.raises(UnknownName, match="row of tiny"):
        TINY.chosen(("broad",))
    with pytest.raises(InvalidValue, match="two rows of one name"):
        replace(TINY, rows=(TINY.rows[0], TINY.rows[0]))
