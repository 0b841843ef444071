"""SAFA: spatial-aware feature aggregation for geo-localization (Shi et al., NeurIPS 2019).

Written from the paper and figures; the authors' code
(shiyujiao/cross_view_localization_SAFA, TensorFlow 1) has no licence and was not used. [C]: a
constant of that code. Deviations: torchvision's VGG16 weights with their normalisation; the rate
ends in half a cosine (theirs is constant); CVACT's pairs nearer than 25 m are not left out of the
negatives; bfloat16 where it is fast; the last step's weights are kept. Numbers are not checked
against the original network. ``refresh_epochs=1`` is SAFA+Mining of VIGOR's paper. What it shares
with GeoDTR is in ``docs/methods/geodtr-plus.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crossview.arrays import I64
from crossview.networks import layout_masks
from crossview.networks.losses import soft_margin_triplet
from crossview.networks.samplers import draw_mined_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA with the polar transform; ``--recipe`` has those of the field."""

    backbone: str = "vgg16.tv_in1k"  # section 3.2, conv5_3 pooled once more [C]
    weights: str = "hub"  # ImageNet-1k; "none" or a file
    ground_px: tuple[int, int] = (112, 616)  # height, width [C]
    aerial_px: tuple[int, int] = (112, 616)  # [C]; (256, 256) without polar
    polar: bool = True  # section 3.1
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    masks: int = 8  # section 4.2
    reduce: str = "mean"  # over channels [C]; later ports take "max"
    alpha: float = 10.0  # of the triplet loss [C]
    batch: int = 32  # [C]
    epochs: float = 100.0  # [C]
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-5  # Adam [C]
    schedule: str = "steps"  # "exponential" with mining
    tenth_steps: int = 150_000  # of "exponential"
    weight_decay: float = 0.0
    refresh_epochs: int = 0  # 1: SAFA+Mining of VIGOR (CVPR 2021), see methods/vigor_offset
    mine_from: str = "pass"  # "epoch": among the vectors that training has computed
    neighbour_range: int = 100  # of which the hard ones are drawn, with mining
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        layout_masks.check_bank(self.masks, self.reduce)


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, unrolled or as they are."""
    return layout_masks.make_aligned_views(config)


def build(config: Config) -> layout_masks.LayoutNetwork:
    """Two branches that share nothing: VGG16, a bank of masks, modulation (section 3.2)."""
    ground, aerial = (
        layout_masks.make_bank_branch(config, size_px)
        for size_px in (config.ground_px, config.aerial_px)
    )
    return layout_masks.LayoutNetwork(ground, aerial)


def encode(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views."""
    return {"ground": model.ground(batch.ground), "aerial": model.aerial(batch.aerial)}


def contrast(
    model: layout_masks.LayoutNetwork, vectors: dict[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """All triplets of the batch (section 3.3)."""
    return {"triplet": soft_margin_triplet(vectors["ground"], vectors["aerial"], config.alpha)}


def objective(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """Random places; with mining, every second one is like the one before it."""
    return draw_mined_batches(table, neighbours, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Nothing: the released code trains on the pictures as they are [C]."""
    return pair


check = layout_masks.check_centred  # the polar view needs cameras in the middle


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
    "cvact": {"whole": True},
    "cvact-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
    "vigor": {
        "whole": True,
        "ground_px": (320, 640),
        "aerial_px": (320, 320),
        "polar": False,
        "reduce": "max",
    },
    "vigor-same-mining": {
        "whole": True,
        "ground_px": (320, 640),
        "aerial_px": (320, 320),
        "polar": False,
        "reduce": "max",
        "batch": 14,
        "refresh_epochs": 1,
        "mine_from": "epoch",
        "schedule": "exponential",
        "epochs": 30,
    },
    "vigor-cross-mining": {
        "whole": True,
        "ground_px": (320, 640),
        "aerial_px": (320, 320),
        "polar": False,
        "reduce": "max",
        "batch": 14,
        "refresh_epochs": 1,
        "mine_from": "epoch",
        "schedule": "exponential",
        "epochs": 11,
    },
}
REPRODUCES = {
    "cvusa": ("SAFA: polar",),
    "cvusa-plain": ("SAFA",),
    "cvact": ("SAFA: polar",),
    "cvact-plain": ("SAFA",),
    "vigor": ("SAFA",),
    "vigor-same-mining": ("SAFA+Mining",),
    "vigor-cross-mining": ("SAFA+Mining",),
}
