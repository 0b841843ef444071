"""SEH: like soft exemplar highlighting, which was not found, over SAFA (Guo et al., TIP 2022).

*Soft exemplar highlighting for cross-view image-based geo-localization*, IEEE TIP 31: each triplet
weighs as much as it is difficult, by distance rectified logistic regression; simple ones are
removed, and the weights of extremely hard ones are cut off. So much says the abstract. **The
paper's text and code were not found**: this page is like SEH and is no reproduction of it. What it
needs beyond the abstract is that of HER (Cai et al., ICCV 2019), an earlier paper by some of its
authors, and [C] is a constant of HER's code; the rest is SAFA's page.

Not found, and so a setting: the two "mainstream convolutional networks" that it was trained with
(``backbone``; SAFA, because tables list SEH with the polar transform); its margin (``margin``);
whether both views are anchors (``anchors``), weights carry gradients (``through``), simple triplets
count in the mean (``counted``); optimiser, batch and epochs (SAFA's). Deviations: those of SAFA.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor

from crossview.errors import require
from crossview.networks import layout_masks
from crossview.networks.losses import at_least_float32, weigh_exemplars, without_autocast
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable

ANCHORS = ("both", "ground")
COUNTED = ("all", "kept")


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA with the polar transform; ``--recipe`` has those of the field."""

    backbone: str = "vgg16.tv_in1k"  # SAFA's
    weights: str = "hub"  # ImageNet-1k; "none" or a file
    ground_px: tuple[int, int] = (112, 616)  # height, width; SAFA's
    aerial_px: tuple[int, int] = (112, 616)  # SAFA's; (256, 256) without polar
    polar: bool = True  # as tables list it
    whole: bool = False  # the files squashed to these sizes, as SAFA's authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    masks: int = 8  # SAFA's
    reduce: str = "mean"  # over channels; SAFA's
    alpha: float = 10.0  # of the triplet loss; SAFA's
    margin: float = 0.15  # easier triplets are removed; HER's [C], of d = 2 - 2 cosine
    anchors: str = "both"  # SAFA's; HER's is ground
    through: bool = True  # gradients also by the weights; HER's [C]
    counted: str = "all"  # the mean is over all triplets, as HER's [C]; kept: those not removed
    batch: int = 32  # SAFA's
    epochs: float = 100.0  # SAFA's
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-5  # Adam, SAFA's
    weight_decay: float = 0.0
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        layout_masks.check_bank(self.masks, self.reduce)
        require(self.alpha > 0, f"alpha must be above 0, got {self.alpha}.")
        require(self.margin >= 0, f"margin must be at least 0, got {self.margin}.")
        for name, words in (("anchors", ANCHORS), ("counted", COUNTED)):
            value = getattr(self, name)
            require(value in words, f"{name} must be {' or '.join(words)}, got {value!r}.")


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, unrolled or as they are."""
    return layout_masks.make_aligned_views(config)


def build(config: Config) -> layout_masks.LayoutNetwork:
    """SAFA's: two branches that share nothing, VGG16, a bank of masks, modulation."""
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
    """The soft-margin triplets of all anchors, highlighted."""
    with without_autocast(vectors["ground"]):
        ground, aerial = (at_least_float32(vectors[side]) for side in ("ground", "aerial"))
        distance = 2.0 - 2.0 * ground @ aerial.T
        sides = (distance, distance.T) if config.anchors == "both" else (distance,)
        losses = [highlight(side, config) for side in sides]
        return {"triplet": torch.stack(losses).mean()}


def highlight(distance: Tensor, config: Config) -> Tensor:
    """Mean of w log(1 + exp(alpha (d_true - d_wrong))), anchors being the rows of ``distance``.

    [n, n] -> a scalar; w as :func:`weigh_exemplars`, of differences that are scaled by alpha, too.
    """
    others = ~torch.eye(len(distance), dtype=torch.bool, device=distance.device)
    difference = (config.alpha * (distance.diagonal()[:, None] - distance))[others]
    margin = config.alpha * config.margin
    weight = weigh_exemplars(difference, margin, easy=0.0, through=config.through)
    losses = weight * F.softplus(difference)
    if config.counted == "all":
        return losses.mean()
    return losses.sum() / (weight > 0).sum().clamp_min(1)


def objective(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places: exemplars are selected within a batch."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Nothing, as SAFA's released code."""
    return pair


check = layout_masks.check_centred  # the polar view needs cameras in the middle


RECIPES = {
    "cvusa": {"whole": True},
    "cvact": {"whole": True},
}
REPRODUCES = {
    "cvusa": ("SEH: polar",),
    "cvact": ("SEH: polar",),
}
