"""Statewide (Fervers et al.): the authors' numbers, their checkpoint, and a narrow one in use."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import asdict

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.transform import from_origin
from safetensors.torch import save_file
from tests.shared_data import shared

from crossview import cli
from crossview.catalogue import list_known_networks, method_page
from crossview.errors import BadModel, InvalidValue
from crossview.index.store import Index
from crossview.methods import statewide
from crossview.model import read_info
from crossview.training.contract import check_branches, require_trainable
from crossview.training.import_weights import convert_tensors, read_checkpoint
from crossview.views.aerial import make_aerial_view
from crossview.views.ground import make_ground_view
from crossview.views.spec import ViewSpec

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_convnext",
    "heads": 4,
    "channels": 64,
    "ground_px": (64, 96),
    "aerial_px": 64,
    "metres_per_px": (0.2, 0.4),
}
LEARNING = {"metres_per_px": (0.5, 1.0)}
CHECKPOINTS = {
    "statewide_nomassgis": None,
}
NARROW = statewide.Config(
    backbone="test_convnext",
    heads=4,
    channels=64,
    ground_px=(64, 96),
    aerial_px=64,
    metres_per_px=(0.2, 0.4),
)


def call(*words):
    """A command line in this process; it must succeed."""
    assert cli.main(list(words)) == 0


def write_town(path):
    """120 m of seeded ground at 0.2 m per pixel, in UTM."""
    coarse = np.random.default_rng(2).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    pixels = np.moveaxis(coarse.repeat(10, 0).repeat(10, 1), 2, 0)
    place = {"crs": "EPSG:25832", "transform": from_origin(470000, 5786000, 0.2, 0.2)}
    with rasterio.open(
        path, "w", driver="GTiff", width=600, height=600, count=3, dtype="uint8", **place
    ) as file:
        file.write(pixels)


def listed():
    """Names and shapes of all tensors of the published file."""
    path = shared("parity", "checkpoints", "statewide_nomassgis.json")
    return json.loads(path.read_text(encoding="utf-8"))["sections"][""]["entries"]


def fill(key, shape):
    """A tensor by the rule of the fixtures (``fill_rule``)."""
    count = math.prod(shape)
    v = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(count)
    if len(shape) == 1:
        v = 1 + 0.05 * v if key.endswith("//scale") else 0.02 * v
    else:
        v = v / math.sqrt(math.prod(shape[:-1]))
    v = v * 3 if key.endswith("decoder//_Linear_0//weight") else v
    v = v * 0.02 if "//Stem_0//Conv_0//" in key else v
    return torch.tensor(v.reshape(shape).astype(np.float32))


def as_published(config):
    """A network's tensors under the authors' names, in their order of axes: the inverse map."""
    torch.manual_seed(3)
    own = statewide.build(config).state_dict()
    theirs = {}
    for side in ("pv", "aerial"):
        ours = "ground" if side == "pv" else "aerial"
        for name, value in own.items():
            if not name.startswith(f"{ours}_"):
                continue
            text = name.removeprefix(f"{ours}_")
            for before, after in (
                ("head.norm.", "decoder//_Norm_0//"),
                ("head.attention.", "decoder//_Linear_0//"),
                ("head.value.", "decoder//_Linear_1//"),
                ("encoder.stem.0.", "encoder//Stem_0//Conv_0//"),
                ("encoder.stem.1.", "encoder//Stem_0//_Norm_0//"),
            ):
                text = text.replace(before, after)
            parts = text.split(".")
            if parts[0] == "encoder" and parts[2:3] and parts[1] == "stages":
                stage = int(parts[2])
                if parts[3] == "downsample":
                    layer = {"0": "_Norm_0", "1": "Conv_0"}[parts[4]]
                    text = f"encoder//Downsample_{stage - 1}//{layer}//{parts[5]}"
                else:
                    inner = ".".join(parts[5:-1])
                    layers = {"conv_dw": "Conv_0//", "norm": "_Norm_0//", "mlp.fc1": "_Linear_0//"}
                    layer = {**layers, "mlp.fc2": "_Linear_1//", "": ""}[inner]
                    text = f"encoder//Stage_{stage}//Block_{parts[4]}//{layer}{parts[-1]}"
            leaf = {"Conv_0": "kernel", "_Norm_0": "scale"}.get(text.split("//")[-2])
            text = text.replace("//weight", f"//{leaf}") if leaf else text
            text = text.replace("//gamma", "//scale")
            moved = value.permute(2, 3, 1, 0) if value.ndim == 4 else value
            moved = value.T if value.ndim == 2 else moved
            theirs[f"params//{side}_{text}"] = moved.contiguous()
    return own, theirs


def test_every_published_tensor_has_its_place_and_none_is_left_over():
    with torch.device("meta"):
        own = {n: v.shape for n, v in statewide.build(statewide.Config()).state_dict().items()}
    given = {key: torch.empty(shape, device="meta") for key, shape, _ in listed()}
    ours = {n: v.shape for n, v in statewide.imported(given, statewide.Config()).items()}
    assert len(given) == len(ours) == 690
    assert ours == own
    assert sum(math.prod(shape) for shape in ours.values()) == 177_363_200


@pytest.mark.parametrize("side", ["pv", "aerial"])
def test_the_head_alone_gives_the_authors_numbers(side):
    parity = np.load(shared("parity", "statewide.npz"))
    head = statewide.SpatialSoftmax(1024, 1024, 64).eval()
    keys = {
        statewide._rename(key).partition(".")[2]: statewide._reorder(key, fill(key, shape))
        for key, shape, _ in listed()
        if f"//{side}_decoder//" in key
    }
    head.load_state_dict(keys)
    seed, *shape = parity[f"head/{side}.features_seed_then_shape"].tolist()
    noise = 0.004 * np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    features = torch.tensor(noise.astype(np.float32)).flatten(1, -2)
    with torch.no_grad():
        pooled = head.pool(features).numpy()
    expected = parity[f"head/{side}.output_not_normalised"]
    assert np.abs(pooled - expected).max() <= 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("case", ["landscape", "portrait", "small", "exact", "square"])
def test_a_photo_is_fitted_into_its_canvas_as_the_authors_do(case):
    parity = np.load(shared("parity", "statewide.npz"))
    seed, height, width, _ = parity[f"photo/{case}/seed_shape"].tolist()
    coarse = (math.ceil(height / 4), math.ceil(width / 4), 3)
    picture = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, coarse, dtype=np.uint8)
    picture = picture.repeat(4, 0).repeat(4, 1)[:height, :width]
    spec = statewide.views(statewide.Config()).ground
    view = make_ground_view(picture, "perspective", spec, fov_deg=60.0)
    expected = parity[f"photo/{case}/padded_every11th_row_13th_col"].astype(int)
    assert np.abs(view[::11, ::13].astype(int) - expected).max() <= 1


def paint(east, north):
    """The smooth world of the fixtures: colours [..., 3] at metres from its middle."""
    red = 127 + 60 * np.sin(east / 17) + 60 * np.sin(north / 23)
    green = 127 + 100 * np.sin((east + north) / 41)
    return np.stack([red, green, np.clip((east + 2 * north) / 8 + 128, 0, 255)], axis=-1)


@pytest.mark.parametrize("up_deg", [0.0, 2.5])
def test_each_scale_shows_the_ground_about_the_centre_south_up(up_deg):
    spec = statewide.views(statewide.Config()).aerial
    n, source_m = 1560, 0.4
    right, down = np.meshgrid(*[(np.arange(n) + 0.5 - n / 2) * source_m] * 2)
    turn = math.radians(up_deg)  # the picture's up points there
    east = right * math.cos(turn) - down * math.sin(turn)
    north = -down * math.cos(turn) - right * math.sin(turn)
    view = make_aerial_view(paint(east, north).round().astype(np.uint8), source_m, spec, up_deg)
    for number, metres in enumerate((0.2, 0.4, 0.8, 1.6)):
        crop = view[number * 384 : (number + 1) * 384].astype(float)
        rows, columns = np.meshgrid(*[(np.arange(384) - 192) * metres] * 2, indexing="ij")
        off = np.abs(crop - paint(-columns, rows))[4:-4, 4:-4]
        assert off.mean() < 1.0
        assert np.quantile(off, 0.99) < 4.0


def test_what_lies_beyond_the_picture_is_white():
    spec = statewide.views(statewide.Config()).aerial
    view = make_aerial_view(np.zeros((500, 500, 3), np.uint8), 0.2, spec)
    assert not view[:384].any()
    assert (view[-384:][:80] == 255).all()


def test_a_file_of_the_authors_becomes_our_tensors(tmp_path):
    own, theirs = as_published(NARROW)
    save_file(theirs, tmp_path / "last.safetensors")
    read = read_checkpoint(tmp_path / "last.safetensors", known=list_known_networks())
    assert [network.method for network in read.whose] == ["statewide"]
    weights = convert_tensors(statewide, read, NARROW)
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)
    lost = dict(theirs)
    del lost["params//pv_encoder//Stem_0//Conv_0//bias"]
    save_file(lost, tmp_path / "lost.safetensors")
    with pytest.raises(BadModel, match="stem.0.bias"):
        convert_tensors(statewide, read_checkpoint(tmp_path / "lost.safetensors"), NARROW)
    save_file(
        {**theirs, "params//pv_encoder//Stage_9//Block_0//scale": torch.ones(3)},
        tmp_path / "more.safetensors",
    )
    with pytest.raises(BadModel):
        convert_tensors(statewide, read_checkpoint(tmp_path / "more.safetensors"), NARROW)


def test_the_narrow_network_keeps_the_contract():
    torch.manual_seed(1)
    check_branches(statewide.build(NARROW), statewide.views(NARROW), "statewide")


def test_training_is_refused_with_a_sentence():
    with pytest.raises(InvalidValue, match="for use, not for training"):
        require_trainable(method_page("statewide").load(), "statewide")


def test_settings_come_from_the_published_description():
    path = shared("parity", "checkpoints", "statewide_nomassgis.json")
    described = json.loads(path.read_text(encoding="utf-8"))["config"]
    settings = statewide.read_published_settings({"model": described})
    assert statewide.Config(**settings) == statewide.Config()
    with pytest.raises(BadModel, match="share one encoder"):
        statewide.read_published_settings({**described, "pv-aerial-shared-encoder": True})


def test_views_of_before_say_nothing_of_scales():
    spec = ViewSpec(side="aerial", height_px=8, width_px=8, footprint_m=80.0)
    assert not {"spans_m", "up_bearing_deg"} & spec.facts().keys()
    assert statewide.views(NARROW).aerial.facts()["up_bearing_deg"] == 180.0


def test_scales_that_do_not_fill_their_canvas_are_refused():
    with pytest.raises(InvalidValue, match="one below the other"):
        ViewSpec(side="aerial", height_px=9, width_px=8, footprint_m=30.0, spans_m=(80.0,))


def test_the_configuration_survives_json():
    assert statewide.Config(**json.loads(json.dumps(asdict(NARROW)))) == NARROW


def test_a_published_folder_becomes_places_of_a_photo(tmp_path, capsys):
    hub = tmp_path / "hub"
    (hub / "weights").mkdir(parents=True)
    save_file(as_published(NARROW)[1], hub / "weights" / "last.safetensors")
    write_town(tmp_path / "ground.tif")
    picture = np.random.default_rng(4).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(picture.repeat(20, 0).repeat(20, 1)).save(tmp_path / "photo.jpg")
    settings = "backbone=test_convnext ground_px=[64,96] aerial_px=64 metres_per_px=[0.2,0.8]"
    stated = [word for setting in settings.split() for word in ("--config", setting)]
    run, model, index = (str(tmp_path / name) for name in ("run", "model", "region.cvx"))
    call("import", "statewide", str(hub), "--out", run, *stated)
    call("export", run, "--out", model)
    capsys.readouterr()
    call("index", str(tmp_path / "ground.tif"), "--model", model, "--out", index)
    told = capsys.readouterr().err
    assert "cells lie nearer than 26 m" in told
    assert "a km2" in told
    call("locate", str(tmp_path / "photo.jpg"), "--index", index, "--out", f"{index}.jsonl")
    answer = json.loads((tmp_path / "region.cvx.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert answer["fov_source"] == "unused"
    assert any("taken as it is" in text for text in answer["assumptions"])
    opened = Index.open(index)
    assert (opened.manifest.footprint_m, opened.manifest.stride_m) == (30.0, 30.0)
    assert opened.count == 16
    assert read_info(tmp_path / "model").licence.startswith("none stated")
