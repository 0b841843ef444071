"""CVFT: optimal feature transport for cross-view geo-localization (Shi et al., AAAI 2020).

arXiv 1907.05021. A plan of transport, made for each panorama, moves its
features to the places of an aerial grid, so that both maps can be compared place by place. Written
from the paper's idea; the authors' code (TensorFlow 1) has no licence and was read for its facts
only. [C]: a constant of that code.

Not found: how often the ten epochs of the script for CVUSA were gone on with (``epochs``).
Deviations: torchvision's VGG16 weights with their normalisation; the rate ends in half a cosine
(theirs is constant); bfloat16 where it is fast; the last step's weights are kept. Numbers are not
checked against the original network; more in ``docs/methods/cvft.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.networks import backbones
from crossview.networks.layout_masks import make_aligned_views
from crossview.networks.losses import (
    at_least_float32,
    find_negatives,
    soft_margin_triplet,
    without_autocast,
)
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable

INITIAL_STD = 0.005  # of the costs' linear map [C]


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA; ``--recipe`` has those of the field."""

    backbone: str = "vgg16.tv_in1k"  # conv5_3, not pooled [C]
    weights: str = "hub"  # ImageNet-1k; "none" or a file
    frozen: int = 3  # first blocks of VGG16 that keep their pretrained weights [C]
    ground_px: tuple[int, int] = (112, 616)  # height, width [C]
    aerial_px: tuple[int, int] = (256, 256)  # [C]
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    channels: int = 64  # of both maps, at half the size of conv5_3 [C]
    sharpness: float = 100.0  # costs count so much in the exponent: 1 / the entropy's weight [C]
    rounds: int = 20  # of Sinkhorn [C]
    alpha: float = 10.0  # of the triplet loss [C]
    negatives_from_m: float = 0.0  # nearer places are no negatives; CVACT 25 [C]
    batch: int = 32  # [C]
    epochs: float = 100.0  # CVACT [C]; CVUSA's are not known
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-5  # Adam [C]
    weight_decay: float = 0.0
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    amp: bool = True
    seed: int = 1

    polar = False  # no setting: the transport takes the place of the polar transform

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require(self.channels >= 1, f"channels must be at least 1, got {self.channels}.")
        require(self.rounds >= 1, f"rounds must be at least 1, got {self.rounds}.")
        require(self.sharpness > 0, f"sharpness must be above 0, got {self.sharpness}.")
        require(
            self.negatives_from_m >= 0.0,
            f"negatives_from_m must be at least 0, got {self.negatives_from_m}.",
        )
        require(0 <= self.frozen <= 5, f"frozen must lie in 0..5 blocks, got {self.frozen}.")


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above as they are."""
    return make_aligned_views(config)


def make_plan(cost: Tensor, sharpness: float, rounds: int) -> Tensor:
    """The plan [B, N, N] of least cost [B, N, N] that moves equal shares from rows to columns.

    Sinkhorn's algorithm for the transport with an entropy of weight 1 / ``sharpness``: rows and
    columns of exp(-sharpness cost) are brought to the sum 1 in turns, here in logarithms, which do
    not overflow (Cuturi, NIPS 2013). Columns come last and have that sum exactly, rows nearly. In
    float32 under autocast.
    """
    with without_autocast(cost):
        plan = -sharpness * at_least_float32(cost)
        for _ in range(rounds):
            plan = plan - plan.logsumexp(dim=2, keepdim=True)
            plan = plan - plan.logsumexp(dim=1, keepdim=True)
        return plan.exp()


class Transport(nn.Module):
    """Moves the features of a map [B, C, h, w] to other places of it, by a plan made of them."""

    def __init__(self, channels: int, grid: tuple[int, int], config: Config) -> None:
        super().__init__()
        self.positions = grid[0] * grid[1]
        self.sharpness, self.rounds = config.sharpness, config.rounds
        self.squeeze = nn.Conv2d(channels, 1, 1)
        self.costs = nn.Linear(self.positions, self.positions**2)
        _initialise(self.squeeze)
        nn.init.trunc_normal_(self.costs.weight, std=INITIAL_STD, a=-0.01, b=0.01)
        with torch.no_grad():  # [C]: at first it costs to stay
            self.costs.bias.copy_(torch.eye(self.positions).flatten())

    def plan(self, maps: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, N, N]: the share of each place (row) that goes to each (column)."""
        salient = F.relu(self.squeeze(maps)).flatten(1)
        cost = self.costs(salient).unflatten(1, (self.positions, self.positions))
        return make_plan(cost, self.sharpness, self.rounds)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]: at each place the mean of what the plan sends there."""
        plan = self.plan(maps)
        with without_autocast(maps):
            moved = at_least_float32(maps).flatten(2) @ plan
        return moved.reshape(maps.shape)


class Reduction(nn.Conv2d):
    """3 x 3 of stride 2 for maps of one size, padded as TensorFlow's SAME."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, 3, stride=2)
        rows, columns = size
        self.edges = (columns % 2, 1, rows % 2, 1)
        self.size = ((rows + 1) // 2, (columns + 1) // 2)
        _initialise(self)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """[B, C, h, w] -> [B, C', h / 2, w / 2], rounded up."""
        return super().forward(F.pad(input, self.edges))


def _initialise(conv: nn.Conv2d) -> None:
    """Glorot's numbers [C], and biases of 0."""
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class Resampling(nn.Module):
    """Bilinear resizing of maps as TensorFlow 1 did: pixel j of n reads from j m / n of m [C]."""

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], to: tuple[int, int]) -> None:
        super().__init__()
        for name, m, n in zip(("rows", "columns"), size, to, strict=True):
            self.register_buffer(name, _weigh_neighbours(m, n), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h', w']."""
        with without_autocast(maps):
            maps = at_least_float32(maps)
            rows, columns = self.rows.to(maps.dtype), self.columns.to(maps.dtype)
            return rows @ maps @ columns.T


def _weigh_neighbours(inputs: int, outputs: int) -> Tensor:
    """[outputs, inputs]: what each pixel takes from the two beside its place."""
    at = torch.arange(outputs, dtype=torch.float64) * inputs / outputs
    low = at.floor().long()
    high, share = (low + 1).clamp_max(inputs - 1), (at - low)[:, None]
    pick = torch.eye(inputs, dtype=torch.float64)
    return ((1.0 - share) * pick[low] + share * pick[high]).float()


class TransportBranch(nn.Module):
    """[B, 3, h, w] -> unit [B, D]: VGG16, a reduction, and on the ground side the transport.

    ``grid``: rows and columns of the aerial map, where the ground map is moved to; None: this is
    the aerial side. Takes pictures of ``size_px`` (height, width) only.
    """

    def __init__(
        self, config: Config, size_px: tuple[int, int], grid: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.size_px = size_px
        self.trunk = backbones.trunk(config.backbone, config.weights, pooled=False)
        size = backbones.map_size(self.trunk, size_px)
        self.reduction = Reduction(self.trunk.channels, config.channels, size)
        self.transport = nn.Sequential()
        if grid:
            self.transport.append(Resampling(self.reduction.size, grid))
            self.transport.append(Transport(config.channels, grid, config))

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        if tuple(images.shape[2:]) != self.size_px:
            raise InvalidValue(
                f"This network takes pictures of {self.size_px[1]} x {self.size_px[0]} pixels, "
                f"got {images.shape[3]} x {images.shape[2]}: its plans belong to positions."
            )
        maps = self.transport(F.relu(self.reduction(self.trunk(images))))
        return F.normalize(at_least_float32(maps).flatten(1), dim=1)


class TransportNetwork(nn.Module):
    """Two branches that share nothing; the ground one moves its features to the aerial grid."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.aerial = TransportBranch(config, config.aerial_px)
        self.ground = TransportBranch(config, config.ground_px, self.aerial.reduction.size)


def build(config: Config) -> TransportNetwork:
    """The network, its trunks with the weights that the Config names."""
    return TransportNetwork(config)


def rate(name: str, config: Config) -> float:
    """The share of the learning rate of a parameter: 0 of the frozen blocks, if pretrained."""
    fixed = config.weights != backbones.RANDOM and config.backbone.startswith("vgg16")
    return 0.0 if fixed and 0 < backbones.find_vgg_block(name) <= config.frozen else 1.0


def encode(model: TransportNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views, and metres between the batch's places where they count."""
    encoded = {"ground": model.ground(batch.ground), "aerial": model.aerial(batch.aerial)}
    if batch.apart_m is not None:
        encoded["apart_m"] = batch.apart_m
    return encoded


def contrast(
    model: TransportNetwork, vectors: dict[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """All triplets of the batch, but for negatives nearer than ``negatives_from_m``."""
    wrong = find_negatives(vectors.get("apart_m"), config.negatives_from_m)
    pair = vectors["ground"], vectors["aerial"]
    return {"triplet": soft_margin_triplet(*pair, config.alpha, wrong=wrong)}


def objective(model: TransportNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places [C]."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Nothing: the released code trains on the pictures as they are [C]."""
    return pair


RECIPES = {
    "cvusa": {"whole": True},
    "cvact": {"whole": True, "negatives_from_m": 25.0},
}
REPRODUCES = {
    "cvusa": ("CVFT: polar",),
    "cvact": ("CVFT: polar",),
}
