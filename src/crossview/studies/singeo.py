"""The claims of SinGeo (arXiv 2603.09377): one model for all fields of view, and for any network.

Published figures are those of unknown headings. Compute on the towns is equal: a method that
encodes four pictures a pair takes half the steps of one that encodes two. Every row begins from one
training on panoramas, aligned and then turned, because ImageNet's weights cannot be had in minutes.
On the towns SinGeo and ConGeo have our reading ("intent"), as no setting says otherwise; on data
sets the recipes have the authors' ("release"), and ``--config reading=intent`` gives ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossview.evaluation.headline import FIELDS_DEG
from crossview.reports.published import Quote
from crossview.studies.definitions import Row, Start, Study

STEPS = 300  # of four pictures a pair
SOURCE = "arXiv 2603.09377, Table 1 and main ablation, and arXiv 2403.13965"
TOWNS: dict[str, Any] = {
    "backbone": "convnext_zepto_rms",  # 1.9 M parameters
    "weights": "none",
    "ground_px": (32, 192),
    "polar": True,  # else so small a network learns nothing in minutes
    "elevation_deg": (-45.0, 45.0),
    "footprint_m": 80.0,
    "batch": 32,
    "lr": 1e-3,
    "steps": STEPS,
    "warmup_steps": 60,
    "warmup_epochs": 0.0,
    "gps_sampling": True,  # else a town's colours tell its places from the others of a batch
    "refresh_epochs": 0,
    "course_by": "batch",
}
FOLLOWED = ("backbone", "architecture", "separate", "representation")
ALIGNED = Start(
    name="aligned",
    method="sample4geo",
    settings={"steps": 1600},
    takes=(),  # the networks are the same
    follows=FOLLOWED,
)
# From aligned panoramas alone no row learns to find turned ones in minutes, and from random weights
# turned ones are not learned at all.
START = Start(
    name="turned",
    method="sample4geo",
    settings={"steps": 3000, "shifted": True, "course": "fixed", "theta_deg": (360.0, 360.0)},
    takes=(),
    follows=FOLLOWED,
    before=ALIGNED,
)
TWO_PICTURES = {"steps": 2 * STEPS}
SHIFTED = {"shifted": True, "course": "uniform"}


def _printed(method: str, variant: str = "") -> Quote:
    return Quote(method=method, variant=variant)


def _twice(row: Row) -> Row:
    """Of a method that encodes two pictures a pair: twice the steps on towns."""
    return replace(row, small={**(row.small or row.settings), **TWO_PICTURES})


FOV = Study(
    name="singeo-fov",
    title="SinGeo: one model for every field of view",
    question="Is SinGeo the best single model in the mean over 360, 180, 90 and 70 degrees, and "
    "does the order of its curriculum matter or only what it covers?",
    method="singeo",
    rows=(
        Row(name="singeo", says="SinGeo", published=_printed("SinGeo")),
        Row(
            name="congeo",
            says="ConGeo, 180 degrees",
            method="congeo",
            published=_printed("ConGeo"),
        ),
        _twice(
            Row(
                name="sample4geo",
                says="Sample4Geo, aligned",
                method="sample4geo",
                published=_printed("Sample4Geo", "trained north-aligned"),
            )
        ),
        _twice(
            Row(
                name="sample4geo-shifted",
                says="Sample4Geo, shifted and cut",
                method="sample4geo",
                settings=SHIFTED,
                published=_printed("Sample4Geo", "shifted and cropped in training"),
            )
        ),
        Row(
            name="fixed",
            says="SinGeo without curriculum",
            settings={"course": "fixed", "theta_deg": (360.0, 180.0)},
            published=_printed("SinGeo", "no curriculum"),
        ),
        Row(
            name="log-uniform",
            says="SinGeo, theta log-uniform at random",
            settings={"course": "log-uniform"},
            published=_printed("SinGeo", "log-uniform theta, run by others"),
        ),
        Row(
            name="reversed",
            says="SinGeo, the curriculum backwards",
            settings={"theta_deg": (70.0, 360.0), "keep": (0.25, 1.0)},
        ),
    ),
    towns=TOWNS,
    start=START,
    against=(
        ("congeo", "singeo"),
        ("sample4geo-shifted", "singeo"),
        ("fixed", "singeo"),
        ("log-uniform", "singeo"),
        ("reversed", "singeo"),
    ),
    fovs_deg=FIELDS_DEG,
    headings="unknown",
    source=SOURCE,
)


def _single_field(theta: float) -> Row:
    return _twice(
        Row(
            name=f"sample4geo-{theta:g}",
            says=f"Sample4Geo for {theta:g} degrees only",
            method="sample4geo",
            settings={"shifted": True, "course": "fixed", "theta_deg": (360.0, theta)},
            published=Quote(method="Sample4Geo", models="one per field of view", fov_deg=theta),
        )
    )


PARTS = Study(
    name="singeo-parts",
    title="SinGeo: its parts, its readings and models of one field of view",
    question="What does each positive bring, which reading of the pair's turn is better, and how "
    "far is one model from a model for each field of view? Is it the objective or the steps that "
    "tell SinGeo from Sample4Geo?",
    method="singeo",
    rows=(
        Row(name="singeo", says="SinGeo", published=_printed("SinGeo")),
        Row(
            name="release",
            says="the pair's turn after the crop, as the authors' code",
            settings={"reading": "release"},
            published=_printed("SinGeo", "released code, run by others"),
        ),
        Row(
            name="sample4geo-steps",
            says="Sample4Geo, shifted and cut, as many steps as SinGeo",
            method="sample4geo",
            settings=SHIFTED,
        ),
        Row(name="half-turns", says="T_s3 with half turns", settings={"half_turns": True}),
        Row(
            name="ground-only",
            says="ground positive only",
            settings={"aerial_positive": False},
            published=_printed("SinGeo", "ground positive only"),
        ),
        Row(name="aerial-only", says="aerial positive only", settings={"ground_positive": False}),
        Row(
            name="circle",
            says="T_s1, circle mask",
            settings={"from_above": "circle"},
            published=_printed("SinGeo", "T_s1, circle mask"),
        ),
        Row(
            name="turned",
            says="T_s2, any angle",
            settings={"from_above": "turned"},
            published=_printed("SinGeo", "T_s2, any angle"),
        ),
        Row(name="fast-slow", says="f2, fast then slow", settings={"course": "fast-slow"}),
        Row(name="slow-fast", says="f3, slow then fast", settings={"course": "slow-fast"}),
        Row(name="uniform", says="theta uniform at random", settings={"course": "uniform"}),
        _single_field(360.0),
        _single_field(180.0),
        _single_field(90.0),
        _single_field(70.0),
    ),
    towns=TOWNS,
    start=START,
    against=(
        ("release", "singeo"),
        ("sample4geo-steps", "singeo"),
        ("ground-only", "singeo"),
        ("aerial-only", "singeo"),
    ),
    fovs_deg=FIELDS_DEG,
    headings="unknown",
    source=SOURCE,
)

PADDED = {"representation": "padded"}
MASKED = {**PADDED, "architecture": "geodtr-plus", "backbone": "convnext_tiny.fb_in1k"}
VIT = {**PADDED, "separate": True, "ground_px": (384, 768), "elevation_deg": (-90.0, 90.0)}
VIT |= {"backbone": "vit_base_patch16_224.augreg_in21k"}
SMALL_MASKED = {**MASKED, "backbone": "convnext_zepto_rms"}
SMALL_VIT = {**PADDED, "separate": True, "backbone": "test_vit"}


# Masks begin from trunks that know turned panoramas; a transformer needs longer to begin at all.
MASKS_START = replace(
    START,
    name="masks",
    settings={**START.settings, "steps": 1600},
    before=replace(START, follows=("backbone",), takes=(".trunk.", "logit_scale")),
)
VIT_START = replace(START, before=replace(ALIGNED, settings={"steps": 4000}))


def _transferred(
    family: str, says: str, full: dict[str, Any], small: dict[str, Any], start: Start
) -> list[Row]:
    base = {"shifted": True, "course": "fixed", "theta_deg": (360.0, 360.0)}
    last = {"cross": (0.25, 0.25, 1.0)} if full.get("separate") else {}  # the authors' for a ViT
    rows = [
        _twice(
            Row(
                name=f"{family}-base",
                says=f"{says}, turned panoramas only",
                method="sample4geo",
                settings={**full, **base},
                small={**small, **base},
            )
        ),
        Row(name=f"{family}-congeo", says=f"{says}, ConGeo", method="congeo", settings=full,
            small=small),
        Row(name=f"{family}-singeo", says=f"{says}, SinGeo", settings={**full, **last},
            small={**small, **last}),
    ]  # fmt: skip
    return [replace(row, start=start) for row in rows]


TRANSFER = Study(
    name="singeo-transfer",
    title="SinGeo on other networks, in the zero-padded representation",
    question="Does SinGeo's training help GeoDTR+'s masks and a transformer at 90 and 70 degrees?",
    method="singeo",
    rows=(
        *_transferred("masks", "GeoDTR+ masks", MASKED, SMALL_MASKED, MASKS_START),
        *_transferred("vit", "ViT", VIT, SMALL_VIT, VIT_START),
    ),
    towns=TOWNS,
    against=(
        ("masks-base", "masks-singeo"),
        ("masks-congeo", "masks-singeo"),
        ("vit-base", "vit-singeo"),
        ("vit-congeo", "vit-singeo"),
    ),
    fovs_deg=FIELDS_DEG,
    headings="unknown",
    source="arXiv 2603.09377, teaser: mean R@1 over 360, 180, 90 on CVUSA is GeoDTR 3.6 / 30.2 / "
    "36.6 and ViT 10.6 / 40.0 / 64.4 for base / ConGeo / SinGeo",
)

STUDIES = (FOV, PARTS, TRANSFER)
