import argparse
import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch
import torchvision
from tests.shared_data import shared
from tests.tiny_pairs import write_pairs

from crossview.catalogue import find_trained_on, method_page, open_run, recipes
from crossview.cli import main
from crossview.errors import BadModel, InUse, InvalidValue
from crossview.methods import geodtr, geodtr_plus
from crossview.training.contract import count_copies, example_batch
from crossview.training.import_weights import convert_tensors, read_checkpoint, write_run
from crossview.training.run_folder import RunFolder


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
    tensors = convert_tensors(Page, read_checkpoint(file), Config())
    assert torch.equal(tensors["weight"], weight)


def test_a_wrong_shape_is_named_with_the_settings_that_would_fit(tmp_path):
    file = saved(tmp_path / "a.pth", {"theirs": torch.rand(6, 3)})
    with pytest.raises(BadModel) as raised:
        convert_tensors(Page, read_checkpoint(file), Config())
    assert "weight is [6, 3] there and [4, 3] here" in str(raised.value)
    assert "--config descriptors=6" in str(raised.value)


def test_missing_and_left_over_tensors_are_named(tmp_path):
    file = saved(tmp_path / "a.pth", {"theirs": torch.rand(4, 3), "more": torch.rand(1)})
    with pytest.raises(BadModel, match="1 tensors are left over, such as more"):
        convert_tensors(Page, read_checkpoint(file), Config())
    file = saved(tmp_path / "b.pth", {"other": torch.rand(4, 3)})
    with pytest.raises(BadModel, match="1 tensors are missing, such as weight"):
        convert_tensors(Page, read_checkpoint(file), Config())


def test_code_inside_a_file_never_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    file = saved(tmp_path / "evil.pth", {"theirs": Evil()})
    with pytest.raises(BadModel, match="cannot be read weights-only: it asks to run .*open"):
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
        assert page.views(config).aerial.polar == (
            not name.endswith("plain") and "vigor" not in name
        )


def authors_state(configuration):
    """The tensors of a checkpoint by the authors' names and shapes, all zeros, in no space."""
    listed = json.loads(shared("parity", "checkpoints", f"{configuration}.json").read_text())
    (section,) = listed["sections"].values()
    return {
        key.removeprefix("module."): torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
        for key, shape, dtype in section["entries"]
    }


def authors_file(folder, configuration):
    """A checkpoint as the authors' script saves it."""
    state = {f"module.{name}": value for name, value in authors_state(configuration).items()}
    return saved(folder / "theirs.pth", {"epoch": 1, "model_state_dict": state})


def importing(folder, method, values, *more, trained_on="cvusa"):
    """The exit status of the command, and the settings of the run that it wrote."""
    file = saved(folder / "theirs.pth", values)
    out = folder / "run"
    status = main(
        ["import", method, str(file), "--trained-on", trained_on, "--out", str(out), *more]
    )
    return status, RunFolder(out).config()["config"] if status == 0 else None


def said_by(capsys):
    return " ".join(capsys.readouterr().err.split())


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
    assert main(line) == 0  # the same, whole already: killed at its end, it has nothing to do
    other = shutil.copy(file, tmp_path / "other.pth")
    assert main(["import", "geodtr-plus", str(other), *line[3:]]) == 2  # not empty any more
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
    seen = find_trained_on("sample4geo", f"PAIRS:{csv}")
    assert (seen.name, seen.framing.footprint_m) == (f"pairs:{csv}", 80.0)
    assert seen.framing.file_elevation_deg == (-90.0, 90.0)
    assert find_trained_on("sample4geo", "Town").synthetic


def test_a_recipe_without_a_data_set_of_its_name_stands_for_one():
    assert find_trained_on("geodtr-plus", "CVUSA-plain").name == "cvusa"
    assert find_trained_on("singeo", "cvusa-vit").framing.footprint_m == 176.0
    assert find_trained_on("singeo", "university").name == "university-1652"
    assert find_trained_on("geodtr-plus", "vigor").name == "vigor"
    assert find_trained_on("safa", "university-1652").published is None


def test_layers_are_read_from_the_keys_and_heads_are_yours_to_say(tmp_path, capsys):
    state = authors_state("geodtr_polar")
    one = {name: value for name, value in state.items() if "encoder.layers.1." not in name}
    status, config = importing(tmp_path, "geodtr", one, "--config", "heads=3")
    assert (status, config["layers"], config["heads"]) == (0, 1, 3)
    assert "heads=" not in said_by(capsys)  # nothing is assumed of what was said


def test_heads_that_cannot_be_are_refused_with_those_that_can(tmp_path, capsys):
    state = authors_state("geodtr_polar")
    status, _ = importing(tmp_path, "geodtr", state, "--config", "heads=5")
    assert status == 2
    assert "Choose other heads (1, 2, 3, 4, 6, 7, 8, 12, 14)" in said_by(capsys)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("span=orthogonal", 'expected "free" or "normalised" or "orthogonalised"'),
        ("squash=relu", 'expected "sigmoid" or "hardtanh"'),
    ],
)
def test_settings_that_no_file_shows_are_checked(tmp_path, capsys, settings, complaint):
    state = authors_state("geodtrplus_convnext_polar")
    status, _ = importing(tmp_path, "geodtr-plus", state, "--config", settings)
    assert status == 2
    assert complaint in said_by(capsys)


@pytest.mark.parametrize("offset", [0.1, 0.0987])  # weight decay shrinks it
def test_a_bottleneck_that_never_learned_was_off(tmp_path, capsys, offset):
    state = authors_state("geodtrplus_convnext_polar")
    for name in ("GLE_grd.b1", "GLE_grd.b2", "GLE_sat.b1", "GLE_sat.b2"):
        state[name] = torch.full(state[name].shape, offset)
    status, config = importing(tmp_path, "geodtr-plus", state)
    assert (status, config["bottleneck"]) == (0, False)
    said = said_by(capsys)
    assert "352 of 360 tensors; these settings do not use the others" in said
    assert "bottleneck=false" in said.partition("Read from them")[2]


def test_what_was_assumed_stands_in_the_notes(tmp_path):
    state = authors_state("geodtrplus_convnext_polar")
    assert importing(tmp_path, "geodtr-plus", state, "--config", "bottleneck=true")[0] == 0
    notes = RunFolder(tmp_path / "run").info()["notes"]
    assert "not shown by that file, and assumed: heads=4, span=free, squash=sigmoid" in notes
    assert "bottleneck" not in notes


def resized(state, positions):
    """GLE v2's tensors for maps with other numbers of positions."""
    return {
        name: torch.zeros(()).expand([positions.get(side, side) for side in value.shape])
        if name.startswith("GLE")
        else value
        for name, value in state.items()
    }


def test_pictures_of_other_sizes_are_asked_for_with_sizes_that_fit(tmp_path, capsys):
    state = resized(authors_state("geodtrplus_convnext_polar"), {287: 150, 143: 75})
    status, _ = importing(tmp_path, "geodtr-plus", state)
    assert status == 1
    said = said_by(capsys)
    assert "ground_px, aerial_px (its masks have 150 positions" in said
    assert "perhaps [160,240] or [96,400] or [80,480])" in said
    sizes = ["--config", "ground_px=[160,240]", "--config", "aerial_px=[160,240]"]
    status, config = importing(tmp_path, "geodtr-plus", state, *sizes)
    assert (status, config["ground_px"]) == (0, [160, 240])


@pytest.mark.parametrize(
    ("positions", "ground_px"), [(2 * 14 * 14, [224, 448]), (16 * 16, [256, 256])]
)
def test_a_transformers_table_tells_the_size_of_its_pictures(tmp_path, positions, ground_px):
    state = authors_state("singeo_vit_tiny")
    state["model_q.pos_embed"] = torch.zeros(1, 1 + positions, 192)
    state["model_r.pos_embed"] = torch.zeros(1, 1 + 196, 192)
    status, config = importing(tmp_path, "singeo", state)
    assert (status, config["ground_px"], config["aerial_px"]) == (0, ground_px, 224)


def test_a_table_that_fits_many_sizes_is_asked_about(tmp_path, capsys):
    state = authors_state("singeo_vit_tiny")
    state["model_q.pos_embed"] = torch.zeros(1, 1 + 14 * 70, 192)
    status, _ = importing(tmp_path, "singeo", state)
    assert status == 1
    assert "ground_px (its table has 980 positions of 16: perhaps [448,560]" in said_by(capsys)
    status, config = importing(tmp_path, "singeo", state, "--config", "ground_px=[224,1120]")
    assert (status, config["ground_px"]) == (0, [224, 1120])


@pytest.mark.parametrize(
    ("method", "configuration", "advice"),
    [
        ("geodtr-plus", "geodtr_polar", "look like those of GeoDTR. Try: crossview import geodtr."),
        ("geodtr", "geodtrplus_convnext_polar", "those of GeoDTR+. Try: crossview import geodtr-p"),
        ("geodtr", "singeo_convnext_tiny", "Sample4Geo or SinGeo. Try: crossview import congeo, "),
    ],
)
def test_a_file_of_another_method_names_its_command(
    tmp_path, capsys, method, configuration, advice
):
    status, _ = importing(tmp_path, method, authors_state(configuration))
    assert status == 1
    assert advice in said_by(capsys)
    assert not (tmp_path / "run").exists()


def test_lightnings_prefix_and_what_it_keeps_beside(tmp_path, capsys):
    state = {f"model.{name}": v for name, v in authors_state("geodtrplus_convnext_polar").items()}
    values = {
        "state_dict": state,
        "hyper_parameters": argparse.Namespace(lr=0.1),
        "callbacks": {"best": {"score": torch.ones(1)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(1)}}}],
    }
    assert importing(tmp_path, "geodtr-plus", values)[0] == 0
    said = said_by(capsys)
    assert "360 tensors, all of them, below state_dict" in said
    assert "Ignored, because they are not tensors: argparse.Namespace" in said


def test_an_average_can_be_chosen(tmp_path, capsys):
    state = authors_state("geodtrplus_convnext_polar")
    values = {"model": state, "model_ema": state}
    assert importing(tmp_path, "geodtr-plus", values)[0] == 0
    assert "The file also holds model_ema, with as many tensors: --entry model_ema" in said_by(
        capsys
    )
    shutil.rmtree(tmp_path / "run")
    assert importing(tmp_path, "geodtr-plus", values, "--entry", "model_ema")[0] == 0
    assert "below model_ema" in said_by(capsys)
    shutil.rmtree(tmp_path / "run")
    assert importing(tmp_path, "geodtr-plus", values, "--entry", "swa")[0] == 2
    assert "Entries with tensors: model, model_ema" in said_by(capsys)


def test_halves_are_converted_and_values_that_are_no_numbers_refused(tmp_path, capsys):
    state = authors_state("geodtrplus_convnext_polar")
    halves = {name: value.half() for name, value in state.items()}
    assert importing(tmp_path, "geodtr-plus", halves)[0] == 0
    assert "stored as float16" in said_by(capsys)
    shutil.rmtree(tmp_path / "run")
    state["GLE_grd.pointwise.bias"] = torch.full((8,), torch.nan)
    assert importing(tmp_path, "geodtr-plus", state)[0] == 1
    assert "ground.generator.pointwise.bias holds 8 values that are no finite" in said_by(capsys)
    assert not (tmp_path / "run").exists()


KILLED = """
import os, signal, sys
import torch
from crossview import files
from crossview.training import import_weights

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "while the weights are written":
    import_weights.save_weights = die
elif sys.argv[2] == "before it gets its name":
    files.replace_folder = die
weights = {"w": torch.zeros(4)}
import_weights.write_run(import_weights.Path(sys.argv[1]), {"method": "m"}, {"notes": ""}, weights)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_import_leaves_no_run_and_is_swept_by_the_next(tmp_path):
    for instant in ("while the weights are written", "before it gets its name"):
        line = [sys.executable, "-c", KILLED, str(tmp_path / "run"), instant]
        assert subprocess.run(line, check=False).returncode == -signal.SIGKILL
        assert not (tmp_path / "run").exists()
    write_run(tmp_path / "run", {"method": "m"}, {"notes": ""}, {"w": torch.zeros(4)})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "info.json",
        "model.safetensors",
    ]


def test_a_second_import_into_one_folder_is_refused(tmp_path):
    held = "import sys\nfrom crossview.locks import lock\n"
    held += "with lock(sys.argv[1], 'crossview import'): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(tmp_path / "run")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.readline()
        with pytest.raises(InUse, match="written by another process: crossview import"):
            write_run(tmp_path / "run", {}, {}, {"w": torch.zeros(1)})
        process.communicate(b"\n")
    assert not (tmp_path / "run").exists()


def test_a_training_starts_from_torchvisions_weights(tmp_path):
    torch.manual_seed(0)
    for name, page, ours in (
        ("convnext_tiny", geodtr_plus, "stages.stage3.blocks.8.mlp.fc2.weight"),
        ("resnet34", geodtr, "stages.layer4.2.conv2.weight"),
    ):
        network = getattr(torchvision.models, name)()
        file = saved(tmp_path / f"{name}.pth", network.state_dict())
        config = page.Config(weights=str(file), ground_px=(32, 64), aerial_px=(32, 64))
        made = page.build(config)
        theirs = [v for v in network.state_dict().values() if v.shape == _weight(made, ours).shape]
        assert any(torch.equal(_weight(made, ours), value) for value in theirs)
        batch = example_batch(page.views(config), torch.device("cpu"), count_copies(page, config))
        assert all(bool(v.isfinite()) for v in page.objective(made, batch, config).values())


def _weight(model, name):
    return model.ground.trunk.state_dict()[name]
