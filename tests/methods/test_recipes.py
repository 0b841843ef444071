"""Every recipe is the authors' released settings: the tables here are those of their scripts.

What is ours is in no recipe; it is asked for by name (``--reading intent``, ``--config``).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources

import numpy as np
import pytest

from crossview import catalogue
from crossview.errors import InvalidValue
from crossview.methods import congeo, sample4geo, singeo
from crossview.pairs.batch import TrainingLength, TrainingProgress
from crossview.pairs.page_ref import PageRef
from crossview.studies.study import read_studies
from crossview.training.contract import TrainingRecipe

CONTRASTIVE = {
    "backbone": "convnext_base.fb_in22k_ft_in1k_384",
    "architecture": "pooled",
    "separate": False,
    "representation": "narrow",
    "whole": True,
    "polar": False,
    "aerial_px": 384,
    "ground_px": (140, 768),
    "mirror": 0.5,
    "turn": 0.75,
    "colour": 1.0,
    "smoothing": 0.1,
    "weight_decay": 0.01,
    "decay_vectors": True,
    "warmup_epochs": 1.0,
    "warmup_steps": 0,
    "schedule": "loader",
    "clip_value": 100.0,
    "gps_sampling": True,
    "neighbour_select": 64,
    "neighbour_range": 128,
    "refresh_epochs": 4,
    "mine_from": "pass",
    "accumulate": 1,
    "chunk": 0,
    "ema_decay": 0.0,
    "steps": 0,
    "seed": 42,
}
VIGOR_PX = {"ground_px": (384, 768), "seed": 1}
NO_MINING = {"gps_sampling": False, "refresh_epochs": 0}
SAMPLE4GEO = CONTRASTIVE | {
    "batch": 128,
    "epochs": 40.0,
    "lr": 1e-3,
    "shifted": False,
    "turn_aerial": False,
}
CONGEO = CONTRASTIVE | {
    "batch": 16,
    "epochs": 60.0,
    "lr": 1e-4,
    "reading": "release",
    "course": "fixed",
    "theta_deg": (360.0, 180.0),
    "cross": (0.25, 0.0, 0.0),
    "alike": 0.5,
}
SINGEO = CONTRASTIVE | {
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
LAYOUT = {
    "ground_px": (122, 671),
    "aerial_px": (122, 671),
    "polar": True,
    "whole": True,
    "descriptors": 8,
    "dropout": 0.3,
    "layout": "strong",
    "semantic": "strong",
    "alpha": 10.0,
    "beta": 5.0,
    "counterfactual": 1.0,
    "batch": 32,
    "epochs": 200.0,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "decay_vectors": True,
    "eps": 1e-6,
    "warmup_epochs": 5.0,
    "schedule": "epochs",
    "clip_norm": 1.0,
}
GEODTR = LAYOUT | {"backbone": "resnet34.tv_in1k", "hidden": 2048}
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
SAFA = {
    "backbone": "vgg16.tv_in1k",
    "ground_px": (112, 616),
    "aerial_px": (112, 616),
    "polar": True,
    "whole": True,
    "masks": 8,
    "reduce": "mean",
    "alpha": 10.0,
    "batch": 32,
    "epochs": 100.0,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
L2LTR = {
    "ground_px": (128, 512),
    "aerial_px": (128, 512),
    "polar": True,
    "whole": True,
    "stem": 64,
    "blocks": (3, 4, 9),
    "width": 768,
    "layers": 12,
    "heads": 12,
    "hidden": 3072,
    "dropout": 0.1,
    "alpha": 10.0,
    "batch": 32,
    "epochs": 200.0,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "eps": 1e-6,
    "warmup_steps": 500,
    "clip_norm": 1.0,
}
SAIG = {
    "stem": (64, 128, 128, 256, 256, 512),
    "width": 384,
    "depth": 22,
    "heads": 12,
    "head": "smd",
    "rows": 8,
    "ground_px": (128, 512),
    "aerial_px": (256, 256),
    "polar": False,
    "whole": True,
    "loss": "triplet",
    "alpha": 10.0,
    "temperature": 0.02,
    "batch": 32,
    "epochs": 200.0,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "rho": 2.0,
    "adaptive": True,
    "clip_norm": 0.0,
}
DSM = {
    "widths": (64, 128, 256, 512),
    "head": (256, 64, 16),
    "frozen": 7,
    "dropout": 0.2,
    "ground_px": (128, 512),
    "aerial_px": (128, 512),
    "fov_deg": 360.0,
    "headings": "unknown",
    "turn": "correlation",
    "whole": True,
    "alpha": 10.0,
    "batch": 32,
    "epochs": 100.0,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
TRANSGEO = {
    "backbone": "deit_small_distilled_patch16_224.fb_in1k",
    "width": 384,
    "layers": 12,
    "heads": 6,
    "dim": 1000,
    "ground_px": (112, 616),
    "aerial_px": (256, 256),
    "whole": True,
    "keep": 1.0,
    "alpha": 10.0,
    "batch": 32,
    "epochs": 100,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "decay_vectors": True,
    "schedule": "epochs",
    "rho": 2.5,
    "adaptive": True,
    "refresh_epochs": 1,
    "mine_from": "epoch",
    "neighbour_range": 100,
}
TRANSGEO_VIGOR = {"ground_px": (320, 640), "aerial_px": (320, 320), "batch": 16, "epochs": 50}
ZOOM = {"keep": 0.64, "epochs": 50, "attended_px": (256, 256), "aerial_px": (320, 320)}
ZOOM_VIGOR = ZOOM | {"attended_px": (320, 320), "aerial_px": (400, 400)}
PLAIN = {"polar": False, "aerial_px": (256, 256)}
VIGOR_LAYOUT = {"ground_px": (320, 640), "aerial_px": (320, 320), "polar": False}

MINING = {
    "batch": 14,
    "whole": True,
    "reduce": "max",
    "schedule": "exponential",
    "tenth_steps": 150_000,
    "refresh_epochs": 1,
    "mine_from": "epoch",
    "neighbour_range": 100,
}
VIGOR = (
    VIGOR_LAYOUT
    | MINING
    | {
        "backbone": "vgg16.tv_in1k",
        "masks": 8,
        "alpha": 10.0,
        "iou": 0.1,
        "offset": 0.01,
        "hidden": 512,
        "lr": 1e-5,
        "weight_decay": 0.0,
    }
)


def only(theta):
    """Trained for one field of view."""
    return {"course": "fixed", "theta_deg": (theta, theta)}


def cut(theta):
    return {"shifted": True, **only(theta)}


RELEASES = {
    "sample4geo": {
        "cvusa": SAMPLE4GEO,
        "cvusa-shifted": SAMPLE4GEO | cut(360.0),
        "cvusa-shifted-cropped": SAMPLE4GEO
        | {"shifted": True, "course": "uniform", "theta_deg": (360.0, 70.0)},
        **{f"cvusa-{t}": SAMPLE4GEO | cut(float(t)) for t in (360, 180, 90, 70)},
        "cvact": SAMPLE4GEO | {"seed": 1},
        "cvact-random": SAMPLE4GEO | NO_MINING | {"seed": 1},
        **{f"cvact-{t}": SAMPLE4GEO | cut(float(t)) | {"seed": 1} for t in (90, 70)},
        "vigor": SAMPLE4GEO | VIGOR_PX,
        "university": SAMPLE4GEO
        | NO_MINING
        | {"ground_px": (384, 384), "epochs": 1.0, "warmup_epochs": 0.1, "seed": 1}
        | {"turn_aerial": True},
    },
    "congeo": {
        "cvusa": CONGEO,
        **{f"cvusa-{t}": CONGEO | only(float(t)) for t in (360, 90, 70)},
        "cvact": CONGEO | {"seed": 1},
        **{f"cvact-{t}": CONGEO | only(float(t)) | {"seed": 1} for t in (360, 90, 70)},
        "vigor": CONGEO | VIGOR_PX,
    },
    "singeo": {
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
    },
    "geodtr": {
        "cvusa": GEODTR,
        "cvusa-plain": GEODTR | PLAIN,
        "cvact": GEODTR,
        "cvact-plain": GEODTR | PLAIN,
        "vigor": GEODTR | VIGOR_LAYOUT,
    },
    "geodtr-plus": {
        "cvusa": GEODTR_PLUS,
        "cvusa-plain": GEODTR_PLUS | PLAIN,
        "cvact": GEODTR_PLUS,
        "cvact-plain": GEODTR_PLUS | PLAIN,
        "vigor": GEODTR_PLUS | VIGOR_LAYOUT | {"sampling": "aerial-first"},
    },
    "dsm": {
        **{name: DSM | {"headings": "aligned"} for name in ("cvusa", "cvact")},
        **{
            f"{name}-{t}": DSM | {"fov_deg": float(t)}
            for name in ("cvusa", "cvact")
            for t in (360, 180, 90, 70)
        },
    },
    "l2ltr": {
        "cvusa": L2LTR,
        "cvusa-plain": L2LTR | PLAIN,
        "cvact": L2LTR,
        "cvact-plain": L2LTR | PLAIN,
    },
    "safa": {
        "cvusa": SAFA,
        "cvusa-plain": SAFA | PLAIN,
        "cvact": SAFA,
        "cvact-plain": SAFA | PLAIN,
        "vigor": SAFA | VIGOR_LAYOUT | {"reduce": "max"},
        "vigor-same-mining": SAFA | VIGOR_LAYOUT | MINING | {"epochs": 30.0},
        "vigor-cross-mining": SAFA | VIGOR_LAYOUT | MINING | {"epochs": 11.0},
    },
    "vigor-offset": {
        "vigor-same": VIGOR | {"plain_epochs": 30.0, "epochs": 45.0},
        "vigor-cross": VIGOR | {"plain_epochs": 11.0, "epochs": 21.0},
    },
    "saig-d": {
        "cvusa": SAIG,
        "cvusa-polar": SAIG | {"polar": True, "aerial_px": (128, 512)},
        "cvusa-s": SAIG | {"depth": 11},
        "cvact": SAIG,
        "cvact-polar": SAIG | {"polar": True, "aerial_px": (128, 512)},
        "cvact-s": SAIG | {"depth": 11},
        "vigor": SAIG | VIGOR_LAYOUT | {"loss": "semi-triplet", "epochs": 90.0, "clip_norm": 1.0},
    },
    "transgeo": {
        **{name: TRANSGEO for name in ("cvusa", "cvact")},
        **{f"{name}-stage2": TRANSGEO | ZOOM | {"lr": 1e-5} for name in ("cvusa", "cvact")},
        "vigor": TRANSGEO | TRANSGEO_VIGOR | {"lr": 5e-5},
        "vigor-stage2": TRANSGEO | TRANSGEO_VIGOR | ZOOM_VIGOR | {"lr": 5e-6},
    },
}


def config_of(method, recipe):
    """All settings of a recipe, with those that only its variant has."""
    settings = catalogue.recipe(method, recipe)
    config = catalogue.configure(method, settings)[1]
    variant = catalogue.VARIANTS.get(method)
    if variant is None:
        return config
    whole = catalogue.make_config(PageRef(variant).load(), settings)
    named = {name: getattr(whole, name) for name in asdict(config) if name != "theta_deg"}
    assert named == {name: getattr(config, name) for name in named}
    return whole


def test_every_recipe_is_in_the_table():
    files = sorted((resources.files("crossview.methods") / "recipes").iterdir(), key=str)
    there = {file.name.removesuffix(".json"): set(json.loads(file.read_text())) for file in files}
    ours = {"compass": {"earth"}}  # which no paper describes
    assert there == ours | {method: set(recipes) for method, recipes in RELEASES.items()}


@pytest.mark.parametrize(
    ("method", "recipe"), [(m, r) for m, recipes in RELEASES.items() for r in recipes]
)
def test_a_recipe_is_the_authors_release(method, recipe):
    config, release = config_of(method, recipe), RELEASES[method][recipe]
    assert {name: getattr(config, name) for name in release} == release


def test_the_release_counts_177_680_steps_of_cvusa_and_trains_177_600():
    recipe = TrainingRecipe.of(config_of("singeo", "cvusa"))
    rows = 35_532
    assert recipe.total_steps(rows) == 177_600
    assert recipe.lr_at(0, rows) == 0.0
    assert recipe.lr_at(1, rows) == pytest.approx(1e-4 / 2221)
    assert recipe.lr_at(2221, rows) == pytest.approx(1e-4)
    share = (177_599 - 2221) / (177_680 - 2221)
    last = 0.5e-4 * (1 + np.cos(np.pi * share))
    assert recipe.lr_at(177_599, rows) == pytest.approx(last, rel=1e-9)
    assert last > 0


def test_the_satellite_turns_of_the_paper_rise_from_25_to_100_percent_of_three_turns():
    """``--config half_turns=true --config "keep=[0.75, 0.0]"``."""
    texts = {"half_turns": "true", "keep": "[0.75, 0.0]"}
    ref, config = catalogue.configure("singeo", catalogue.recipe("singeo", "cvusa") | texts)
    assert config.keep == (0.75, 0.0)
    assert config.half_turns
    span, rng = TrainingLength(epochs=80, batches=2220), np.random.default_rng(0)
    turned = [
        1 - ref.load().staged(config, TrainingProgress(span=span, epoch=t), rng).keep[1]
        for t in range(80)
    ]
    assert turned[0] == pytest.approx(0.25 + 0.75 / 80)
    assert turned[-1] == 1.0


@pytest.mark.parametrize("page", [sample4geo, congeo, singeo])
def test_a_model_of_one_field_of_view_says_what_its_panoramas_showed(page):
    name = page.__name__.rsplit(".", 1)[-1]
    alone = name == "sample4geo"
    ref, config = catalogue.configure(name, only(90.0) | ({"shifted": True} if alone else {}))
    low, high = ref.load().views(config).fov_seen_deg
    assert (low, high) == ((90.0, 90.0) if alone else (90.0, 360.0))


def test_a_field_of_view_drawn_for_every_picture_needs_one_width():
    drawn = {"theta_deg": (361.0, 361.0)}
    for method in ("singeo", "congeo"):
        ref, config = catalogue.configure(method, {**drawn, "representation": "padded"})
        page, moment = (
            ref.load(),
            TrainingProgress(span=TrainingLength(epochs=2, batches=3), epoch=0),
        )
        assert page.views(config).fov_seen_deg == (180.0, 360.0)
        assert page.staged(config, moment, np.random.default_rng(0)).theta_deg == (361.0, 361.0)
        with pytest.raises(InvalidValue, match="representation=padded"):
            catalogue.configure(method, drawn)
        with pytest.raises(InvalidValue, match="no course"):
            catalogue.configure(method, {"theta_deg": (361.0, 70.0), "representation": "padded"})


def test_the_study_of_other_networks_weighs_a_transformers_terms_as_its_authors():
    study = read_studies()["singeo-transfer"]
    for settings in (study.row("vit-singeo").settings, study.row("vit-singeo").small):
        assert settings["cross"] == (0.25, 0.25, 1.0)
    assert "cross" not in study.row("masks-singeo").settings


def test_an_unknown_reading_is_refused_before_any_picture_is_read():
    for page in (singeo, congeo):
        with pytest.raises(InvalidValue, match="reading must be intent or release, got 'paper'"):
            page.Config(reading="paper")
