"""Every published checkpoint through ``crossview import``, against what its authors' code gives.

Which file is for which method, what has to be said of it, and what comes of it, stands in one
table. A file that is not in the table fails the last test.
"""

import json
import shutil
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from tests.parity_weights import seeded_input, tensor
from tests.shared_data import shared
from torch.nn.functional import normalize

from crossview import catalogue
from crossview.cli import main
from crossview.training.session import build_without_weights
from crossview.training.train_state import load_weights


@dataclass(frozen=True)
class Published:
    """What ``crossview import`` is to make of a file."""

    method: str
    trained_on: str = "cvusa"
    config: tuple[str, ...] = ()  # what the file cannot show and the published settings do not say
    told: tuple[str, ...] = ()  # what the command says
    shown: dict = field(default_factory=dict)  # settings of the run
    tolerance: float = 1e-5  # of the largest value


POLAR = {"ground_px": (122, 671), "aerial_px": (122, 671), "polar": True}
PLAIN = {"ground_px": (122, 671), "aerial_px": (256, 256), "polar": False}
HEADS_ALIKE = "(the shapes are alike for any number of attention heads)"
HEADS = f"heads=4 {HEADS_ALIKE}"
L2LTR_SIZE = {"stem": 64, "blocks": (3, 4, 9), "width": 768, "hidden": 3072, "layers": 12}
V2 = (HEADS, "span=free", "squash=sigmoid")
ALIKE = "the names of their tensors are the same"
BASE = {"backbone": "convnext_base.fb_in22k_ft_in1k_384"}
TINY = {"backbone": "convnext_tiny"}
VIT = {"separate": True, "representation": "padded", "ground_px": (384, 768), "aerial_px": 384}
SAIG = {"depth": 22, "width": 384, "ground_px": (128, 512), "aerial_px": (256, 256)}
READ = {
    "congeo_convnext_base": Published("congeo", shown=BASE, told=(ALIKE,)),
    "congeo_convnext_tiny": Published("congeo", shown=TINY, told=(ALIKE,)),
    "sample4geo_convnext_base": Published("sample4geo", shown=BASE, told=(ALIKE,)),
    "sample4geo_convnext_tiny": Published("sample4geo", "vigor-same", shown=TINY, told=(ALIKE,)),
    "singeo_convnext_base": Published("singeo", shown={**BASE, "separate": False}, told=(ALIKE,)),
    "singeo_convnext_tiny": Published(
        "singeo", "cvact", shown={**TINY, "separate": False}, told=(ALIKE,)
    ),
    "singeo_vit_tiny": Published(
        "singeo",
        shown={"backbone": "vit_tiny_patch16_224", **VIT},
        told=("ground_px=[384,768] (its table has 1152 positions, in rows that are not told)",),
    ),
    "geodtr_nopolar": Published("geodtr", shown=PLAIN, told=(HEADS,), tolerance=3e-4),
    "geodtr_polar": Published("geodtr", shown=POLAR, told=(HEADS,), tolerance=3e-4),
    "geodtrplus_convnext_nopolar": Published(
        "geodtr-plus", shown=PLAIN, told=(*V2, "bottleneck=true"), tolerance=1.5e-5
    ),
    "geodtrplus_convnext_polar": Published(
        "geodtr-plus", shown=POLAR, told=(*V2, "bottleneck=true"), tolerance=1.5e-5
    ),
    "geodtrplus_convnext_vigor": Published(
        "geodtr-plus",
        "vigor-cross",
        shown={"ground_px": (320, 640), "aerial_px": (320, 320), "polar": False},
        told=(*V2, "bottleneck=true"),
        tolerance=1.5e-5,
    ),
    "geodtrplus_resnet_polar_nobottleneck": Published(
        "geodtr-plus",
        config=("bottleneck=false",),
        shown={**POLAR, "backbone": "resnet34.tv_in1k", "bottleneck": False},
        told=(*V2, "490 of 498 tensors; these settings do not use the others"),
        tolerance=1.5e-5,
    ),
    "l2ltr_polar": Published(
        "l2ltr",
        "cvact",
        shown={**L2LTR_SIZE, "aerial_px": (128, 512), "polar": True},
        told=(f"heads=12 {HEADS_ALIKE}", "polar=true (the tables of 128 x 512 and of 256 x 256"),
        tolerance=4.7e-5,  # ten times what the authors' 32 bits are from their 64
    ),
    "saig_d_gap_cvusa": Published(
        "saig-d",
        shown={**SAIG, "head": "gap"},
        told=(f"heads=12 {HEADS_ALIKE}", "polar=false (unrolled pictures have as many positions"),
    ),
    "saig_d_smd_cvusa": Published("saig-d", shown={**SAIG, "head": "smd", "rows": 8}),
    "saig_d_smd_vigor": Published(
        "saig-d",
        "vigor-same",
        shown={**SAIG, "head": "smd", "ground_px": (320, 640), "aerial_px": (320, 320)},
    ),
}
WITHOUT_OUTPUTS = {  # or whose outputs are compared with those of the same weights above
    "l2ltr_nopolar": Published(
        "l2ltr",
        "cvusa-plain",
        shown={**L2LTR_SIZE, "aerial_px": (256, 256), "polar": False},
        told=(f"heads=12 {HEADS_ALIKE}", "polar=false (the tables of 128 x 512 and of 256 x 256"),
    ),
    "singeo_vit_base": Published("singeo", shown={"backbone": "vit_base_patch16_224", **VIT}),
}
NO_PAGE = "crossview cannot read those yet"
OTHERS = {  # of other methods: whose they are
    "statewide_nomassgis": "Statewide Visual Geolocalization",
    "transgeo_cvusa_stage1": "TransGeo",
    "transgeo_cvusa_stage2_res320": "TransGeo",
    "transgeo_vigor_stage1": "TransGeo",
}


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


def imported(folder, name, published, *, filled, config=None):
    """The exit status of the command, and its run folder."""
    file = checkpoint_file(folder / "theirs.pth", name, filled=filled)
    line = ["import", published.method, str(file), "--trained-on", published.trained_on]
    for setting in published.config if config is None else config:
        line += ["--config", setting]
    status = main([*line, "--out", str(folder / "run")])
    file.unlink()
    return status, folder / "run"


def outputs(name):
    """The arrays that the authors' code gave, by quantity."""
    data = np.load(shared("parity", f"{name.split('_')[0]}.npz"))
    start = f"{name}/"
    return {key.removeprefix(start): data[key] for key in data.files if key.startswith(start)}


def assert_close(ours, theirs, tolerance):
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def assert_layout(model, arrays, tolerance):
    """GeoDTR and GeoDTR+: the maps of the backbones, the masks, the embeddings."""
    for view in ("ground", "aerial"):
        layout = getattr(model, view).layout(seeded_input(arrays[f"input_{view}_seed_then_shape"]))
        maps = layout.features[0, :8].reshape(8, *layout.size)
        assert_close(maps, arrays[f"backbone_{view}_sample0_first8"], 1.5e-5)
        assert_close(layout.masks, arrays[f"descriptor_{view}"], tolerance)
        assert_close(layout.vector, arrays[f"embedding_{view}"], tolerance)


def assert_features(model, arrays, tolerance):
    """Sample4Geo, ConGeo and SinGeo: the features of all views, at length 1."""
    names = [key for key in arrays if key.startswith("feature_") and "__" not in key]
    assert names
    for name in names:
        view = name.removeprefix("feature_")
        images = seeded_input(arrays[f"input_{view}_seed_then_shape"])
        branch = model.aerial if view.startswith(("r", "satellite")) else model.ground
        rounding = 10 * float(arrays.get(f"{name}__fp32_rounding", 0.0))
        theirs = normalize(torch.tensor(arrays[name]), dim=1)
        assert_close(branch(images), theirs, max(tolerance, rounding))


def assert_embeddings(model, arrays, tolerance):
    """L2LTR and SAIG: the embeddings, which the fixture has at length 1."""
    for view in ("ground", "aerial"):
        ours = getattr(model, view)(seeded_input(arrays[f"input_{view}_seed_then_shape"]))
        assert_close(ours, arrays[f"embedding_{view}"], tolerance)


def assert_both_settings(model, arrays, tolerance):
    """L2LTR: the fixture's plain weights are its polar ones, for pictures of another shape."""
    assert_embeddings(model, arrays, tolerance)
    page = catalogue.method_page("l2ltr").load()
    plain = page.build(page.Config(weights="none", polar=False, aerial_px=(256, 256)))
    plain.load_state_dict(model.state_dict())
    assert_embeddings(plain.eval(), outputs("l2ltr_nopolar"), tolerance)


CHECKS = {
    "geodtr": assert_layout,
    "geodtr-plus": assert_layout,
    "l2ltr": assert_both_settings,
    "saig-d": assert_embeddings,
}


@pytest.mark.parametrize("name", READ)
def test_import_gives_the_authors_embeddings(tmp_path, capsys, name):
    published, arrays = READ[name], outputs(name)
    status, folder = imported(tmp_path, name, published, filled=True)
    said = " ".join(capsys.readouterr().err.split())
    assert status == 0, said
    assert [text for text in published.told if text not in said] == []
    run = catalogue.open_run(folder)
    assert {key: getattr(run.config, key) for key in published.shown} == published.shown
    model = build_without_weights(run.page, run.config)
    load_weights(model, run.folder.weights)
    shutil.rmtree(folder)
    with torch.no_grad():
        CHECKS.get(published.method, assert_features)(model.eval(), arrays, published.tolerance)


def test_what_no_file_shows_is_assumed_aloud_and_can_be_said(tmp_path, capsys):
    name = "geodtrplus_resnet_polar_nobottleneck"
    status, _ = imported(tmp_path, name, READ[name], filled=False, config=())
    said = " ".join(capsys.readouterr().err.split())
    assert status == 0
    assert "bottleneck=true (its tensors are there whether it was on or off)" in said
    assert "Change them with --config NAME=VALUE" in said


@pytest.mark.parametrize("name", WITHOUT_OUTPUTS)
def test_import_finds_a_place_for_every_tensor(tmp_path, name):
    status, folder = imported(tmp_path, name, WITHOUT_OUTPUTS[name], filled=False)
    assert status == 0
    config = catalogue.open_run(folder).config
    shown = WITHOUT_OUTPUTS[name].shown
    assert {key: getattr(config, key) for key in shown} == shown
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", OTHERS)
def test_another_methods_file_is_named(tmp_path, capsys, name):
    status, folder = imported(tmp_path, name, Published("geodtr-plus"), filled=False)
    said = " ".join(capsys.readouterr().err.split())
    assert status == 1
    page = {"statewide": "statewide", "transgeo": "transgeo"}.get(name.partition("_")[0])
    advice = f"Try: crossview import {page}" if page else NO_PAGE
    assert f"tensors look like those of {OTHERS[name]}. {advice}" in said
    assert not folder.exists()


def test_the_table_names_every_published_checkpoint():
    folder = shared("parity", "checkpoints")
    assert {file.stem for file in folder.glob("*.json")} == {*READ, *WITHOUT_OUTPUTS, *OTHERS}
