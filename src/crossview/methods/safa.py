"""SAFA: spatial-aware feature aggregation for cross-view image based geo-localization.

Shi et al., NeurIPS 2019. Written from the paper and figures; the authors' code
(shiyujiao/cross_view_localization_SAFA, TensorFlow 1) has no licence and was not used. [C]: a
constant of that code. Deviations: torchvision's VGG16 weights with their normalisation; the rate
ends in half a cosine (theirs is constant); CVACT's pairs nearer than 25 m are not left out of the
negatives; bfloat16 where it is fast; the last step's weights are kept. Numbers are not checked
against the original network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from crossview.errors import require
from crossview.networks import layout_masks
from crossview.networks.backbones import trunk
from crossview.networks.losses import soft_margin_triplet
from crossview.networks.samplers import draw_batches
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
    weight_decay: float = 0.0
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require(self.masks >= 1, f"masks must be at least 1, got {self.masks}.")
        reductions = ("mean", "max")
        require(self.reduce in reductions, f"reduce must be mean or max, got {self.reduce!r}.")


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, unrolled or as they are."""
    return layout_masks.make_aligned_views(config)


def build(config: Config) -> layout_masks.LayoutNetwork:
    """Two branches that share nothing: VGG16, a bank of masks, modulation (section 3.2)."""
    return layout_masks.LayoutNetwork(
        _branch(config, config.ground_px), _branch(config, config.aerial_px)
    )


def _branch(config: Config, size_px: tuple[int, int]) -> layout_masks.LayoutBranch:
    def masks(channels: int, positions: int) -> nn.Module:
        return layout_masks.MaskBank(
            positions, config.masks, "max" if config.reduce == "max" else "mean"
        )

    return layout_masks.LayoutBranch(
        trunk(config.backbone, config.weights), size_px, masks, mask_major=True
    )


def objective(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """All triplets of the batch (section 3.3)."""
    ground, aerial = model.ground(batch.ground), model.aerial(batch.aerial)
    return {"triplet": soft_margin_triplet(ground, aerial, config.alpha)}


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Nothing: the released code trains on the pictures as they are [C]."""
    return pair


check = layout_masks.check_centred  # the polar view needs cameras in the middle
