import json

import pytest
import torch
from tests.shared_data import shared
from tests.tiny_pairs import write_pairs

from crossview.cli import main
from crossview.errors import BadModel, InvalidValue
from crossview.training.importing import our_tensors, read_checkpoint
from crossview.training.run import RunFolder
from crossview.wiring import method_page, open_run, recipes, trained_on


class Page:
    """A method whose authors call the one weight ``theirs``."""

    @staticmethod
    def build(config):
        return torch.nn.Linear(3, config.descriptors, bias=False)

    @staticmethod
    def imported(state, config):
        return {"weight" if k == "theirs" else k: v for k, v in state.items()}

    @staticmethod
    def shown(state):
        return {"descriptors": len(state["theirs"])}


class Config:
    descriptors = 4


Config.__dataclass_fields__ = {}


def saved(path, values):
    torch.save(values, path)
    return path


def test_nested_and_wrapped_tensors_are_found(tmp_path):
    weight = torch.rand(4, 3)
    file = saved(
        tmp_path / "a.pth",
        {"epoch": 3, "model_state_dict": {"module.theirs": weight}, "optimizer_state_dict": {}},
    )
    tensors = our_tensors(Page, read_checkpoint(file), Config())
    assert torch.equal(tensors["weight"], weight)


def test_a_wrong_shape_is_named_with_the_settings_that_would_fit(tmp_path):
    file = saved(tmp_path / "a.pth", {"theirs": torch.rand(6, 3)})
    with pytest.raises(BadModel) as raised:
        our_tensors(Page, read_checkpoint(file), Config())
    assert "weight is [6, 3] there and [4, 3] here" in str(raised.value)
    assert "--config descriptors=6" in str(raised.value)


def test_missing_and_left_over_tensors_are_named(tmp_path):
    file = saved(tmp_path / "a.pth", {"theirs": torch.rand(4, 3), "more": torch.rand(1)})
    with pytest.raises(BadModel, match="1 tensors are left over, such as more"):
        our_tensors(Page, read_checkpoint(file), Config())
    file = saved(tmp_path / "b.pth", {"other": torch.rand(4, 3)})
    with pytest.raises(BadModel, match="1 tensors are missing, such as weight"):
        our_tensors(Page, read_checkpoint(file), Config())


def test_code_inside_a_file_never_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    file = saved(tmp_path / "evil.pth", {"theirs": Evil()})
    with pytest.raises(BadModel, match="cannot be read weights-only"):
        read_checkpoint(file)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("values", [{"epoch": 3}, [1, 2]])
def test_a_file_without_tensors_is_refused(tmp_path, values):
    with pytest.raises(BadModel, match="holds no named tensors"):
        read_checkpoint(saved(tmp_path / "a.pth", values))


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(InvalidValue, match="No checkpoint at"):
        read_checkpoint(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("method", ["geodtr", "geodtr-plus", "safa"])
def test_published_settings_are_settings_of_the_method(method):
    page = method_page(method).load()
    for name, settings in recipes(method).items():
        config = page.Config(**settings)
        assert page.views(config).aerial.polar == (not name.endswith("plain") and name != "vigor")


def authors_file(folder, configuration):
    """A checkpoint of the authors' shapes, all zeros."""
    listed = json.loads(shared("parity", "checkpoints", f"{configuration}.json").read_text())
    (section,) = listed["sections"].values()
    state = {
        key: torch.zeros(shape, dtype=getattr(torch, dtype))
        for key, shape, dtype in section["entries"]
    }
    return saved(folder / "theirs.pth", {"epoch": 1, "model_state_dict": state})


def test_the_command_writes_a_run_that_says_what_the_weights_saw(tmp_path, capsys):
    file = authors_file(tmp_path, "geodtrplus_convnext_vigor")
    out = tmp_path / "run"
    line = ["import", "geodtr-plus", str(file), "--trained-on", "vigor-cross", "--out", str(out)]
    assert main(line) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "360 tensors, all of them" in said
    assert "panoramas of 640 x 320 pixels, 360 degrees wide, headings aligned" in said
    assert "320 x 320 pixels, 71 m across" in said
    run = RunFolder(out)
    assert run.config()["config"]["sampling"] == "aerial-first"
    assert run.info()["training_data"] == "vigor-cross"
    assert run.weights.is_file()
    assert main(line) == 2  # not empty any more
    assert main([*line[:-1], str(tmp_path / "b"), "--config", "descriptors=6"]) == 1
    said = capsys.readouterr().err
    assert "--config descriptors=8" in said


@pytest.mark.parametrize(
    ("trained_on", "name", "words"),
    [
        ("CVUSA", "cvusa", "-32.7 to 32.7 degrees up; aerial views of 384 x 384 pixels, 176 m"),
        ("cvact", "cvact", "-90 to 90 degrees up; aerial views of 384 x 384 pixels, 146 m"),
        ("Vigor-Same", "vigor-same", "768 x 384 pixels, 360 degrees wide, headings aligned, -90"),
        ("university-1652", "university-1652", "of unknown elevation; aerial"),
    ],
)
def test_metres_and_angles_are_those_of_the_data_that_the_weights_saw(
    tmp_path, capsys, trained_on, name, words
):
    file = authors_file(tmp_path, "sample4geo_convnext_tiny")
    out, tiny = tmp_path / "run", "--config=backbone=convnext_tiny.fb_in22k_ft_in1k_384"
    line = ["import", "Sample4Geo", str(file), "--trained-on", trained_on, "--out", str(out)]
    assert main([*line, tiny]) == 0
    assert words in " ".join(capsys.readouterr().err.split())
    run = RunFolder(out)
    assert run.info()["training_data"] == run.config()["data"] == name
    assert run.config()["method"] == "sample4geo"
    assert run.config()["framing"]["footprint_m"] == open_run(out).views.aerial.footprint_m
    assert run.config()["framing"]["keep_rows"] == [0.0, 1.0]


@pytest.mark.parametrize("name", ["CVUSB", "my own pictures", "vigor", "cvusa-vit"])
def test_weights_of_data_that_nobody_knows_are_refused_with_the_names(tmp_path, capsys, name):
    file = authors_file(tmp_path, "geodtrplus_convnext_vigor")
    line = [
        "import",
        "geodtr-plus",
        str(file),
        "--trained-on",
        name,
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(line) == (0 if name == "vigor" else 2)
    said = " ".join(capsys.readouterr().err.split())
    assert name == "vigor" or ("Unknown data set" in said and "cvact, cvact-plain, cvusa" in said)
    assert (tmp_path / "run").exists() == (name == "vigor")


def test_weights_of_ones_own_pairs_take_metres_and_angles_from_the_table(tmp_path):
    csv = write_pairs(tmp_path / "data", 3)  # aerial pictures of 64 x 1.25 m, panoramas of 2 : 1
    seen = trained_on("sample4geo", f"PAIRS:{csv}")
    assert (seen.name, seen.framing.footprint_m) == (f"pairs:{csv}", 80.0)
    assert seen.framing.file_elevation_deg == (-90.0, 90.0)
    assert trained_on("sample4geo", "Town").synthetic


def test_a_recipe_without_a_data_set_of_its_name_stands_for_one():
    assert trained_on("geodtr-plus", "CVUSA-plain").name == "cvusa"
    assert trained_on("singeo", "cvusa-vit").framing.footprint_m == 176.0
    assert trained_on("singeo", "university").name == "university-1652"
    assert trained_on("geodtr-plus", "vigor").name == "vigor"
    assert trained_on("safa", "university-1652").published is None
