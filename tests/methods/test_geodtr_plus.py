from dataclasses import replace

import pytest
import torch
from tests.methods.checkpoints import HEADS, POLAR, SQUARE, Published, assert_layout
from tests.methods.shared_settings import LAYOUT, PLAIN, TINY_LAYOUT, VIGOR_LAYOUT

from crossview.errors import InvalidValue
from crossview.methods import geodtr, geodtr_plus, safa
from crossview.studies import geodtr_plus_variant
from crossview.training.contract import example_batch, example_table

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    **TINY_LAYOUT,
    "backbone": "test_convnext",
    "drop_path": 0.0,
}
GEODTR_PLUS = LAYOUT | {
    "backbone": "convnext_tiny.fb_in1k",
    "gle": "v2",
    "hidden": 512,
    "bottleneck": True,
    "scaled_masks": False,
    "chsg": True,
    "copies_layout": "other",
    "copies_semantic": "other",
    "sampling": "pairs",
}
RELEASES = {
    "cvusa": GEODTR_PLUS,
    "cvusa-plain": GEODTR_PLUS | PLAIN,
    "cvact": GEODTR_PLUS,
    "cvact-plain": GEODTR_PLUS | PLAIN,
    "vigor": GEODTR_PLUS | VIGOR_LAYOUT | {"sampling": "aerial-first"},
}
ASSUMED = (HEADS, "span=free", "squash=sigmoid")
CHECKPOINTS = {
    "geodtrplus_convnext_nopolar": Published(
        shown=SQUARE, told=(*ASSUMED, "bottleneck=true"), tolerance=1.5e-5, check=assert_layout
    ),
    "geodtrplus_convnext_polar": Published(
        shown=POLAR, told=(*ASSUMED, "bottleneck=true"), tolerance=1.5e-5, check=assert_layout
    ),
    "geodtrplus_convnext_vigor": Published(
        "vigor-cross",
        shown={"ground_px": (320, 640), "aerial_px": (320, 320), "polar": False},
        told=(*ASSUMED, "bottleneck=true"),
        tolerance=1.5e-5,
        check=assert_layout,
    ),
    "geodtrplus_resnet_polar_nobottleneck": Published(
        config=("bottleneck=false",),
        shown={**POLAR, "backbone": "resnet34.tv_in1k", "bottleneck": False},
        told=(*ASSUMED, "490 of 498 tensors; these settings do not use the others"),
        tolerance=1.5e-5,
        check=assert_layout,
    ),
}
SMALL = {"weights": "none", "ground_px": (32, 64), "aerial_px": (32, 64), "hidden": 16}


def plus(**settings):
    return geodtr_plus.Config(backbone="test_convnext", drop_path=0.0, **(SMALL | settings))


def varied(**settings):
    return geodtr_plus_variant.Config(backbone="test_convnext", drop_path=0.0, **(SMALL | settings))


def losses(config, copies=()):
    torch.manual_seed(0)
    model = geodtr_plus.build(config).eval()
    batch = example_batch(geodtr_plus.views(config), torch.device("cpu"))
    return geodtr_plus.objective(model, replace(batch, more=copies(batch)), config)


def mirrored(batch):
    return (replace(batch, ground=batch.ground.flip(3), aerial=batch.aerial.flip(3)),)


def test_the_copies_of_a_place_are_negatives_of_each_other():
    """A copy that equals its original cannot be told from it: each such pair costs log 2."""
    alone = losses(plus(), lambda batch: ())["triplet"]
    twins = losses(plus(), lambda batch: (batch,))["triplet"]
    others = losses(plus(), mirrored)["triplet"]
    assert twins != alone
    assert others != twins


def test_the_counterfactual_loss_can_be_left_out():
    assert set(losses(plus(), mirrored)) == {"triplet", "counterfactual"}
    assert set(losses(plus(counterfactual=0.0), mirrored)) == {"triplet"}


@pytest.mark.parametrize("gle", ["v1", "v2"])
@pytest.mark.parametrize("masks", [1, 3])
def test_vectors_have_a_number_per_channel_and_descriptor(gle, masks):
    config = varied(gle=gle, descriptors=masks)
    model = geodtr_plus_variant.build(config).eval()
    assert model.ground(torch.rand(1, 3, 32, 64)).shape == (1, 48 * masks)


@pytest.mark.parametrize(
    ("page", "wrong", "said"),
    [
        (geodtr_plus, {"descriptors": 0}, "descriptors must be at least 1, got 0"),
        (geodtr, {"descriptors": 0}, "descriptors must be at least 1, got 0"),
        (safa, {"masks": 0}, "masks must be at least 1, got 0"),
        (geodtr_plus, {"batch": 1}, "batch must be 2 places or more, with CHSG too"),
        (geodtr_plus, {"sampling": "random"}, "sampling must be pairs or aerial-first"),
        (geodtr_plus, {"layout": "stong"}, "layout must be strong, weak or none"),
        (safa, {"reduce": "median"}, "reduce must be mean or max"),
    ],
)
def test_impossible_settings_are_refused(page, wrong, said):
    with pytest.raises(InvalidValue, match=said):
        page.Config(**wrong)


def test_pictures_that_the_backbone_cannot_take_are_refused_when_it_is_built():
    with pytest.raises(InvalidValue, match="too small for the cut backbone"):
        geodtr_plus.build(plus(ground_px=(12, 40)))
    with pytest.raises(InvalidValue, match="gle must be v1 or v2"):
        geodtr_plus_variant.build(varied(gle="v3"))


def test_the_polar_view_is_refused_for_cameras_off_the_centre():
    table = example_table(9)
    away = replace(table, aerial_latlon=table.aerial_latlon + 1.4e-4)
    for page in (geodtr_plus, geodtr, safa):
        page.check(table, page.Config())
        page.check(away, page.Config(polar=False))
        with pytest.raises(InvalidValue, match="polar=true unrolls aerial pictures"):
            page.check(away, page.Config())
