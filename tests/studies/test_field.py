"""The bench of the field: every method, equal compute, both headings, a file for each training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.studies.test_study import TINY, areas, ignore, place  # noqa: F401 - a fixture
from tests.training.tiny import PAGE

from crossview.catalogue import METHODS, configure, method_page, recipes
from crossview.evaluation.metrics import RECALLS
from crossview.stats import holm
from crossview.studies import study_tables
from crossview.studies.budgets import (
    MOMENTS,
    PACE,
    STEP_PASSES,
    count_recipes,
    list_data_sets,
    write_budgets,
)
from crossview.studies.running import choose_settings, count_macs_a_pair, dry_run_rows, run_row
from crossview.studies.study import (
    Planned,
    Result,
    Row,
    find_study,
    label_test,
    read_result,
    read_result_file,
)
from crossview.training.contract import TrainingRecipe

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs" / "results" / "field"
FIELD = find_study("field")
TRAINABLE = {m for m in METHODS if not hasattr(method_page(m).load(), "FOR_USE")}
THRICE = {"safa", "geodtr-plus", "transgeo", "sample4geo", "singeo", "compass"}
AIM = 4e12  # multiply-adds of a training, as the study's file says


def config_of(row):
    return configure(row.method or FIELD.method, choose_settings(FIELD, row, None, 1))


def test_every_method_that_can_be_trained_is_one_row():
    assert sorted(row.method or FIELD.method for row in FIELD.rows) == sorted(TRAINABLE)
    assert {row.name for row in FIELD.rows if row.seeds == 3} == THRICE
    assert {row.name for row in FIELD.rows if row.seeds == 1} == TRAINABLE - THRICE


def test_every_method_is_contrasted_with_safa_under_holm():
    assert FIELD.planned.primary is None
    assert [pair[0] for pair in FIELD.planned.contrasts] == ["safa"] * (len(TRAINABLE) - 1)
    assert {pair[1] for pair in FIELD.planned.contrasts} == TRAINABLE - {"safa"}


@pytest.mark.parametrize("row", FIELD.rows, ids=lambda row: row.name)
def test_every_row_computes_as_much(row):
    ref, config = config_of(row)
    recipe = TrainingRecipe.of(config)
    spent = recipe.steps * recipe.batch * count_macs_a_pair(ref, config)
    assert spent == pytest.approx(AIM, rel=0.05)
    assert (recipe.lr, recipe.batch) == (1e-3, 32)


def test_copies_and_the_second_pass_of_sam_are_counted():
    row = FIELD.row("geodtr-plus")
    settings = choose_settings(FIELD, row, None, 1)
    with_copies, without = (
        count_macs_a_pair(*configure("geodtr-plus", {**settings, "chsg": chsg}))
        for chsg in (True, False)
    )
    assert with_copies == pytest.approx(2 * without, rel=0.1)
    settings = choose_settings(FIELD, FIELD.row("transgeo"), None, 1)
    twice, once = (
        count_macs_a_pair(*configure("transgeo", {**settings, "rho": rho})) for rho in (0.1, 0.0)
    )
    assert twice == 2 * once


def test_a_step_is_three_passes_forward():
    """By hand: 3 x 3 convolutions of the row's network forward, and twice that back."""
    row = FIELD.row("oricnn")
    ref, config = config_of(row)
    pixels = 4096  # of either picture; every layer halves both sides, with kernels of 4 x 4
    widths = (5, 32, 64, 96, 128)
    layers = [
        pixels // 4**n * widths[n] * widths[n - 1] * 16 for n in range(1, len(widths))
    ]  # of one branch
    macs, first = 2 * sum(layers), 2 * layers[0]  # no gradient goes on to the pictures
    assert count_macs_a_pair(ref, config) == pytest.approx(3 * macs - first, rel=0.02)


BENCH = replace(
    TINY,
    name="bench",
    rows=(Row(name="narrow", says="narrow", seeds=2), Row(name="wide", says="wide", seeds=1)),
    against=(),
    headings="both",
    bench=True,
    measures=("R@1", "R@10"),
    limits="It is short.",
    planned=Planned(
        prediction="wide wins",
        measure="R@10",
        tests=("cross",),
        secondary=(("narrow", "wide"),),
        least_seeds=1,
    ),
)


@pytest.fixture
def bench_areas(areas):  # noqa: F811 - the fixture
    towns = {name: ["a", "b"] * (len(t) // 2) for name, t in areas.tests.items()}
    return replace(areas, towns=towns)


def test_a_row_is_tested_north_aligned_and_turned_and_tells_what_it_computed(bench_areas, tmp_path):
    done = run_row(BENCH, BENCH.rows[0], 1, bench_areas, place(tmp_path), ignore)
    names = [label_test(area, 360.0, h) for area in ("same", "cross") for h in ("", "unknown")]
    assert names == ["same", "same, unknown heading", "cross", "cross, unknown heading"]
    assert list(done.tests) == list(done.ranks) == names
    assert done.pairs == done.steps * configure(str(PAGE), BENCH.towns)[1].batch
    assert done.macs > 0
    assert done.parameters > 0
    assert done.processor_s > 0
    assert read_result(tmp_path / "bench" / "narrow-1") == done
    done.write_apart(tmp_path / "kept")
    assert read_result_file(tmp_path / "kept" / "narrow-1.json") == done


def made(row, seed, hits):
    """A result whose first queries are hits."""
    ranks = [1] * hits + [99] * (40 - hits)
    figures = {"queries": 40, "references": 40, "k at 1%": 1}
    tests = {"cross": {**figures, **dict.fromkeys(RECALLS, 2.5 * hits)}}
    return Result(
        study="bench", row=row, seed=seed, settings={}, tests=tests, losses={}, steps=4,
        seconds=30.0, data="made up", versions={"crossview": "0"}, ranks={"cross": ranks},
        towns={"cross": ["a"] * 20 + ["b"] * 20}, parameters=10**6, pairs=128, macs=2e12,
        processor_s=61.0,
    )  # fmt: skip


def write_bench(rows, out):
    page = study_tables.write_tables(BENCH, rows, out, "crossview study bench", synthetic=True)
    return page.read_text(encoding="utf-8")


def test_the_table_states_its_limits_compute_intervals_and_what_was_not_run(tmp_path):
    text = write_bench({"narrow": [made("narrow", 1, 10)]}, tmp_path)
    lines = text.splitlines()
    assert lines[4] == "It is short."
    (row,) = [line for line in lines if line.startswith("| narrow |")]
    assert row.startswith("| narrow | 1 of 2 | 25.0 [")
    assert row.endswith("| 1.00 | 4 | 128 | 2.00 | 61 |")
    assert "Not run: narrow 2; wide 1." in text
    assert "No planned contrast has one seed of both rows yet." in text
    record = json.loads((tmp_path / "bench.json").read_text())
    (kept,) = record["rows"][0]["results"]
    assert kept["file"] == "bench/narrow-1.json"  # once in the repository, not twice


def test_one_seed_makes_a_contrast_that_says_so(tmp_path):
    text = write_bench({"narrow": [made("narrow", 1, 5)], "wide": [made("wide", 1, 30)]}, tmp_path)
    assert "| wide - narrow | planned | +62.5 [" in text
    assert "One seed: nothing is said of other trainings." in text


def test_contrasts_that_were_not_run_count_in_holms_correction():
    planned = replace(BENCH.planned, secondary=(("a", "b"), ("a", "c"), ("a", "d")))
    rows = {"a": [made("a", 1, 5)], "b": [made("b", 1, 23)]}
    (only,) = study_tables.compute_planned_contrasts(planned, rows)
    assert 0.0 < only.p < 0.3
    assert only.p_holm == pytest.approx(holm([only.p, 1.0, 1.0])[0])
    assert only.p_holm == pytest.approx(3 * only.p)


def test_resamples_spread_as_a_slow_loop_of_them():
    rng = np.random.default_rng(5)
    differences, towns = rng.normal(size=(3, 30)), ["x"] * 6 + ["y"] * 10 + ["z"] * 14
    differences[:, :6] += 2.0
    columns = [np.arange(6), np.arange(6, 16), np.arange(16, 30)]
    slow = []
    for _ in range(3000):
        seeds = rng.integers(0, 3, 3)
        queries = np.concatenate(
            [rng.choice(columns[i], len(columns[i])) for i in rng.integers(0, 3, 3)]
        )
        slow.append(differences[np.ix_(seeds, queries)].mean())
    fast = study_tables.resample_means(differences, towns)
    assert fast.mean() == pytest.approx(np.mean(slow), abs=0.04)
    assert np.quantile(fast, [0.025, 0.975]) == pytest.approx(
        np.quantile(slow, [0.025, 0.975]), abs=0.1
    )


def test_the_kept_trainings_are_of_the_study_and_make_its_table(tmp_path):
    """No file is of other settings, and nothing of the table is written by hand."""
    files = sorted(KEPT.glob("*.json"))
    rows = {}
    for file in files:
        result = read_result_file(file)
        row = FIELD.row(result.row)
        assert file.name == f"{row.name}-{result.seed}.json"
        asked = configure(
            row.method or FIELD.method, choose_settings(FIELD, row, None, result.seed)
        )
        assert configure(row.method or FIELD.method, result.settings)[1] == asked[1]
        assert str(FIELD.plan) in result.data
        rows.setdefault(row.name, []).append(result)
    command = "crossview study field"
    page = study_tables.write_tables(FIELD, rows, tmp_path, command, synthetic=True)
    for made_now in (page, page.with_suffix(".json")):
        kept = (KEPT.parent / made_now.name).read_text(encoding="utf-8")
        assert made_now.read_text(encoding="utf-8") == kept


def test_a_dry_run_builds_a_network_without_weights_to_load():
    (line,) = dry_run_rows(FIELD, (FIELD.row("oricnn"),), "")
    assert line.dim == 64 + 96 + 128  # its last three layers
    assert line.batch == 32


# At full size.


def test_a_recipe_at_full_size_is_counted():
    (budget,) = count_recipes("safa", ["cvusa"])
    assert budget.parameters == pytest.approx(29.53e6, rel=0.001)  # its own code's, in the notes
    assert budget.macs == pytest.approx(42.25e9, rel=0.001)
    assert (budget.data, budget.pairs, budget.batch) == ("cvusa", 35_532, 32)
    assert budget.steps == 100 * (35_532 // 32)
    assert (
        budget.training_macs
        == 3 * budget.macs * 32 * budget.steps
        == (STEP_PASSES * budget.macs * budget.batch * budget.steps)
    )
    assert budget.hours == pytest.approx(budget.training_macs / PACE / 3600)
    held = 4 * MOMENTS * budget.parameters / 1e9
    vgg = 2 * 4 * 32 * 64 * 112 * 616 * 2 / 1e9  # its first two maps of both views alone
    assert budget.memory_gb > held + vgg


def test_two_areas_of_vigor_are_two_budgets_and_sam_counts_twice():
    same, cross = count_recipes("transgeo", ["vigor"])
    assert (same.data, cross.data) == ("vigor-same", "vigor-cross")
    assert same.looks == 2
    assert same.steps > cross.steps


def test_every_recipe_for_an_official_data_set_finds_it():
    found = {m: [list_data_sets(name) for name in recipes(m)] for m in TRAINABLE}
    assert found.pop("compass") == [()]  # a packaged model's
    assert all(all(data) for data in found.values())
    assert list_data_sets("cvusa-90") == ("cvusa",)
    assert list_data_sets("vigor-stage2") == ("vigor-same", "vigor-cross")
    assert list_data_sets("vigor-cross-mining") == ("vigor-cross",)
    assert list_data_sets("university") == ("university-1652",)


def test_the_page_of_budgets_has_a_line_for_each(tmp_path):
    budgets = list(count_recipes("l2ltr", ["cvusa"]))
    text = write_budgets(budgets, tmp_path / "full.md").read_text(encoding="utf-8")
    assert "| `l2ltr` | cvusa | cvusa | 195.9 | 128 x 512, 128 x 512 |" in text
    assert "crossview study field --dry-run --recipes" in text
