"""VIGOR: cross-view geo-localization beyond one-to-one retrieval (Zhu, Yang, Chen, CVPR 2021).

A SAFA network for tiles in which the camera stands anywhere: batches of similar places, near-misses
that are to be as alike as they overlap, and a regression of where in its tile the camera stands.
Written from the paper's description; the authors' code (Jeff-Zilence/VIGOR, TensorFlow 1, MIT) was
not used. [C]: a constant of that code.

Deviations: torchvision's VGG16 weights with their normalisation; bfloat16 where it is fast; the
last step's weights are kept; those of the mining (``networks.samplers``). Both stages are one
training, whose rate and optimiser go on. Numbers are not checked against the original network;
what could not be found is listed in ``docs/methods/vigor-offset.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.arrays import I64
from crossview.errors import InvalidValue, require
from crossview.networks import layout_masks
from crossview.networks.losses import at_least_float32, soft_margin_triplet, without_autocast
from crossview.networks.samplers import draw_mined_batches
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.pairs.table import PairTable

ASKED = 2000  # rows that the check looks at
UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True, kw_only=True)
class Config:
    """VIGOR, same area; ``--recipe`` has the published settings."""

    backbone: str = "vgg16.tv_in1k"  # conv5_3 pooled once more [C]
    weights: str = "hub"  # ImageNet-1k; "none" or a file
    ground_px: tuple[int, int] = (320, 640)  # height, width [C]
    aerial_px: tuple[int, int] = (320, 320)  # [C]
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-90.0, 90.0)  # of panoramas, unless whole
    footprint_m: float = 71.0  # of aerial windows, unless whole: the mean of VIGOR's tiles
    masks: int = 8  # [C]
    reduce: str = "max"  # over channels [C]
    alpha: float = 10.0  # of the triplet loss [C]
    iou: float = 0.1  # weight of the near-misses' loss [C]; 0: off
    offset: float = 0.01  # weight of the regression [C]; 0: off
    hidden: int = 512  # of the regression [C]
    plain_epochs: float = 30.0  # before both begin [C]; 11 cross-area
    batch: int = 14  # [C]
    epochs: float = 45.0  # 30 and 15 [C]; 11 and 10 cross-area
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-5  # Adam [C]
    schedule: str = "exponential"  # [C]
    tenth_steps: int = 150_000  # [C]
    weight_decay: float = 0.0
    refresh_epochs: int = 1  # mining from the second epoch on [C]; 0: off
    mine_from: str = "epoch"  # among the vectors that training has computed [C]
    neighbour_range: int = 100  # of which the hard ones are drawn [C]
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    amp: bool = True
    seed: int = 1

    polar = False  # no setting: the camera is not in the middle of its tile

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        layout_masks.check_bank(self.masks, self.reduce)
        for name in ("iou", "offset"):
            value = getattr(self, name)
            require(value >= 0, f"{name} is a weight, so at least 0, got {value}.")
        require(self.hidden >= 1, f"hidden must be at least 1, got {self.hidden}.")
        require(
            bool(self.steps) or self.plain_epochs < self.epochs,
            f"the {self.epochs:g} epochs end before near-misses and offsets are learned, which "
            f"begins after {self.plain_epochs:g}.\nUse a smaller plain_epochs, or more epochs.",
        )

    @property
    def near_misses(self) -> bool:
        """Whether the loader reads a near-miss beside each pair."""
        return self.iou > 0


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and tiles, north up."""
    return layout_masks.make_aligned_views(config)


class OffsetHead(nn.Module):
    """Where in its tile the camera stands: two linear maps on both vectors [C]."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(2 * dim, hidden), nn.Linear(hidden, 2)

    def forward(self, ground: Tensor, aerial: Tensor) -> Tensor:
        """Unit [B, D] of both views -> [B, 2] as ``Batch.camera``: halves of the tile's side."""
        both = torch.cat([ground, aerial], dim=1)
        place: Tensor = self.outer(F.relu(self.inner(both)))
        return place


class OffsetNetwork(layout_masks.LayoutNetwork):
    """SAFA's two branches, and the head that regresses the offset from their vectors."""

    def __init__(
        self, ground: layout_masks.LayoutBranch, aerial: layout_masks.LayoutBranch, head: OffsetHead
    ) -> None:
        super().__init__(ground, aerial)
        self.offset = head


def build(config: Config) -> OffsetNetwork:
    """Two branches that share nothing: VGG16, a bank of masks, modulation; and the head."""
    ground, aerial = (
        layout_masks.make_bank_branch(config, size_px)
        for size_px in (config.ground_px, config.aerial_px)
    )
    head = OffsetHead(ground.trunk.channels * config.masks, config.hidden)
    return OffsetNetwork(ground, aerial, head)


def encode(model: OffsetNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views and of the near-misses; where the cameras stand [B, 2]."""
    encoded = {"ground": model.ground(batch.ground), "aerial": model.aerial(batch.aerial)}
    if batch.camera is not None:
        encoded["camera"] = batch.camera
    for copy in batch.more:
        encoded["near"] = model.aerial(copy.aerial)
        if copy.camera is not None:
            encoded["near_camera"] = copy.camera
    return encoded


def contrast(model: OffsetNetwork, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """All triplets of the batch; likeness by overlap; the offset, where it is known."""
    ground, aerial = vectors["ground"], vectors["aerial"]
    losses = {"triplet": soft_margin_triplet(ground, aerial, config.alpha)}
    camera = vectors.get("camera", torch.zeros(0, 2)).detach()  # data: no gradient is asked of it
    if {"near", "near_camera"} <= set(vectors):
        near_camera = vectors["near_camera"].detach()
        known = torch.isfinite(near_camera).all(dim=1) & torch.isfinite(camera).all(dim=1)
        if known.any():
            ratio = measure_overlap(near_camera) / measure_overlap(camera)
            rows = (ground[known], aerial[known], vectors["near"][known])
            losses["iou"] = config.iou * assign_by_overlap(*rows, ratio[known])
    known = torch.isfinite(camera).all(dim=1)
    if known.any():
        regressed = at_least_float32(model.offset(ground[known], aerial[known]))
        losses["offset"] = config.offset * F.mse_loss(regressed, camera[known].to(regressed))
    return losses


def measure_overlap(camera: Tensor) -> Tensor:
    """[B, 2] halves of a side -> [B] intersection over union with the tile around the camera."""
    both = (1.0 - camera.abs() / 2.0).clamp_min(0.0).prod(dim=1)
    return both / (2.0 - both)


def assign_by_overlap(ground: Tensor, aerial: Tensor, near: Tensor, ratio: Tensor) -> Tensor:
    """Mean of (s_near / s_true - ratio)^2, s being cosines of unit [B, D]; the paper's L_IOU.

    ``ratio`` [B]: overlap of the near-miss over that of the match.
    """
    with without_autocast(ground):
        true, beside = (
            (at_least_float32(ground) * at_least_float32(side)).sum(dim=1)
            for side in (aerial, near)
        )
        return (beside / true - ratio).square().mean()


def objective(model: OffsetNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """Random places; once vectors have been compared, every second one a hard negative."""
    return draw_mined_batches(table, neighbours, config.batch, generator)


def augment(
    pair: PairPixels, config: Config, rng: np.random.Generator
) -> PairPixels | tuple[PairPixels, ...]:
    """Nothing is changed [C]; a second copy of the place has its near-miss, where it has one."""
    near = pair.companion or replace(pair, camera_m=UNKNOWN)
    pair = replace(pair, companion=None)
    if not (config.offset or config.iou):
        return replace(pair, camera_m=UNKNOWN)
    return (pair, near) if config.near_misses else pair


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """Stage 1, the first epochs: places alone, without near-misses and offsets."""
    return replace(config, iou=0.0, offset=0.0) if moment.epoch < config.plain_epochs else config


def check(table: PairTable, config: Config) -> None:
    """InvalidValue for pairs of which neither near-misses nor offsets can be learned."""
    beside = (
        "This method learns where in a tile the camera stands, on tiles that overlap, as VIGOR's "
        "(docs/methods/vigor-offset.md)."
    )
    if config.iou and not len(table.ignored):
        raise InvalidValue(
            "these pairs have no near-misses: no row of the table has relation = ignore.\n"
            f"{beside}\nAdd them, train without (--config iou=0), or train safa."
        )
    rows = range(min(ASKED, len(table)))
    if (config.iou or config.offset) and not any(map(math.isfinite, _list_offsets(table, rows))):
        raise InvalidValue(
            "these pairs do not say where in its aerial picture a camera stands: it needs the "
            "places of both.\n"
            f"{beside}\nAdd ground_lat, ground_lon, aerial_lat, aerial_lon and metres_per_px, or "
            "train safa."
        )


def _list_offsets(table: PairTable, rows: range) -> Iterator[float]:
    return (sum(table.find_camera_m(row)) for row in rows)


RECIPES = {
    "vigor-same": {"whole": True},
    "vigor-cross": {"whole": True, "plain_epochs": 11, "epochs": 21},
}
REPRODUCES = {"vigor-same": ("VIGOR",), "vigor-cross": ("VIGOR",)}
