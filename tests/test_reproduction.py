"""docs/reproduction.md leaves no published row out, and claims none that was not run.

Every row stands beside commands that can give it, or says that none can: the right recipe, all
training places, GeoDTR+'s cleaned list, one training for each field of view where papers had one.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from scripts.method_tables import Field

from crossview import catalogue
from crossview.pairs.page_ref import PageRef
from crossview.reports.published import load_benchmarks
from crossview.stats import holm
from crossview.studies.study import read_studies

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
PAGE = TEXT.splitlines()
PUBLISHED = sorted((ROOT / "src" / "crossview" / "reports" / "published").glob("*.toml"))
METHODS = {  # name in the lists: method, as the pages say
    re.split(r": | @", label)[0]: training.method
    for training in Field(ROOT).trainings
    for label in training.rows
}
ONE_EACH = "one per field of view"
RUN = re.compile(r"`(runs/[\w-]+)`")


def tables_of(path, *, ablation=False):
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["tables"]
    return [table for table in tables if table.get("ablation", False) == ablation]


def published_rows():
    for path in (p for p in PUBLISHED if p.stem != "methods"):
        for table in tables_of(path):
            for method, how, *values in table["rows"]:
                yield pytest.param(path, table, method, how, values, id=f"{path.stem}-{method}")


def start_of(method, how, values):
    shown = " / ".join("-" if math.isnan(v) else f"{v:g}" for v in values)
    return f"| {method} | {how} | {shown} |"


def section_of(path, table):
    """The lines below the heading of a table; of two tables of one name, the one with its words."""
    title = tomllib.loads(path.read_text(encoding="utf-8"))["title"]
    chunks = TEXT.split("\n### ")
    named = [c for c in chunks if c.startswith(f"{title}: {table['source']}\n")]
    first = start_of(table["rows"][0][0], table["rows"][0][1], table["rows"][0][2:])
    (found,) = [c for c in named if f"\n{first}" in c]
    return found.splitlines()


@dataclass(frozen=True)
class Training:
    """A command of the page, taken apart."""

    method: str
    recipe: str
    data: str
    options: dict[str, str]

    @property
    def config(self):
        """With the settings that only the variant of the method has."""
        return catalogue.make_config(self.page, catalogue.recipe(self.method, self.recipe))

    @property
    def page(self):
        """That of the method, or of its variant."""
        module = catalogue.VARIANTS.get(self.method)
        return (PageRef(module) if module else catalogue.method_page(self.method)).load()

    @property
    def views(self):
        """What its network sees."""
        return self.page.views(self.config)


def trainings():
    found = {}
    for line in PAGE:
        if command := re.fullmatch(r"\| `(runs/[\w-]+)` \| `crossview train (.*)` \|", line):
            words = shlex.split(command[2])
            options = dict(zip(words[::2], words[1::2], strict=True))
            found[command[1]] = Training(
                method=options["--method"],
                recipe=options["--recipe"],
                data=options["--data"].partition(":")[0],
                options=options,
            )
    return found


TRAININGS = trainings()


def find_field(config):
    """The one field of view that a training shows its queries at."""
    return config.fov_deg if hasattr(config, "fov_deg") else config.theta_deg[1]


def test_there_is_a_command_for_every_run_and_a_row_for_every_command():
    rows = {run for line in PAGE if not line.startswith("| `runs/") for run in RUN.findall(line)}
    begun = {training.options.get("--weights", "") for training in TRAININGS.values()}
    assert rows | begun & set(TRAININGS) == set(TRAININGS)


@pytest.mark.parametrize("run", sorted(TRAININGS))
def test_a_command_trains_a_published_recipe_on_all_places_of_its_data(run):
    training = TRAININGS[run]
    assert training.options["--out"] == run
    assert training.options["--val-share"] == "0"
    options = dict(training.options)
    begun = options.pop("--weights", "")
    assert set(options) == {"--method", "--recipe", "--data", "--val-share", "--out"}
    if training.recipe.endswith("-stage2"):
        first = TRAININGS[begun]
        assert (first.method, first.data) == (training.method, training.data)
        assert training.recipe == f"{first.recipe}-stage2"
    else:
        assert not begun.startswith("runs/")
    assert training.data in catalogue.BENCHMARKS
    assert training.views.ground.whole
    assert training.recipe.partition("-")[0] == training.data.partition("-")[0]
    assert (training.data == "cvusa-cleaned") == (
        training.method == "geodtr-plus" and training.recipe.startswith("cvusa")
    )


@pytest.mark.parametrize(("path", "table", "method", "how", "values"), list(published_rows()))
def test_every_published_row_stands_beside_what_can_give_it_or_says_that_nothing_can(
    path, table, method, how, values
):
    lines = section_of(path, table)
    (line,) = [one for one in lines if one.startswith(start_of(method, how, values))]
    state, runs = line.split(" | ")[3], [TRAININGS[run] for run in RUN.findall(line)]
    if method not in METHODS:
        assert (state, runs) == ("no page", [])
        return
    if not runs:
        assert state == "none: no settings were published"
        return
    assert state == "not run"
    for training in runs:
        assert training.method == METHODS[method]
        trained = training.data.removesuffix("-cleaned")
        assert trained == table["trained_on"]
        if "polar" in asdict(training.config):  # CVFT, which tables call polar, has no such setting
            assert training.config.polar == (how == "polar")
    models, fovs = table.get("models", ""), table.get("fov_deg")
    fovs = fovs if isinstance(fovs, list) else [fovs]
    assert lines[2].endswith(f"; {models}. {' / '.join(table['columns'])}." if models else ".")
    if models == ONE_EACH:
        assert [find_field(training.config) for training in runs] == fovs
        assert {getattr(training.config, "course", "fixed") for training in runs} == {"fixed"}
    else:
        assert len(runs) == 1
        assert ONE_EACH not in lines[2]
    if how.startswith("shifted"):
        assert runs[0].config.shifted
        assert runs[0].config.course == ("uniform" if "cropped" in how else "fixed")
    if how == "random batches":
        assert not runs[0].config.gps_sampling


@pytest.mark.parametrize(
    "path", [p for p in PUBLISHED if p.stem != "methods"], ids=lambda p: p.stem
)
def test_the_command_that_asks_is_of_the_tables_data_headings_and_fields(path):
    about = tomllib.loads(path.read_text(encoding="utf-8"))
    for table in tables_of(path):
        lines = section_of(path, table)
        asked = [re.match(r"Asked by `crossview evaluate RUN (.*?)`", line) for line in lines]
        asked = [match[1].split() for match in asked if match]
        assert len(asked) == any(RUN.search(line) for line in lines)
        for words in asked:
            options = dict(zip(words[::2], words[1::2], strict=True))
            assert options["--data"].partition(":")[0] in about["data"]
            assert options.get("--split", "test") == about["split"]
            fovs = table.get("fov_deg")
            if fovs is not None:
                assert options["--headings"] == table["headings"]
                several = isinstance(fovs, list) and "models" in table
                angles = fovs if isinstance(fovs, list) else [fovs]
                fields = "FIELD" if several else ",".join(f"{f:g}" for f in angles)
                assert options["--fov"] == fields


def test_a_row_of_the_released_code_is_trained_as_the_release_reads():
    (line,) = [one for one in PAGE if one.startswith("| SinGeo | released code, run by others |")]
    (run,) = RUN.findall(line)
    assert TRAININGS[run].config.reading == "release"
    (row,) = [row for row in read_studies()["singeo-parts"].rows if row.published
              and row.published.variant == "released code, run by others"]  # fmt: skip
    assert row.settings["reading"] == "release"


@pytest.mark.parametrize("study", [s for s in read_studies().values() if "table" in s.name])
def test_every_row_of_an_ablation_is_listed(study):
    listed = [line for line in PAGE if line.startswith(f"| {study.name} |")]
    says = [line.split(" | ")[1] for line in listed]
    assert says == [row.says for row in study.rows]


def test_every_published_ablation_is_a_row_of_a_study_whose_command_is_on_the_page():
    missing = []
    quotes = [
        (study.name, row.name, row.published)
        for study in read_studies().values()
        for row in study.rows
        if row.published
    ]
    for printed in (row for benchmark in load_benchmarks() for row in benchmark.ablations):
        trained = "cvusa-cleaned" if printed.method == "GeoDTR+" else "cvusa"
        data = trained if printed.conditions.trained_on == "cvusa" else "cvact"
        commands = [
            f"`crossview study {study} --row {row} --data {data}:"
            for study, row, quote in quotes
            if (quote.method, quote.variant) == (printed.method, printed.variant)
        ]
        if not any(command in line for command in commands for line in PAGE):
            missing.append((printed.method, printed.variant, printed.conditions.trained_on))
    assert missing == []


@pytest.mark.parametrize(
    ("study", "planned"),
    [("singeo-fov", 100), ("singeo-parts", 80), ("singeo-transfer", 80), ("geodtr-brief", 28)],
)
def test_values_of_p_are_corrected_for_all_comparisons_that_were_planned(study, planned):
    """Withdrawn ones count as p = 1: what they were is not known any more."""
    record = json.loads((ROOT / "docs" / "results" / f"{study}.json").read_text(encoding="utf-8"))
    figures = [c[name] for c in record["comparisons"] for name in ("R@1", "R@10")]
    p = [figure["p"] for figure in figures]
    expected = holm(p + [1.0] * (planned - len(p)))[: len(p)]
    assert [figure["p_holm"] for figure in figures] == pytest.approx(expected)
