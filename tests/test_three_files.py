"""A method of the package is three files: page, notes, test; all else finds it by them.

A copy of the repository gets the three of a method that nobody has published. Then ``make tables``
and the suites over all methods are run there, and nothing else is changed.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.method_tables import MADE, ROOT, Field

COPIED = (
    *("src", "docs", "tests", "scripts", "benchmarks", ".ci", "pyproject.toml", "mkdocs.yml"),
    *("Makefile", "CITATION.cff", *(path.name for path in ROOT.glob("*.md"))),
)
DOCUMENTS = ("test_reproduction.py", "test_documents.py")
PAGE = '''

def imported(state, config):
    """The authors' tensors by our names."""
    return {name.replace("tower_", ""): value for name, value in state.items()}


RECIPES = {"cvusa": {"lr": 2e-3, "footprint_m": 50.0}}
REPRODUCES = {"cvusa": ("PUBLISHED",)}
COST = {"source": "its Table I", "parameters_m": 1.25, "macs_g": 2.5}
TENSORS = r"tower_(ground|aerial)\\.layers\\."
CHECKPOINT = {
    "address": "a drive",
    "format": "safetensors",
    "trained_on": "CVUSA",
    "trained_on_name": "cvusa",
    "code_licence": "MIT",
    "weights_licence": "",
    "notes": "",
}
'''
NOTES = """# Lighthouse

It is [one page](pages.md#light-house).

    crossview train --method light-house --recipe cvusa --data cvusa:CVUSA --out runs/mine

## Cost

Counted by `crossview cost light-house`.
"""
TEST = '''"""What only this method has to show, and what the suites over all methods ask."""

import json

import pytest
from safetensors.torch import save_file

from crossview.catalogue import method_page
from crossview.cli import main
from crossview.cli.suggestions import suggest_methods, suggest_recipes

TINY = {"width": 4, "ground_px": (16, 64), "aerial_px": 32, "batch": 4}
RELEASES = {"cvusa": {"lr": 2e-3, "footprint_m": 50.0}}


@pytest.fixture
def theirs(tmp_path):
    page = method_page("light-house").load()
    state = page.build(page.Config()).state_dict()
    save_file({f"tower_{name}": value for name, value in state.items()}, tmp_path / "theirs.st")
    return tmp_path / "theirs.st"


def test_cost_prints_what_was_published(capsys):
    assert main(["cost", "light-house", "--recipe", "cvusa", "--no-time"]) == 0
    assert "published (its Table I): 1.25 M, 2.5 G multiply-adds" in capsys.readouterr().out


def test_its_checkpoints_are_read_and_named_to_whoever_takes_them_for_others(
    theirs, tmp_path, capsys
):
    line = [str(theirs), "--trained-on", "cvusa", "--out", str(tmp_path / "run")]
    assert main(["import", "geodtr", *line]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "look like those of Lighthouse. Try: crossview import light-house." in said
    assert main(["import", "light-house", *line]) == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert record["config"]["lr"] == 2e-3


def test_models_lists_its_published_weights(capsys):
    assert main(["models", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)["published"]}
    assert listed["Lighthouse"]["import"].startswith("crossview import light-house FILE")


def test_a_shell_completes_it():
    class Typed:
        params = {"method": "light-house"}

    assert "light-house" in suggest_methods()
    assert suggest_recipes(Typed) == ["cvusa"]
'''


def copy_repository(folder: Path) -> Path:
    for name in COPIED:
        whole, copy = ROOT / name, folder / name
        if whole.is_dir():
            shutil.copytree(whole, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(whole, copy)
    return folder


def import_directly(page: str, api: str) -> str:
    """The page with each name from where it is at home: those of the package do without ``api``."""
    imports = [node for node in ast.parse(api).body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    from_api = re.search(r"from crossview.methods.api import \((.*?)\)\n", page, re.DOTALL)
    assert from_api
    names = re.findall(r"\w+", from_api[1])
    lines = "".join(f"from {homes[name]} import {name}\n" for name in names)
    return page.replace(from_api[0], lines)


def add_three_files(root: Path, published: str) -> None:
    mine = (root / "docs" / "examples" / "mine.py").read_text(encoding="utf-8")
    api = (root / "src" / "crossview" / "methods" / "api.py").read_text(encoding="utf-8")
    page = mine.replace(mine.partition("\n")[0], '"""Lighthouse: of no paper (Nobody, NONE 2026).')
    page = page.replace("width_px=width)", "width_px=width, whole=True)")  # as papers' pages are
    page = import_directly(page, api) + PAGE.replace("PUBLISHED", published)
    (root / "src/crossview/methods/light_house.py").write_text(page, encoding="utf-8")
    (root / "docs/methods/light-house.md").write_text(NOTES, encoding="utf-8")
    (root / "tests/methods/test_light_house.py").write_text(TEST, encoding="utf-8")


def run(root: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def find_row_without_a_page() -> str:
    """The name of a method in the published tables of CVUSA that nobody has written a page of."""
    field = Field(ROOT)
    ours = {row for training in field.trainings for row in training.rows}
    (cvusa,) = (test for test in field.tests if test["title"] == "CVUSA")
    names = (row[0] for table in cvusa["tables"] for row in table["rows"] if not row[1])
    return next(name for name in names if name not in ours)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The copy with the three files; its documents are made anew."""
    root = copy_repository(tmp_path_factory.mktemp("repository"))
    add_three_files(root, find_row_without_a_page())
    told = run(root, "-m", "scripts.method_tables")
    assert sorted(line.partition(":")[0] for line in told.splitlines()) == sorted(MADE)
    return root


def test_every_table_of_the_documents_has_it(root):
    made = {name: (root / name).read_text(encoding="utf-8") for name in MADE}
    assert (
        "| `light-house` | [one page](src/crossview/methods/light_house.py), [notes]"
        in (made["README.md"])
    )
    assert "## `light-house`" in made["docs/methods/pages.md"]
    reproduction = made["docs/reproduction.md"]
    command = "crossview train --method light-house --recipe cvusa --data cvusa:CVUSA --val-share 0"
    assert (
        f"| `runs/light-house-cvusa` | `{command} --out runs/light-house-cvusa` |" in reproduction
    )
    assert "| not run | `runs/light-house-cvusa` |" in reproduction
    assert "| `light-house` | 1.25 M | 2.5 G |  | its Table I |" in reproduction


def test_every_suite_over_methods_runs_it_and_the_verbs_know_it(root):
    """Its own test there asks the verbs; the town, on which pages learn, is left to real ones."""
    own = ("test_light_house.py", "test_recipes.py", "test_closure.py")
    suites = ("contract", *(f"methods/{name}" for name in own), *DOCUMENTS)
    named = "light-house or light_house or every_run_and_a_row or navigation"
    out = run(
        root,
        *("-m", "pytest", "-p", "no:cacheprovider", "-k", f"({named}) and not town"),
        *(f"tests/{name}" for name in suites),
    )
    assert int(out.partition(" passed")[0].split()[-1]) >= 20, out
