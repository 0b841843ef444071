"""Every published checkpoint through ``crossview import``, against what its authors' code gives.

Which files are for a method, what has to be said of each, and what comes of it, stands in the table
``CHECKPOINTS`` of the method's own test. A file that is in no table fails the last test.
"""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from tests.contract.settings import ask
from tests.methods.checkpoints import Published, Undrawn, outputs
from tests.parity_weights import tensor
from tests.shared_data import shared

from crossview import catalogue
from crossview.cli import main
from crossview.training.session import build_without_weights
from crossview.training.train_state import load_weights

TABLES = {method: ask(method, "CHECKPOINTS") for method in catalogue.METHODS}
FILES = [(method, file) for method, table in TABLES.items() for file in table]
READ = [(method, file) for method, file in FILES if TABLES[method][file] is not None]
WITH_OUTPUTS = [(method, file) for method, file in READ if TABLES[method][file].check]
OTHER = {"geodtr-plus": "l2ltr"}  # a method that a file is not of; for all others geodtr-plus


def listing(name):
    return json.loads(shared("parity", "checkpoints", f"{name}.json").read_text(encoding="utf-8"))


def section_of(entries, prefix, filled):
    """Tensors by their published values, or of their shapes in no space on the disk."""
    if filled:
        return {key: tensor(shape, kind, prefix + key) for key, shape, kind in entries}
    return {
        key: torch.zeros((), dtype=getattr(torch, kind)).expand(shape)
        for key, shape, kind in entries
    }


def checkpoint_file(path, name, *, filled):
    """The checkpoint as the authors' training script saves it, with what it saves beside."""
    sections = {
        place: section_of(section["entries"], section["fill_prefix"], filled)
        for place, section in listing(name)["sections"].items()
    }
    beside = {
        "epoch": 3,
        "best_acc1": np.float64(0.9),
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []},
    }
    torch.save(sections.get("", {**sections, **beside}), path)
    return path


def imported(folder, method, name, published, *, filled, config=None):
    """The exit status of the command, and its run folder."""
    file = checkpoint_file(folder / "theirs.pth", name, filled=filled)
    line = ["import", method, str(file), "--trained-on", published.trained_on]
    for setting in published.config if config is None else config:
        line += ["--config", setting]
    status = main([*line, "--out", str(folder / "run")])
    file.unlink()
    return status, folder / "run"


@pytest.mark.parametrize(("method", "name"), WITH_OUTPUTS)
def test_import_gives_the_authors_embeddings(tmp_path, capsys, method, name):
    published, arrays = TABLES[method][name], outputs(name)
    status, folder = imported(tmp_path, method, name, published, filled=True)
    said = " ".join(capsys.readouterr().err.split())
    assert status == 0, said
    assert [text for text in published.told if text not in said] == []
    run = catalogue.open_run(folder)
    assert {key: getattr(run.config, key) for key in published.shown} == published.shown
    with Undrawn():
        model = build_without_weights(run.page, run.config)
    load_weights(model, run.folder.weights)
    shutil.rmtree(folder)
    with torch.no_grad():
        published.check(model.eval(), arrays, published.tolerance)


def test_what_no_file_shows_is_assumed_aloud_and_can_be_said(tmp_path, capsys):
    method, name = "geodtr-plus", "geodtrplus_resnet_polar_nobottleneck"
    published = TABLES[method][name]
    status, _ = imported(tmp_path, method, name, published, filled=False, config=())
    said = " ".join(capsys.readouterr().err.split())
    assert status == 0
    assert "bottleneck=true (its tensors are there whether it was on or off)" in said
    assert "Change them with --config NAME=VALUE" in said


@pytest.mark.parametrize(("method", "name"), [pair for pair in READ if pair not in WITH_OUTPUTS])
def test_import_finds_a_place_for_every_tensor(tmp_path, method, name):
    published = TABLES[method][name]
    status, folder = imported(tmp_path, method, name, published, filled=False)
    assert status == 0
    config = catalogue.open_run(folder).config
    assert {key: getattr(config, key) for key in published.shown} == published.shown
    shutil.rmtree(folder)


@pytest.mark.parametrize(("method", "name"), FILES)
def test_another_methods_file_is_named(tmp_path, capsys, method, name):
    given = OTHER.get(method, "geodtr-plus")
    status, folder = imported(tmp_path, given, name, Published(), filled=False)
    said = " ".join(capsys.readouterr().err.split())
    assert status == 1
    assert "tensors look like those of " in said
    told = said.partition("tensors look like those of ")[2]
    name_of_paper = catalogue.method_page(method).read_title().partition(":")[0]
    assert name_of_paper in re.split(r", | or ", told.partition(". Try:")[0])
    assert method in re.split(r", | or ", told.partition("crossview import ")[2].rstrip("."))
    assert not folder.exists()


def test_the_tables_name_every_published_checkpoint_once():
    folder = shared("parity", "checkpoints")
    assert sorted(file.stem for file in folder.glob("*.json")) == sorted(f for _, f in FILES)
