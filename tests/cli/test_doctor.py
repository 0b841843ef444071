"""The doctor tells what is there, and fails when something required is not."""

from __future__ import annotations

import importlib
import json
from importlib import metadata

import pytest

from crossview.cli import doctor, main
from crossview.errors import BadModel


@pytest.fixture
def healthy_model(monkeypatch):
    town = {"name": "town", "fingerprint": "ab" * 32}
    monkeypatch.setattr(doctor, "_find_models", lambda: iter([town]))


@pytest.fixture
def only_numpy(monkeypatch, healthy_model):
    numpy = doctor.Package("numpy", "required", "2.0")
    monkeypatch.setattr(doctor, "_list_requirements", lambda: iter([numpy]))


@pytest.mark.usefixtures("only_numpy")
def test_a_healthy_installation_is_exit_code_0_and_prints_the_fingerprint(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert metadata.version("numpy") in printed
    assert "ab" * 32 in printed
    assert printed.endswith("Everything that is installed works together.\n")


@pytest.mark.usefixtures("only_numpy")
def test_json_holds_the_same(capsys):
    assert main(["doctor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["packages"][0]["name"] == "numpy"
    assert printed["problems"] == []


def test_every_dependency_is_examine_package_and_the_builders_tools_are_not():
    wanted = {p.name: p for p in doctor._list_requirements()}
    assert wanted["onnxruntime"].group == "required"
    assert (wanted["torch"].group, wanted["torch"].least) == ("train", "2.11")
    assert "pytest" not in wanted


@pytest.mark.parametrize(("group", "is_problem"), [("required", True), ("train", False)])
def test_only_a_required_package_must_be_there(group, is_problem):
    missing = doctor._examine_package(doctor.Package("no-such-package-here", group, "1.0"))
    assert missing.version is None
    assert bool(missing.problem) == is_problem


def test_a_package_that_is_too_old_is_named_with_what_is_needed():
    old = doctor._examine_package(doctor.Package("numpy", "required", "99.0"))
    assert "is too old: 99.0 or newer" in str(old.problem)


def test_a_torchvision_of_another_torch_is_one_clear_line(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nmore\nlines")

    monkeypatch.setattr(importlib, "import_module", broken)
    problem = str(doctor._try_import("torchvision", "0.1"))
    assert problem.startswith("torchvision 0.1 does not work with torch ")
    assert "\n" not in problem


@pytest.mark.usefixtures("only_numpy")
def test_a_missing_packaged_model_is_a_problem(monkeypatch, capsys):
    gone = {"name": "town", "problem": "town is gone"}
    monkeypatch.setattr(doctor, "_find_models", lambda: iter([gone]))
    assert main(["doctor"]) == 1
    assert "Problem: town is gone" in capsys.readouterr().out


def test_a_model_that_cannot_be_resolved_is_reported_and_not_raised(monkeypatch):
    models = importlib.import_module("crossview.model")

    def unresolved(name: str) -> None:
        raise BadModel("no folder\nsecond line")

    monkeypatch.setattr(models, "resolve_model", unresolved)
    town = next(iter(doctor._find_models()))
    assert town["problem"] == "The packaged model 'town' cannot be used: no folder"


@pytest.mark.usefixtures("packaged_models")
def test_every_packaged_model_is_listed_with_what_it_was_trained_on():
    listed = {model["name"]: model for model in doctor._find_models()}
    assert set(listed) == {"earth", "town"}
    assert listed["earth"]["trained on"] == "orthophotos of the tests"
    assert len(listed["earth"]["fingerprint"]) == 64


def test_the_model_of_the_demo_must_be_there_and_a_damaged_one_is_told(packaged_models):
    (packaged_models / "earth" / "model.onnx").write_bytes(b"cut")
    (packaged_models / "town" / "model.json").unlink()
    town, earth = doctor._find_models()
    assert "'town' cannot be used" in town["problem"]
    assert "'earth' cannot be used" in earth["problem"]
