"""GeoDTR: learning disentangled geometric layout correspondence (Zhang et al., AAAI 2023).

arXiv 2212.04074. Written from the paper and figures; the authors' code
(zxh009123/GeoDTR) has no licence and was not used. [C]: a constant of that code. Deviations:
bfloat16 where it is fast (theirs: none); the last step's weights are kept, theirs are those that
did best on the evaluation split. ``docs/methods/geodtr-plus.md`` lists what all three share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossview.errors import require
from crossview.networks import layout_masks
from crossview.networks.augmentations import (
    change_colours,
    change_layout,
    check_strengths,
    draw_layout,
    finish_aerial,
    list_layouts,
)
from crossview.networks.backbones import trunk
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.colour import Strength as ColourStrength
from crossview.views.spec import HALF
from crossview.views.symmetry import Strength


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA with the polar transform; ``--recipe`` has the published settings."""

    backbone: str = "resnet34.tv_in1k"  # without max-pool [C]
    weights: str = "hub"  # ImageNet-1k [C]; "none" or a file
    ground_px: tuple[int, int] = (122, 671)  # height, width [C]
    aerial_px: tuple[int, int] = (122, 671)  # [C]; (256, 256) without polar
    polar: bool = True
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    descriptors: int = 8  # K [C]
    heads: int = 4  # of the transformer [C]
    layers: int = 2  # [C]
    hidden: int = 2048  # of the transformer's feed-forward step [C]
    dropout: float = 0.3  # [C]
    layout: Strength = "strong"  # LS: mirror and quarter turns; "weak": mirror; "none" [C]
    semantic: ColourStrength = "strong"  # LS: colours and blur [C]
    alpha: float = 10.0  # of the triplet loss [C]
    beta: float = 5.0  # of the counterfactual loss [C]
    counterfactual: float = 1.0  # its weight [C]; 0: off
    batch: int = 32  # [C]
    epochs: float = 200.0  # [C]
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-4  # [C]
    weight_decay: float = 0.03  # [C], on all parameters
    decay_vectors: bool = True
    eps: float = 1e-6  # [C]
    warmup_epochs: float = 5.0  # [C]
    warmup_steps: int = 0  # for short trainings, with steps
    schedule: str = "epochs"  # [C]: the first epoch trains at rate 0
    clip_norm: float = 1.0  # [C]
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require(self.descriptors >= 1, f"descriptors must be at least 1, got {self.descriptors}.")
        check_strengths(self.layout, self.semantic)


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, unrolled or as they are; HALF [C]."""
    return layout_masks.make_aligned_views(config, mean=HALF, std=HALF)


def build(config: Config) -> layout_masks.LayoutNetwork:
    """Two branches that share nothing: ResNet, layout extractor, modulation."""
    return layout_masks.LayoutNetwork(
        _branch(config, config.ground_px), _branch(config, config.aerial_px)
    )


def _branch(config: Config, size_px: tuple[int, int]) -> layout_masks.LayoutBranch:
    spec = layout_masks.EncoderSpec(
        heads=config.heads, layers=config.layers, hidden=config.hidden, dropout=config.dropout
    )

    def masks(channels: int, positions: int) -> layout_masks.DescriptorTokens:
        return layout_masks.DescriptorTokens(positions, config.descriptors, spec)

    return layout_masks.LayoutBranch(trunk(config.backbone, config.weights), size_px, masks)


def encode(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views, and of random descriptors in their range [-1, 1]."""
    return layout_masks.encode_layouts(model, (batch,), -1.0 if config.counterfactual else None)


def contrast(
    model: layout_masks.LayoutNetwork, vectors: dict[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """All triplets of the batch, and descriptors against random ones."""
    return layout_masks.contrast_layouts(vectors, config)


def objective(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """LS on the finished views: one layout for both, other colours for each."""
    pair = finish_aerial(pair, views(config).aerial)
    layout = draw_layout(list_layouts(pair, config.layout), rng)
    pair = change_colours(pair, config.semantic, rng)
    return change_layout(pair, layout, polar=config.polar, rounding="geodtr")


def imported(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' checkpoint by our names."""
    return layout_masks.geodtr_tensors(state)


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings that the authors' tensors show."""
    return layout_masks.sizes_shown(state, "ge")


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that they do not show, with the reason."""
    return {"heads": layout_masks.HEADS_UNSEEN, **layout_masks.sizes_unseen(state, "ge")}


check = layout_masks.check_centred  # the polar view needs cameras in the middle


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
    "cvact": {"whole": True},
    "cvact-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
    "vigor": {"whole": True, "ground_px": (320, 640), "aerial_px": (320, 320), "polar": False},
}
REPRODUCES = {
    "cvusa": ("GeoDTR: polar",),
    "cvusa-plain": ("GeoDTR", "GeoDTR: as other papers list it"),
    "cvact": ("GeoDTR: polar",),
    "cvact-plain": ("GeoDTR",),
    "vigor": ("GeoDTR",),
}
TENSORS = r"ge_(grd|sat)\."
COST = {
    "source": "Table VII of GeoDTR+, on a V100",
    "parameters_m": 48.5,
    "ms_per_pair": 235.0,
    "macs_g": 39.89,
}
CHECKPOINT = {
    "address": "a cloud drive, linked in its README",
    "format": "pth, a pickle",
    "trained_on": "CVUSA or CVACT, which are for research only; panoramas",
    "code_licence": "",
    "weights_licence": "",
    "trained_on_name": "cvusa or cvact",
    "notes": "Download it yourself; the file is read without running code.",
}
