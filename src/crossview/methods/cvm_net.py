"""CVM-Net: cross-view matching by NetVLAD and a soft-margin ranking loss (Hu et al., CVPR 2018).

Local features of VGG16, aggregated by NetVLAD (Arandjelović et al., CVPR 2016), and a triplet loss
without a margin to choose. Written from what is known of the paper and of its released constants;
the authors' code (david-husx/crossview_localisation, TensorFlow 1) has no licence and was not used.
[C]: a constant of that code.

Not found, and so a setting: how NetVLAD's centres begin (``centres``), whether the convolutions of
variant II have a ReLU (``rectified``), how often a window is cropped or turned (``crop``,
``turn``), the epochs of both phases and how many hardest negatives the second keeps
(``plain_epochs``, ``epochs``, ``nearest``). Deviations: torchvision's VGG16 weights with their
normalisation; the rate ends in half a cosine (theirs is not known); bfloat16 where it is fast; the
last step's weights are kept.
Numbers are not checked against the original network; more in ``docs/methods/cvm-net.md``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import require
from crossview.networks import backbones, layout_masks
from crossview.networks.losses import at_least_float32, soft_margin_triplet, without_autocast
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.pairs.table import PairTable
from crossview.views.aerial import draw_middle, make_turned_view

SIDES = ("ground", "aerial")
FROZEN_BLOCKS = 3  # of VGG16, before conv4_1 [C]
INITIAL_STD, INITIAL_BIAS = 0.005, 0.1  # of the projection [C]
MEASURED = 2  # batches whose features are clustered
ROUNDS = 10  # of that clustering


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVM-Net-I on CVUSA; ``--recipe`` has the other variant, and CVACT."""

    variant: str = "I"  # a NetVLAD for each view; II: three convolutions, then one for both
    backbone: str = "vgg16.tv_in1k"  # up to conv5_3 and its ReLU [C]
    weights: str = "hub"  # ImageNet-1k; "none" or a file
    ground_px: tuple[int, int] = (224, 1232)  # height, width [C]
    aerial_px: tuple[int, int] = (512, 512)  # [C]
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 176.0  # of aerial windows, unless whole: CVUSA's
    clusters: int = 64  # [C]
    centres: str = "random"  # or clustered: by k-means of the first batches' features
    rectified: bool = True  # a ReLU after each convolution of II
    dim: int = 4096  # [C]
    frozen: bool = True  # blocks 1 to 3, if they are pretrained [C]
    alpha: float = 10.0  # of the triplet loss [C]
    nearest: int = 1  # hardest negatives of each anchor that count in the second phase; 0: all
    plain_epochs: float = 80.0  # of the first phase, where all negatives count; not found
    crop: float = 512 / 750  # least share of the window's side that is shown [C]; 1: all of it
    turn: float = 0.75  # how often a window is turned by one of three quarters
    batch: int = 12  # [C]
    epochs: float = 100.0  # not found
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-5  # Adam [C]
    weight_decay: float = 0.0
    amp: bool = True
    seed: int = 1

    polar = False  # no setting: windows are as they are

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        words = {"variant": ("I", "II"), "centres": ("random", "clustered")}
        for name, allowed in words.items():
            value = getattr(self, name)
            require(value in allowed, f"{name} must be {' or '.join(allowed)}, got {value!r}.")
        for name in ("clusters", "dim"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, got {value}.")
        require(self.nearest >= 0, f"nearest must be at least 0, got {self.nearest}.")
        require(0.0 < self.crop <= 1.0, f"crop is a share in (0, 1], got {self.crop}.")
        require(0.0 <= self.turn <= 1.0, f"turn is a probability, got {self.turn}.")


class NetVlad(nn.Module):
    """[B, C, N] -> unit [B, K * C]: how features lie about K centres, by soft assignment.

    Each position x of length 1 belongs to centre k with a share a_k(x), the softmax of a linear
    map and a batch norm. v_k = sum over x of a_k(x) (x - c_k), each brought to length 1, then all.
    """

    def __init__(self, channels: int, clusters: int) -> None:
        super().__init__()
        scale = channels**-0.5  # so that centres are about as long as what they stand among
        self.assign = nn.Parameter(scale * torch.randn(clusters, channels))
        self.norm = nn.BatchNorm1d(clusters)
        self.centres = nn.Parameter(scale * torch.randn(clusters, channels))

    def forward(self, features: Tensor) -> Tensor:
        """See the class; sums over a thousand positions are in float32 also under autocast."""
        with without_autocast(features):
            local = F.normalize(at_least_float32(features), dim=1)
            share = self.norm(self.assign @ local).softmax(dim=1)  # [B, K, N]
            sums = share @ local.transpose(1, 2)
            residuals = sums - share.sum(dim=2, keepdim=True) * self.centres
            return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)

    def begin_at(self, features: Tensor) -> None:
        """Take the centres of [B, C, N] by k-means, and assign by the inner product with them.

        Lloyd's rounds from features that lie evenly among all; the norm sets how soft shares are.
        """
        rows = F.normalize(at_least_float32(features), dim=1).transpose(1, 2).flatten(0, 1)
        first = torch.linspace(0, len(rows) - 1, len(self.centres), device=rows.device)
        centres = rows[first.round().long()]
        for _ in range(ROUNDS):
            nearest = torch.cdist(rows, centres).argmin(dim=1)
            member = F.one_hot(nearest, len(centres)).to(rows.dtype)
            count = member.sum(dim=0)[:, None]
            centres = torch.where(count > 0, member.T @ rows / count.clamp_min(1.0), centres)
        self.centres.copy_(centres)
        self.assign.copy_(centres)


class Convolutions(nn.Module):
    """Variant II before its NetVLAD: 1 x 1 for each view, then 3 x 3 and 1 x 1 for both [C]."""

    def __init__(self, channels: int, *, rectified: bool) -> None:
        super().__init__()
        self.own = nn.ModuleDict({side: nn.Conv2d(channels, channels, 1) for side in SIDES})
        self.wide = nn.Conv2d(channels, channels, 3, padding=1)
        self.narrow = nn.Conv2d(channels, channels, 1)
        self.rectified = rectified

    def forward(self, maps: Tensor, side: str) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        for conv in (self.own[side], self.wide, self.narrow):
            maps = F.relu(conv(maps)) if self.rectified else conv(maps)
        return maps


class CvmNet(nn.Module):
    """Trunks of their own, and a projection that both views share."""

    def __init__(self, config: Config, trunks: dict[str, backbones.Trunk]) -> None:
        super().__init__()
        self.ground_trunk, self.aerial_trunk = (trunks[side] for side in SIDES)
        channels = self.ground_trunk.channels
        alike = config.variant == "II"
        self.top = Convolutions(channels, rectified=config.rectified) if alike else None
        names = ("both",) if alike else SIDES
        self.vlad = nn.ModuleDict({name: NetVlad(channels, config.clusters) for name in names})
        self.project = nn.Linear(config.clusters * channels, config.dim)
        nn.init.normal_(self.project.weight, std=INITIAL_STD)
        nn.init.constant_(self.project.bias, INITIAL_BIAS)
        self.clustered = config.centres == "clustered"

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] of panoramas -> unit [B, D]."""
        return self._embed(images, "ground")

    def aerial(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] of windows -> unit [B, D]."""
        return self._embed(images, "aerial")

    def features(self, images: Tensor, side: str) -> Tensor:
        """[B, 3, h, w] -> [B, C, N], which NetVLAD aggregates."""
        maps: Tensor = self.get_submodule(f"{side}_trunk")(images)
        return (maps if self.top is None else self.top(maps, side)).flatten(2)

    def _embed(self, images: Tensor, side: str) -> Tensor:
        vlad = self.vlad[side if self.top is None else "both"]
        vectors = self.project(vlad(self.features(images, side)))
        return F.normalize(at_least_float32(vectors), dim=1)


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows, north up."""
    return layout_masks.make_aligned_views(config)


def build(config: Config) -> CvmNet:
    """The network: two trunks, pretrained or not, and what comes behind them."""
    trunks = {
        side: backbones.trunk(config.backbone, config.weights, pooled=False) for side in SIDES
    }
    return CvmNet(config, trunks)


def measure(model: CvmNet, batches: Iterator[Batch]) -> None:
    """Cluster the features of the first batches, where ``centres`` asks for it."""
    if not model.clustered:
        return
    seen = list(itertools.islice(batches, MEASURED))
    model.eval()
    with torch.no_grad():
        features = {
            side: torch.cat([model.features(getattr(batch, side), side) for batch in seen])
            for side in SIDES
        }
        for name, vlad in model.vlad.items():
            sides = SIDES if name == "both" else (name,)
            cast(NetVlad, vlad).begin_at(torch.cat([features[side] for side in sides], dim=2))
    model.train()


def rate(name: str, config: Config) -> float:
    """The share of the learning rate of a parameter: 0 of VGG16's first three blocks."""
    pretrained = config.frozen and config.weights != backbones.RANDOM
    return 0.0 if pretrained and 0 < backbones.find_vgg_block(name) <= FROZEN_BLOCKS else 1.0


def encode(model: CvmNet, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views."""
    return {"ground": model.ground(batch.ground), "aerial": model.aerial(batch.aerial)}


def contrast(model: CvmNet, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The weighted soft-margin ranking loss, over the hardest negatives or all (:func:`staged`)."""
    return {
        "triplet": soft_margin_triplet(
            vectors["ground"], vectors["aerial"], config.alpha, nearest=config.nearest
        )
    }


def objective(model: CvmNet, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """In the first epochs all negatives of a batch count."""
    return replace(config, nearest=0) if moment.epoch < config.plain_epochs else config


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """The window alone: its middle at a random size, turned by quarters; not the panorama [C].

    One of at most ``crop`` leaves the window whole.
    """
    share = draw_middle(config.crop, rng)
    quarters = int(rng.integers(1, 4)) if rng.uniform() < config.turn else 0
    if quarters == 0 and share == 1.0:
        return pair
    spec = views(config).aerial
    view = make_turned_view(pair.aerial, pair.metres_per_px, spec, quarters=quarters, share=share)
    return replace(pair, aerial=view, viewed=True, heading_deg=pair.heading_deg - 90.0 * quarters)


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-ii": {"whole": True, "variant": "II"},
    "cvact": {"whole": True, "crop": 0.4267},
    "cvact-ii": {"whole": True, "crop": 0.4267, "variant": "II"},
}
REPRODUCES = {"cvusa": ("CVM-Net",), "cvact": ("CVM-Net",)}
