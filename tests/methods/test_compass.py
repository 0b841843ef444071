import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import crossview
from crossview.catalogue import configure, recipe
from crossview.errors import InvalidValue, WeightsUnavailable
from crossview.methods import compass
from crossview.methods.compass import Config, augment
from crossview.model import read_info
from crossview.networks.losses import turning_info_nce
from crossview.pairs.batch import PairPixels, normalise
from crossview.pairs.table import join_tables
from crossview.training.contract import (
    TrainingRecipe,
    check_everything,
    example_batch,
    example_table,
)
from crossview.training.export import export, read_origin, reopen
from crossview.training.run_folder import RunFolder
from crossview.training.session import build_without_weights
from crossview.training.train_state import make_state, save_weights

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "widths": (8, 16, 16),
    "blocks": (1, 1, 1),
    "depth": 8,
    "batch": 4,
}
LEARNING = {"apart_m": 2.0, "panoramas": 1.0, "move_m": 0.0}
RELEASES: dict = {"earth": {}}  # ours: no paper describes it
CONFIG = Config(width_px=64, height_px=16, colour=0.0, move_m=0.0)


def augmented(seed, *, fov_deg=360.0, heading_deg=0.0):
    """A pair whose ground is a ramp, so that every turn and cut of it shows."""
    ground = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (16, 1, 3))
    aerial = np.zeros((160, 160, 3), np.uint8)
    pair = PairPixels(
        ground=ground, aerial=aerial, metres_per_px=0.5, fov_deg=fov_deg, heading_deg=heading_deg
    )
    return ground, augment(pair, CONFIG, np.random.default_rng(seed))


def turned_columns(before, after):
    return np.abs(before[:, :, 0].astype(int) - after[:, :, 0]).max()


@pytest.mark.parametrize("seed", range(12))
def test_a_photo_is_mirrored_but_neither_turned_nor_cut(seed):
    before, pair = augmented(seed, fov_deg=65.0, heading_deg=30.0)
    assert pair.fov_deg == 65.0
    mirror = turned_columns(before, pair.ground) > 8
    assert turned_columns(before[:, ::-1] if mirror else before, pair.ground) <= 8
    quarters = (pair.heading_deg - (-30.0 if mirror else 30.0)) / 90.0
    assert quarters in {0.0, -1.0, -2.0, -3.0}


def test_panoramas_are_turned_and_cut_to_the_fields_of_view_of_the_config():
    pairs = [augmented(seed)[1] for seed in range(40)]
    cut = [pair.fov_deg for pair in pairs if pair.fov_deg < 360.0]
    assert 10 < len(cut) < 38
    assert min(cut) >= CONFIG.fov_deg[0]
    assert max(cut) <= CONFIG.fov_deg[1]
    assert all(math.isfinite(pair.heading_deg) for pair in pairs)


@pytest.mark.parametrize("fov_deg", [360.0, 65.0])
def test_an_unknown_heading_stays_unknown(fov_deg):
    assert math.isnan(augmented(0, fov_deg=fov_deg, heading_deg=math.nan)[1].heading_deg)


def test_an_unknown_heading_teaches_the_place_only():
    scores = torch.rand(4, 4, 8, generator=torch.Generator().manual_seed(0))
    heading, scale = torch.tensor([0.0, 45.0, 90.0, 180.0]), torch.tensor(1.0)
    some = heading.clone()
    some[1] = math.nan
    place, turn = turning_info_nce(scores, some, scale, 0.1)
    kept = [0, 2, 3]
    expected = [
        turning_info_nce(scores[n : n + 1, n : n + 1], heading[n : n + 1], scale, 0.1)[1]
        for n in kept
    ]
    assert place == turning_info_nce(scores, heading, scale, 0.1)[0]
    assert turn.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-6)
    assert turning_info_nce(scores, heading * math.nan, scale, 0.1)[1] == 0.0


NARROW = {
    **{"height_px": 64, "width_px": 256, "widths": (4, 8, 8), "blocks": (0, 0, 1), "depth": 4},
    **{"equal_bins": True, "trunk_weights": "none", "trunk_blocks": 4, "trunk_rows": 2},
    **{"whitened": 12, "hidden": 8, "batch": 4},
}
SMALL = Config(**{**NARROW, "height_px": 32, "width_px": 128})
LIKE_TOWN = {
    **{"height_px": 96, "width_px": 480, "widths": (16, 64, 128), "blocks": (0, 1, 4)},
    **{"depth": 16},
}
KINDS = {
    "small": SMALL,
    "trunk": Config(**NARROW, encoders="trunk"),
    "untrained": Config(**{**NARROW, "hidden": 0}, encoders="trunk"),
    "both": Config(**NARROW, encoders="both"),
}


def make_network(config):
    """Trunks of random weights, with batch norms that have met pictures, as trained ones have."""
    torch.manual_seed(4)
    network = compass.build(config).eval()
    images = torch.randn(4, 3, config.height_px, config.width_px)
    with torch.no_grad():
        for trunk in compass.list_trunks(network):
            for norm in trunk.lite.modules():
                if isinstance(norm, torch.nn.BatchNorm2d):
                    norm.momentum = None
            trunk.lite.train()(images)
            trunk.eval()
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_of_encoders_keeps_the_contract(kind):
    config = replace(KINDS[kind], parts=1)
    passed = check_everything(compass, make_network(config), config, example_table(12), kind)
    assert list(passed)[-1] == "batches"


def test_an_exported_network_of_both_encoders_gives_what_the_trained_one_gives(tmp_path):
    config, run = KINDS["both"], RunFolder(tmp_path / "run")
    record = {"method": "compass", "config": asdict(config), "data": "town"}
    run.begin(record, {"synthetic": True})
    network = make_network(config)
    compass.measure(network, iter([example_batch(compass.views(config), torch.device("cpu"))]))
    with torch.no_grad():
        for trunk in compass.list_trunks(network):
            trunk.head[-1].conv.bias.uniform_(1.0, 2.0)  # no block is nearly nothing
    save_weights(network.state_dict(), run.weights)
    exported = export(run, compass, config, tmp_path / "model", half=True)
    assert exported.difference < 1e-5
    info = read_info(tmp_path / "model")
    assert (info.equal_bins, info.azimuth_bins) == (True, config.bins)
    origin = read_origin(tmp_path / "model")
    assert origin.lacking == []
    assert origin.config["trunk_weights"] == "none"
    again = reopen(tmp_path / "model", compass, config, compass.views(config))
    halves = network.half().float().state_dict()
    for name, value in again.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, halves[name], rtol=0, atol=0)


def test_models_without_equal_bins_say_nothing_of_them():
    info = read_info(Path(crossview.__file__).parent / "packaged_models" / "town")
    assert not info.equal_bins
    assert "equal_bins" not in info.to_json()
    assert json.loads(json.dumps(replace(info, equal_bins=True).to_json()))["equal_bins"] is True


def test_the_packaged_town_model_is_a_start_of_small_encoders_and_of_half_of_both():
    town = Path(crossview.__file__).parent / "packaged_models" / "town"
    network = compass.build(Config(weights=str(town))).eval()
    joint = compass.build(replace(KINDS["both"], **LIKE_TOWN, weights=str(town))).eval()
    batch = example_batch(compass.views(Config()), torch.device("cpu"))
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 240, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(town / "model.aerial.onnx")
    (theirs,) = session.run(["embeddings"], {"images": images})
    with torch.no_grad():
        pixels = normalise(images, compass.views(Config()).aerial, batch.aerial.device)
        np.testing.assert_allclose(network.aerial(pixels), theirs, atol=1e-5)
        ours = joint.aerial.small(pixels).reshape(3, 30, 16)
    blocks = theirs.reshape(3, 30, 16)
    expected = blocks / np.linalg.norm(blocks, axis=2, keepdims=True) / 30**0.5
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_run_of_both_encoders_goes_on_from_its_own_weights(tmp_path):
    first = make_network(KINDS["both"])
    with torch.no_grad():
        first.ground.balance.fill_(0.7)
    save_weights(first.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(5)
    weights = str(tmp_path / "model.safetensors")
    second = compass.build(replace(KINDS["both"], weights=weights))
    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]), name
    with pytest.raises(WeightsUnavailable, match="does not fit the network"):
        compass.build(replace(KINDS["trunk"], weights=weights))


def test_a_fresh_trunk_is_measured_once_and_a_frozen_one_never_trained():
    config = KINDS["trunk"]
    network = make_network(config)
    trunks = compass.list_trunks(network)
    batch = example_batch(compass.views(config), torch.device("cpu"))
    compass.measure(network, iter([batch] * 3))
    measured = [trunk.whitening.axes.clone() for trunk in trunks]
    assert all(trunk.whitening.is_measured for trunk in trunks)
    compass.measure(network, iter([]))  # there is nothing to read any more
    assert all(
        torch.equal(trunk.whitening.axes, axes)
        for trunk, axes in zip(trunks, measured, strict=True)
    )
    schedule = TrainingRecipe.of(config)
    state = make_state(network, schedule, lambda name: compass.rate(name, config))
    assert {g["rate"] for g in state.optimiser.param_groups} == {1.0}
    assert not any(p.requires_grad for trunk in trunks for p in trunk.lite.parameters())
    slow = replace(config, trunk_rate=0.1)
    state = make_state(make_network(slow), schedule, lambda name: compass.rate(name, slow))
    sizes = {
        (g["rate"], g["weight_decay"] > 0): sum(p.numel() for p in g["params"])
        for g in state.optimiser.param_groups
    }
    assert sorted(sizes) == [(0.1, False), (0.1, True), (1.0, False), (1.0, True)]


def test_lists_of_pairs_share_every_batch_and_are_contrasted_within_themselves():
    near, far = example_table(24), example_table(60)
    table = join_tables([near, far])
    config = replace(SMALL, batch=8, parts=2)
    drawn = list(compass.batches(table, config, torch.Generator().manual_seed(1), None))
    assert len(drawn) == 15  # as often as 60 rows give four
    for rows in drawn:
        assert all(row < 24 for row in rows[:4])
        assert all(row >= 24 for row in rows[4:])
        assert len(set(rows)) == 8
    assert {row for rows in drawn for row in rows} == set(range(84))
    compass.check(table, config)
    with pytest.raises(InvalidValue, match="come from 2 lists, but parts is 1"):
        compass.check(table, SMALL)
    network, batch = make_network(SMALL), example_batch(compass.views(SMALL), torch.device("cpu"))
    halves = [compass.objective(network, batch.part(n, n + 2), SMALL) for n in (0, 2)]
    both = compass.objective(network, batch, replace(SMALL, parts=2))
    for name in ("place", "turn"):
        expected = (halves[0][name] + halves[1][name]) / 2
        torch.testing.assert_close(both[name], expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoders": "large"}, "encoders must be one of small, trunk, both"),
        ({"parts": 3}, r"parts must divide batch \(4\)"),
        ({"trunk_rate": 2.0}, "trunk_rate must lie in 0..1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InvalidValue, match=message):
        replace(SMALL, **settings)


def test_the_recipe_of_earth_is_a_config_whose_vectors_have_thirty_bins():
    _, config = configure("compass", recipe("compass", "earth"))
    assert (config.bins, config.equal_bins, config.encoders) == (30, True, "both")
    with torch.device("meta"):
        network = build_without_weights(compass, config)
    assert sum(p.numel() for p in network.parameters()) * 2 < 12e6  # bytes as float16
