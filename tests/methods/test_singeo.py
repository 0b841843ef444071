import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tests.methods.checkpoints import ALIKE, BASE, SMALLEST, Published
from tests.methods.shared_settings import NO_MINING, POOLED, SCRIPTS, TINY_CONTRASTIVE, VIGOR_PX
from tests.shared_data import shared

from crossview.catalogue import configure, recipes
from crossview.errors import BadData, InvalidValue
from crossview.methods import congeo, sample4geo, singeo
from crossview.networks.samplers import draw_neighbour_batches
from crossview.pairs.batch import TrainingLength, TrainingProgress
from crossview.studies import congeo_variant, sample4geo_variant, singeo_variant
from crossview.training.contract import example_batch, example_pair, example_table

# What the suites over all methods ask (tests/contract/settings.py).
TINY = TINY_CONTRASTIVE
LEARNING = {**POOLED, "theta_deg": (360.0, 270.0), "cross": (0.0, 0.0, 0.0)}
SINGEO = SCRIPTS | {
    "batch": 16,
    "epochs": 80.0,
    "lr": 1e-4,
    "reading": "release",
    "course": "linear",
    "course_by": "epoch",
    "theta_deg": (360.0, 70.0),
    "keep": (1.0, 0.25),
    "from_above": "quarters",
    "half_turns": False,
    "ground_positive": True,
    "aerial_positive": True,
    "companions": False,
    "cross": (0.25, 0.25, 0.25),
    "alike": 0.5,
}
RELEASES = {
    "cvusa": SINGEO,
    "cvact": SINGEO | {"seed": 1},
    "vigor": SINGEO | VIGOR_PX,
    "university": SINGEO
    | NO_MINING
    | {"ground_px": (384, 384), "companions": True, "batch": 32, "warmup_epochs": 0.1}
    | {"theta_deg": (360.0, 360.0), "keep": (1.0, 0.3), "cross": (0.5, 0.5, 1.0), "seed": 1},
    "cvusa-vit": SINGEO
    | {"backbone": "vit_base_patch16_224.orig_in21k", "separate": True}
    | {"representation": "padded", "ground_px": (384, 768), "cross": (0.25, 0.25, 1.0)},
}
VIT = {
    **{"backbone": "vit_tiny_patch16_224", "weights": "none", "separate": True},
    **{"representation": "padded", "ground_px": (384, 768), "aerial_px": 384},
}
SHOWN_OF_VIT = {name: value for name, value in VIT.items() if name != "weights"}
CHECKPOINTS = {
    "singeo_convnext_base": Published(shown={**BASE, "separate": False}, told=(ALIKE,)),
    "singeo_convnext_tiny": Published(
        "cvact", shown={**SMALLEST, "separate": False}, told=(ALIKE,)
    ),
    "singeo_vit_tiny": Published(
        shown=SHOWN_OF_VIT,
        told=("ground_px=[384,768] (its table has 1152 positions, in rows that are not told)",),
    ),
    "singeo_vit_base": Published(
        shown={**SHOWN_OF_VIT, "backbone": "vit_base_patch16_224"}, check=None
    ),
}
SMALL = {"backbone": "test_convnext", "weights": "none", "aerial_px": 64, "ground_px": (32, 192)}


@pytest.mark.parametrize("configuration", ["singeo_vit_base", "singeo_convnext_base"])
def test_full_size_networks_have_the_authors_keys_and_shapes(configuration):
    settings = {"weights": "none"}
    if "vit" in configuration:
        settings |= VIT | {"backbone": "vit_base_patch16_224"}
    with torch.device("meta"):
        model = singeo.build(singeo.Config(**settings))
    text = shared("parity", "checkpoints", f"{configuration}.json").read_text(encoding="utf-8")
    (section,) = json.loads(text)["sections"].values()
    theirs = {key: tuple(shape) for key, shape, _ in section["entries"]}
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == theirs


def test_the_curriculum_of_a_config_moves_all_three_difficulties():
    span = TrainingLength(epochs=80, batches=2220)
    rng = np.random.default_rng(0)
    now = singeo.staged(singeo.Config(), TrainingProgress(span=span, epoch=74), rng)
    assert now.theta_deg == pytest.approx((88.125, 88.125))
    assert now.keep == pytest.approx((0.296875, 0.296875))
    assert singeo.query_fov_deg(now) == now.theta_deg[1]
    moment = TrainingProgress(span=span, epoch=79)
    last = singeo_variant.staged(singeo_variant.Config(), moment, rng)
    assert (last.theta_deg[1], last.keep[1], last.phi_deg[1]) == (70.0, 0.25, 270.0)
    assert singeo.staged(singeo.Config(), moment, rng).theta_deg == (70.0, 70.0)


def test_all_pictures_of_a_batch_share_a_width_which_log_uniform_draws_anew():
    config = singeo_variant.Config(course="log-uniform", course_by="batch")
    span = TrainingLength(epochs=1, batches=50)
    widths = {
        round(
            singeo_variant.staged(
                config, TrainingProgress(span=span, epoch=0, batch=b), np.random.default_rng(b)
            ).theta_deg[1]
        )
        for b in range(50)
    }
    assert len(widths) > 20
    assert min(widths) >= 70


def batch_with_positives(config):
    """Four pairs of noise, their positives narrower."""
    views = singeo.views(config)
    batch = example_batch(views, torch.device("cpu"))
    second = replace(
        batch, ground=batch.ground[..., :50].flip(3), aerial=batch.aerial.rot90(1, (2, 3))
    )
    return replace(batch, more=(second,))


def test_six_terms_are_contrasted_and_fewer_where_a_positive_is_left_out():
    config = singeo.Config(**SMALL)
    torch.manual_seed(0)
    model = singeo.build(config)
    batch = batch_with_positives(config)
    assert len(singeo.objective(model, batch, config)) == 6
    without = singeo_variant.Config(**SMALL, aerial_positive=False)
    assert set(singeo_variant.objective(model, batch, without)) == {
        "ground-aerial", "ground-ground_2", "ground_2-aerial",
    }  # fmt: skip
    assert len(congeo.objective(model, batch, congeo.Config(**SMALL))) == 4


def test_pictures_of_one_size_in_one_pass_give_what_passes_of_their_own_give():
    config = singeo.Config(**SMALL)
    model = singeo.build(config).eval()
    batch = batch_with_positives(config)
    vectors = singeo.encode(model, batch, config)
    torch.testing.assert_close(vectors["aerial_2"], model.aerial(batch.more[0].aerial))
    torch.testing.assert_close(vectors["ground_2"], model.ground(batch.more[0].ground))


def test_full_size_recipes_are_configs_of_their_pages():
    for page in (sample4geo, congeo, singeo):
        name = page.__name__.rsplit(".", 1)[-1]
        for values in recipes(name).values():
            ref, config = configure(name, values)
            ref.load().views(config)
            assert asdict(config) != asdict(page.Config())


def test_a_transformer_refuses_widths_that_it_cannot_take():
    with pytest.raises(InvalidValue, match="one width"):
        singeo.build(singeo.Config(**VIT | {"representation": "narrow"}))
    with pytest.raises(InvalidValue, match="separate=true"):
        singeo.build(singeo.Config(**VIT | {"separate": False}))
    small = {"ground_px": (32, 64), "aerial_px": 32}
    model = singeo.build(singeo.Config(**VIT | small))
    with pytest.raises(InvalidValue, match=r"cannot take pictures of 32 x 48"):
        model.ground(torch.zeros(1, 3, 32, 48))


@pytest.mark.parametrize(
    "wrong",
    [
        {"theta_deg": (360.0, 0.0)},
        {"theta_deg": (400.0, 70.0)},
        {"epochs": 0.0},
        {"course": "backwards"},
        {"mine_from": "nowhere"},
        {"architecture": "resnet"},
        {"turn": 2.0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InvalidValue):
        configure("singeo", wrong)


def test_neighbours_that_the_table_does_not_have_are_refused():
    near = np.full((8, 4), 99)
    with pytest.raises(BadData, match="up to row 99 do not fit a table of 8 pairs"):
        list(draw_neighbour_batches(example_table(8), near, 4, torch.Generator().manual_seed(0)))


def test_augment_gives_the_pair_and_its_positives():
    config = singeo.Config(**SMALL, theta_deg=(90.0, 90.0))
    pair = example_pair(singeo.views(config))
    first, second = singeo.augment(pair, config, np.random.default_rng(0))
    assert first.ground.shape == (32, 192, 3)
    assert second.ground.shape == (32, 48, 3)
    assert first.aerial.shape == second.aerial.shape == pair.aerial.shape


@pytest.mark.parametrize(
    ("configuration", "settings"),
    [
        ("singeo_convnext_tiny", {"backbone": "convnext_tiny", "separate": False}),
        ("congeo_convnext_base", {"backbone": "convnext_base.fb_in22k_ft_in1k_384"}),
        ("singeo_vit_tiny", {"backbone": "vit_tiny_patch16_224", "separate": True}),
        ("singeo_vit_base", {"backbone": "vit_base_patch16_224", "representation": "padded"}),
    ],
)
def test_a_checkpoint_tells_its_network_by_its_shapes(configuration, settings):
    text = shared("parity", "checkpoints", f"{configuration}.json").read_text(encoding="utf-8")
    (section,) = json.loads(text)["sections"].values()
    state = {key: torch.empty(shape, device="meta") for key, shape, _ in section["entries"]}
    assert singeo.shown(state).items() >= settings.items()
    assert singeo.imported(state, singeo.Config()) == state


@pytest.mark.parametrize("page", [sample4geo_variant, congeo_variant, singeo_variant])
def test_aerial_pictures_can_be_unrolled_to_the_size_of_the_panoramas(page):
    config = page.Config(**SMALL, polar=True)
    above = page.views(config).aerial
    assert (above.height_px, above.width_px, above.polar) == (*SMALL["ground_px"], True)
    table = example_table(9)
    page.check(table, config)
    away = replace(table, aerial_latlon=table.aerial_latlon + 1.4e-4)
    page.check(away, replace(config, polar=False))
    with pytest.raises(InvalidValue, match="polar=true unrolls"):
        page.check(away, config)


def test_a_field_of_view_too_narrow_for_the_network_is_refused_before_training():
    tiny = {**SMALL, "ground_px": (32, 64)}  # 70 degrees are 12 columns
    for method, settings in (("singeo", {}), ("congeo", {}), ("sample4geo", {"shifted": True})):
        ref, config = configure(method, {**tiny, **settings, "theta_deg": (360.0, 70.0)})
        with pytest.raises(InvalidValue, match="32 x 12 pixels.*too small"):
            ref.load().build(config)
    sample4geo.build(sample4geo.Config(**tiny))  # panoramas only
