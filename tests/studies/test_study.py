import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_pairs import write_pairs
from tests.training.tiny import PAGE, SMALL

from crossview.catalogue import configure, open_data
from crossview.errors import BadData, BadModel, InvalidValue, UnknownName, WeightsUnavailable
from crossview.evaluation.metrics import RECALLS
from crossview.reports.published import Quote
from crossview.stats import holm
from crossview.studies.running import (
    Areas,
    Workplace,
    choose_settings,
    dry_run_rows,
    fill_from_start,
    find_published_settings,
    open_real_areas,
    run_row,
)
from crossview.studies.study import Result, Row, Start, Study, find_study, read_result, read_studies
from crossview.studies.study_tables import SYNTHETIC, Quotes, write_tables

ROOT = Path(__file__).resolve().parents[2]
TINY = Study(
    name="tiny",
    title="A tiny study",
    question="Does width help?",
    method=str(PAGE),
    rows=(
        Row(name="narrow", says="narrow", published=Quote(method="GeoDTR+", variant="K = 2")),
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
    )


def place(tmp_path):
    return Workplace(runs=tmp_path, workers=0, device="cpu", save_every=2)


def ignore(report):
    """Nobody watches."""


def test_a_row_is_trained_tested_and_kept(areas, tmp_path):
    result = run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), ignore)
    assert result.steps == 4
    assert result.tests["cross"]["references"] == 12
    assert 0 <= result.tests["same"]["R@1"] <= result.tests["same"]["R@10"] <= 100
    assert set(result.losses) == {"loss", "info_nce"}
    assert read_result(tmp_path / "tiny" / "narrow-1") == result


def test_a_row_that_is_done_is_not_trained_again(areas, tmp_path):
    seen = []
    first = run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), seen.append)
    again = run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), seen.append)
    assert again == first
    assert len(seen) == 4


def test_what_was_tested_by_a_rule_of_old_is_tested_anew_without_training(areas, tmp_path):
    """Padded pictures were once masked as 4:3 photos, which no row was trained on."""
    from tests.training.test_mining import SMALL as PICTURES

    fields = replace(
        TINY,
        method="singeo",
        rows=(Row(name="padded", says="padded", settings={"representation": "padded"}),),
        towns={**PICTURES, "elevation_deg": (-45.0, 45.0), "steps": 2},
        against=(),
        fovs_deg=(360.0, 90.0),
        headings="unknown",
    )
    seen = []
    first = run_row(fields, fields.rows[0], 1, areas, place(tmp_path), seen.append)
    folder = tmp_path / "tiny" / "padded-1"
    void = {name: {**test, "R@1": -1.0} for name, test in first.tests.items()}
    replace(first, tests=void, crops=0).write(folder)
    again = run_row(fields, fields.rows[0], 1, areas, place(tmp_path), seen.append)
    assert again == first == read_result(folder)
    assert len(seen) == 2


def test_no_result_in_the_documents_was_cut_by_the_rule_of_old():
    pages = list((ROOT / "docs" / "results").rglob("*.json"))
    results = [
        Result(**result)
        if "file" not in result  # else a bench's, beside its table
        else Result(**json.loads((page.parent / result["file"]).read_text(encoding="utf-8")))
        for page in pages
        for row in json.loads(page.read_text(encoding="utf-8")).get("rows", [])  # of studies
        for result in row["results"]
    ]
    assert len(results) > 60
    for result in results:
        stands = {name for name in result.tests if name.partition(", ")[2] in ("", "180 degrees")}
        assert not result.wrongly_cut or set(result.tests) == stands, result.row


def test_a_run_of_other_settings_or_data_is_not_taken_for_this_one(areas, tmp_path):
    run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), ignore)
    longer = TINY.changed({"steps": "6"})
    with pytest.raises(BadData, match=r"narrow-1 holds a run of another kind: steps 4, asked 6"):
        run_row(longer, longer.row("narrow"), 1, areas, place(tmp_path), ignore)
    same = TINY.changed({"steps": "4"})  # typed, and so a text
    run_row(same, same.row("narrow"), 1, areas, place(tmp_path), ignore)
    other = replace(areas, data="other towns")
    with pytest.raises(BadData, match="trained on made up, asked other towns"):
        run_row(TINY, TINY.row("narrow"), 1, other, place(tmp_path), ignore)


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
        run_row(MASKS, MASKS.row(name), 1, areas, place(tmp_path), ignore)
    start = _trunks(tmp_path / "masks" / "start-test_convnext-0")
    for name in ("plain-1", "two-1"):
        found = _trunks(tmp_path / "masks" / name)
        assert found.keys() == start.keys()
        for key, value in found.items():
            torch.testing.assert_close(value, start[key], atol=1e-6, rtol=0)


def test_the_training_that_rows_begin_from_is_made_once_per_backbone(areas, tmp_path):
    for name in ("plain", "two", "other"):
        run_row(MASKS, MASKS.row(name), 1, areas, place(tmp_path), ignore)
    starts = sorted(folder.name for folder in (tmp_path / "masks").glob("start-*"))
    assert starts == ["start-resnet10t-0", "start-test_convnext-0"]


def test_a_start_begins_from_the_start_before_it(areas, tmp_path):
    first = Start(settings={"chsg": False, "steps": 1, "lr": 1e-3}, takes=(TRUNK,), name="first")
    second = Start(
        settings={"chsg": False, "steps": 1}, takes=(TRUNK,), name="second", before=first
    )
    study = replace(MASKS, start=second)
    run_row(study, study.row("plain"), 1, areas, place(tmp_path), ignore)
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
        run_row(study, row, 1, areas, place(tmp_path), ignore)
    starts = sorted(folder.name for folder in (tmp_path / "masks").glob("*-0"))
    assert starts == ["own-resnet10t-0", "start-test_convnext-0"]


def test_the_page_tells_what_rows_begin_from(areas, tmp_path):
    before = Start(settings={"steps": 5}, takes=(TRUNK,), name="first")
    own = replace(MASKS.start, takes=(), name="own", before=before)
    rows = (MASKS.row("plain"), replace(MASKS.row("two"), start=own))
    study = replace(MASKS, rows=rows)
    result = run_row(study, study.row("plain"), 1, areas, place(tmp_path), ignore)
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
        run_row(MASKS, MASKS.row("plain"), 1, real, place(tmp_path), ignore)
    assert not list(tmp_path.glob("masks/start-*"))


def test_trunks_of_another_network_are_refused(tmp_path):
    save_file({"ground.trunk.stages.stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    ref, config = configure("geodtr-plus", {**MASKS.towns, "descriptors": 2})
    with pytest.raises(BadModel, match="no beginning for this network"):
        fill_from_start(ref.load().build(config), tmp_path / "other.safetensors", (TRUNK,))


def test_a_row_that_was_killed_ends_as_if_it_had_not_been(areas, tmp_path):
    def killed(report):
        if report.step == 3:
            raise KeyboardInterrupt

    whole = run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path / "a"), ignore)
    with pytest.raises(KeyboardInterrupt):
        run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path / "b"), killed)
    resumed = run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path / "b"), ignore)
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
    assert "93.59" in page  # printed for K = 2, trained on CVUSA
    record = json.loads((tmp_path / "tiny.json").read_text())
    assert record["rows"][0]["seeds"] == [1, 2, 3]
    assert record["comparisons"][0]["n"] == 3


def test_one_training_has_no_interval_and_no_comparison(tmp_path):
    page = write_tables(TINY, {"narrow": [made("narrow", 1, 10.0)]}, tmp_path, "c", synthetic=False)
    assert "| narrow | 1 | 10.0 |" in page.read_text()
    assert "detectable" not in page.read_text()


@pytest.mark.parametrize("study", read_studies().values(), ids=lambda s: s.name)
@pytest.mark.parametrize("data", ["", "cvusa", "cvact", "vigor-same"])
def test_every_row_of_every_study_is_a_setting_of_its_method(study, data):
    for row in study.rows:
        method = row.method or study.method
        settings = choose_settings(study, row, None, 1)
        if data:
            settings = {**find_published_settings(method, data), **row.settings}
        ref, config = configure(method, settings)
        ref.load().views(config)


def test_a_dry_run_builds_each_row_and_runs_a_batch():
    study = find_study("geodtr-table-vi")
    study = replace(study, towns={**study.towns, "backbone": "test_convnext", "hidden": 16})
    raw, chsg = dry_run_rows(study, (study.row("raw"), study.row("chsg")), "")
    assert raw.parameters == chsg.parameters
    assert raw.ground_px == (32, 128)
    assert set(chsg.losses) == {"triplet", "counterfactual"}


def rehearsed(name):
    study = find_study(name)
    study = replace(study, towns={**study.towns, "backbone": "test_convnext", "hidden": 16})
    return {one.row: one for one in dry_run_rows(study, study.rows, "")}


def test_a_dry_run_sends_the_noise_through_each_rows_own_augmentation():
    """The rows of Table VIII differ in nothing else."""
    found = rehearsed("geodtr-table-viii")
    losses = {row: tuple(one.losses.values()) for row, one in found.items()}
    assert len(set(losses.values())) == len(losses) == 6
    assert {row: one.copies for row, one in found.items()} == {
        "raw": 1, "s-only": 2, "s-same-l": 2, "l-only": 2, "same-s-l": 2, "chsg": 2,
    }  # fmt: skip
    assert rehearsed("geodtr-table-viii")["chsg"].losses == found["chsg"].losses


def test_a_dry_run_tells_the_size_of_a_rows_batch():
    found = rehearsed("geodtr-table-vi")
    assert {row: one.batch for row, one in found.items()} == {
        "raw": 32, "ls": 32, "ls-double": 64, "chsg": 32,
    }  # fmt: skip
    assert {one.places for one in found.values()} == {4}


def test_a_dry_run_is_a_quarter_into_each_rows_course():
    study = find_study("singeo-fov")
    study = replace(study, towns={**study.towns, "backbone": "test_convnext"})
    rows = study.chosen(("singeo", "fixed", "reversed"))
    losses = {tuple(one.losses.values()) for one in dry_run_rows(study, rows, "")}
    assert len(losses) == 3


def test_real_data_is_tested_on_its_own_split_and_on_the_other(tmp_path):
    csv = write_pairs(tmp_path / "a", 12, val=4)
    other = write_pairs(tmp_path / "b", 8, val=3)
    found = open_real_areas(f"pairs:{csv}", f"pairs:{other}")
    assert {name: len(table) for name, table in found.tests.items()} == {"same": 4, "cross": 3}
    assert len(found.train) == 8


def test_a_setting_of_the_command_line_holds_in_every_row():
    changed = TINY.changed({"steps": "7"})
    assert choose_settings(changed, changed.row("wide"), None, 1)["steps"] == "7"
    assert choose_settings(changed, changed.row("wide"), None, 1)["width"] == 8
    assert TINY.changed({}) == TINY


def test_steps_of_the_command_line_keep_what_makes_rows_cost_the_same():
    study = find_study("singeo-fov").changed({"steps": "150"})
    steps = {row.name: choose_settings(study, row, None, 1)["steps"] for row in study.rows}
    assert steps == {
        "singeo": "150", "congeo": "150", "sample4geo": "300", "sample4geo-shifted": "300",
        "fixed": "150", "log-uniform": "150", "reversed": "150",
    }  # fmt: skip
    with pytest.raises(InvalidValue, match="whole number, got 'many'"):
        find_study("singeo-fov").changed({"steps": "many"})


@pytest.mark.parametrize(
    ("name", "setting", "row"),
    [
        ("singeo-fields", "theta_deg", "sample4geo-90"),
        ("geodtr-table-vi", "batch", "ls-double"),
        ("geodtr-table-v", "descriptors", "k6, k4, k2"),
        ("singeo-fov", "course", "sample4geo-shifted, fixed, log-uniform"),
    ],
)
def test_a_setting_that_rows_are_about_is_refused_unless_they_are_not_asked_for(name, setting, row):
    study = find_study(name)
    with pytest.raises(InvalidValue, match=f"--config {setting}: {row} set this themselves"):
        study.changed({setting: "8"})
    first = study.rows[0]
    changed = study.changed({setting: "8"}, (first.name,))
    assert choose_settings(changed, changed.row(first.name), None, 1)[setting] == "8"


def quoted(name, data="", cross=""):
    quotes = Quotes.of(find_study(name), data, cross)
    return quotes.figures, quotes.columns(), quotes.words()


def test_columns_of_the_paper_are_those_of_the_same_training():
    usa, columns, words = quoted("geodtr-table-iv", "cvusa:A", "cvact:B")
    act, _, _ = quoted("geodtr-table-iv", "cvact:B", "cvusa:A")
    row = "v2-convnext-chsg"
    assert usa[row]["same"] == {"R@1": 95.40, "R@5": 98.44, "R@10": 99.05, "R@1%": 99.75}
    assert usa[row]["cross"] == {"R@1": 61.17, "R@5": 80.22, "R@10": 85.45, "R@1%": 94.56}
    assert act[row]["same"] == {"R@1": 87.61, "R@5": 95.48, "R@10": 96.52, "R@1%": 98.34}
    assert act[row]["cross"] == {"R@1": 53.89, "R@5": 74.56, "R@10": 81.10, "R@1%": 94.93}
    assert columns == [(test, m) for test in ("same", "cross") for m in RECALLS]
    assert words == "Columns of the paper: trained on cvusa; same: cvusa, cross: cvact."


def test_a_training_that_the_paper_does_not_have_is_quoted_nothing():
    figures, columns, words = quoted("geodtr-table-vi", "cvact:B", "cvusa:A")
    assert columns == []
    assert not any(figures.values())
    assert words == "The paper prints nothing of these rows trained on cvact."
    assert quoted("geodtr-table-v", "vigor-same:V")[1] == []
    with_vigor, _, _ = quoted("geodtr-table-v", "cvusa:A", "vigor-same:V")
    assert set(with_vigor["k8"]) == {"same"}  # CVACT's figures are not VIGOR's


def test_towns_stand_beside_the_training_that_the_study_names():
    figures, _, words = quoted("geodtr-table-vi")
    assert figures["raw"]["same"]["R@1"] == 95.77
    assert "trained on cvusa" in words
    figures, _, _ = quoted("singeo-fov")
    assert figures["singeo"]["same, 70 degrees"] == {"R@1": 58.0}
    assert figures["singeo"]["same, mean"]["R@1"] == pytest.approx(79.175)
    assert "same, mean" not in figures["fixed"]  # 70 degrees was not printed


def test_a_model_of_one_field_of_view_is_quoted_there_alone():
    figures, _, _ = quoted("singeo-parts")
    assert figures["sample4geo-90"] == {"same, 90 degrees": {"R@1": 55.1}}
    assert quoted("singeo-parts", "cvact:B")[0]["sample4geo-90"] == {
        "same, 90 degrees": {"R@1": 27.9}
    }


@pytest.mark.parametrize("study", read_studies().values(), ids=lambda s: s.name)
def test_every_quoted_row_was_printed(study):
    figures = Quotes.of(study, "", "").figures
    assert [row.name for row in study.rows if row.published and not figures[row.name]] == []


def test_the_table_names_the_whole_command_that_makes_it(tmp_path):
    rows = {
        "narrow": [made("narrow", s, 10.0 + s) for s in (1, 2, 3)],
        "wide": [made("wide", 1, 20.0)],
    }
    command = "crossview study tiny --config steps=9 --data cvusa:/A --cross 'cvact:/B C'"
    write_tables(TINY, rows, tmp_path, command, synthetic=False, data="cvusa:/A", cross="cvact:/B")
    made_by = json.loads((tmp_path / "tiny.json").read_text())["commands"]
    assert made_by == [f"{command} --row narrow --seeds 3", f"{command} --row wide --seeds 1"]
    text = (tmp_path / "tiny.md").read_text()
    assert f"Made by `{made_by[0]}` and `{made_by[1]}` with crossview 0." in text
    shared = {"narrow": [made("narrow", s, 10.0) for s in (2, 4)]}
    write_tables(TINY, shared, tmp_path, command, synthetic=False)
    (line,) = json.loads((tmp_path / "tiny.json").read_text())["commands"]
    assert line == f"{command} --row narrow --seed 2 --seed 4"
    whole = {row.name: [made(row.name, 1, 10.0)] for row in TINY.rows}
    write_tables(TINY, whole, tmp_path, command, synthetic=False)
    assert json.loads((tmp_path / "tiny.json").read_text())["commands"] == [f"{command} --seeds 1"]


def test_p_values_of_a_table_are_corrected_for_all_of_its_comparisons(tmp_path):
    rows = {
        "narrow": [made("narrow", s, v) for s, v in ((1, 10.0), (2, 12.0), (3, 14.0))],
        "wide": [made("wide", s, v) for s, v in ((1, 20.0), (2, 22.0), (3, 24.5))],
    }
    write_tables(TINY, rows, tmp_path, "crossview study tiny", synthetic=True)
    (compared,) = json.loads((tmp_path / "tiny.json").read_text())["comparisons"]
    p = [compared[measure]["p"] for measure in ("R@1", "R@10")]
    assert [compared[m]["p_holm"] for m in ("R@1", "R@10")] == pytest.approx(holm(p))
    assert compared["R@1"]["p_holm"] == pytest.approx(2 * p[0])


def test_unknown_studies_and_rows_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'geodtr-table-vi'"):
        find_study("geodtr-tabel-vi")
    with pytest.raises(UnknownName, match="row of tiny"):
        TINY.chosen(("broad",))
    with pytest.raises(InvalidValue, match="two rows of one name"):
        replace(TINY, rows=(TINY.rows[0], TINY.rows[0]))


def test_a_run_killed_after_its_last_step_keeps_the_losses_and_seconds_of_its_log(areas, tmp_path):
    whole = run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), ignore)
    (tmp_path / "tiny" / "narrow-1" / "result.json").unlink()
    again = run_row(TINY, TINY.row("narrow"), 1, areas, place(tmp_path), ignore)
    assert again.losses == whole.losses
    assert again.seconds == whole.seconds
