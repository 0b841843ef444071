"""HER: hard exemplar reweighting of triplets, over Siam-FCANet (Cai et al., ICCV 2019).

*Ground-to-aerial image geo-localization with a hard exemplar reweighting triplet loss*: ResNets
with attention in every block, a loss whose triplets weigh the more the harder they are, within
bounds, and a regression of how far the window was turned. The paper's text was not at hand. Written
from its abstract and from the facts of the authors' code (s-d-cai/Crossview-Matching-Project01,
PyTorch), which has no licence and of which nothing was taken; [C]: a constant of that code.

Not found, and so a setting: whether the paper's weights carry gradients, as in the code
(``through``); which of the code's pairs of loss weights, 1 and 0.5 or 5 and 2.5, trained the
published networks, and when they changed (``triplet``, ``turn``, ``raised``, ``raised_epochs``);
how long the published vectors are (``dim``: the code has 1,024 and 4,096). Deviations, all listed
in ``docs/methods/her.md``: vectors are compared at one length, ``scale``, where the released code
leaves their length free; the trunk starts from ImageNet, not from the authors' model of another
data set; momentum goes on from epoch to epoch. Numbers are not checked against the original
network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.networks import backbones
from crossview.networks.layout_masks import make_aligned_views
from crossview.networks.losses import at_least_float32, weigh_exemplars, without_autocast
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.pairs.table import PairTable
from crossview.views.aerial import draw_middle, make_turned_view

KERNELS = (3, 5, 7)  # of both spatial attentions [C]
HIDDEN = 100  # of the regression of the turn [C]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Siam-FCANet18 on CVUSA; ``--recipe`` has those of the field."""

    backbone: str = "resnet18.tv_in1k"  # or resnet34.tv_in1k, to the end of layer4 [C]
    weights: str = "hub"  # ImageNet-1k; "none" or a file
    reduction: int = 16  # of the channel attention [C]
    peak: bool = False  # it sees the largest values, too; in the code the mean, twice [C]
    context: int = 128  # channels of each kernel of the context module [C]
    dim: int = 1024  # of a vector; 4,096 in later versions of the code
    ground_px: tuple[int, int] = (224, 1232)  # height, width [C]
    aerial_px: tuple[int, int] = (512, 512)  # [C]
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    crop: float = 512 / 750  # least share of the window's side that is shown [C]; 1: all of it
    turned: bool = True  # windows, by none to three quarters [C]
    scale: float = 5.0  # length of the vectors that are compared [C]
    margin: float = 0.15  # times their square: easier triplets are easy ones [C]
    easy: float = 0.1  # over the batch: the weight of these [C]
    through: bool = True  # gradients also by the weights [C]
    triplet: float = 1.0  # weight of the triplets [C]
    turn: float = 0.5  # weight of the regression [C]; 0: off
    raised: float = 5.0  # both are so many times as much [C]
    raised_epochs: float = 50.0  # after so many epochs [C]
    batch: int = 48  # on two GPUs; 12 in the sample script [C]
    epochs: float = 100.0  # [C]
    steps: int = 0  # 0: epochs decide
    optimiser: str = "sgd"  # [C]
    momentum: float = 0.9  # [C]
    lr: float = 5e-5  # [C]
    schedule: str = "polynomial"  # what is left of the epochs [C]
    weight_decay: float = 5e-4  # [C]
    decay_vectors: bool = True  # [C]
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    amp: bool = True
    seed: int = 1

    polar = False  # no setting: windows are as they are

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("reduction", "context", "dim"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, got {value}.")
        for name in ("scale", "triplet", "raised"):
            value = getattr(self, name)
            require(value > 0, f"{name} must be above 0, got {value}.")
        for name in ("turn", "margin", "easy"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be at least 0, got {value}.")
        require(0.0 < self.crop <= 1.0, f"crop is a share in (0, 1], got {self.crop}.")


class FeatureAttention(nn.Module):
    """FCAM, in a block before its input is added: channels first, then positions [C].

    [B, C, h, w] times sigmoids: of each channel, from its mean (and its largest value) by two 1 x 1
    convolutions; of each position, from the mean and the largest of the weighted channels by 3 x 3,
    5 x 5 and 7 x 7 convolutions to one channel each, rectified and mixed.
    """

    def __init__(self, channels: int, reduction: int, *, peak: bool) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.down = nn.Conv2d(channels, narrow, 1, bias=False)
        self.up = nn.Conv2d(narrow, channels, 1, bias=False)
        self.local = nn.ModuleList(nn.Conv2d(2, 1, k, padding=k // 2) for k in KERNELS)
        self.mix = nn.Conv2d(len(KERNELS), 1, 1)
        self.peak = peak

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        means = self._squeeze(maps.mean(dim=(2, 3), keepdim=True))
        others = self._squeeze(maps.amax(dim=(2, 3), keepdim=True)) if self.peak else means
        maps = maps * torch.sigmoid(means + others)
        seen = torch.cat([maps.mean(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)], dim=1)
        local = torch.cat([F.relu(conv(seen)) for conv in self.local], dim=1)
        weighted: Tensor = maps * torch.sigmoid(self.mix(local))
        return weighted

    def _squeeze(self, channels: Tensor) -> Tensor:
        return self.up(F.relu(self.down(channels)))  # type: ignore[no-any-return]


class ContextAttention(nn.Module):
    """After the trunk: [B, C, h, w] times a sigmoid of each position and its surroundings [C]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.local = nn.ModuleList(nn.Conv2d(channels, width, k, padding=k // 2) for k in KERNELS)
        self.mix = nn.Conv2d(len(KERNELS) * width, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        local = torch.cat([F.relu(conv(maps)) for conv in self.local], dim=1)
        weighted: Tensor = maps * torch.sigmoid(self.mix(local))
        return weighted


class FcanetBranch(nn.Module):
    """[B, 3, h, w] -> unit [B, dim]: ResNet with attention, context, a pooling, a linear map.

    Takes pictures of ``size_px`` (height, width) only.
    """

    def __init__(self, config: Config, size_px: tuple[int, int]) -> None:
        super().__init__()
        self.size_px = size_px
        trunk: Any = backbones.backbone(config.backbone, config.weights, global_pool="")
        for block in _list_blocks(trunk, config.backbone):
            last = block.bn3 if hasattr(block, "bn3") else block.bn2
            block.se = FeatureAttention(last.num_features, config.reduction, peak=config.peak)
            _initialise(block.se)
        channels = int(trunk.num_features)
        rows, columns = backbones.map_size(trunk, size_px)
        self.trunk, self.context = trunk, ContextAttention(channels, config.context)
        self.pool = nn.MaxPool2d(2, padding=(rows % 2, columns % 2))  # [C]
        self.project = nn.Linear(channels * ((rows + 1) // 2) * ((columns + 1) // 2), config.dim)
        _initialise(self.context)
        _initialise(self.project)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        if tuple(images.shape[2:]) != self.size_px:
            raise InvalidValue(
                f"This network takes pictures of {self.size_px[1]} x {self.size_px[0]} pixels, "
                f"got {images.shape[3]} x {images.shape[2]}: its last map belongs to positions."
            )
        maps = self.pool(self.context(self.trunk(images)))
        return F.normalize(at_least_float32(self.project(maps.flatten(1))), dim=1)


def _list_blocks(trunk: Any, name: str) -> list[Any]:
    """The blocks of a ResNet of timm; each asks ``se`` before it adds its input."""
    stages = [getattr(trunk, f"layer{n}", ()) for n in range(1, 5)]
    blocks = [block for stage in stages for block in stage]
    require(
        bool(blocks) and all(hasattr(block, "se") for block in blocks),
        f"her has attention in the blocks of a ResNet of timm, such as resnet18 or resnet34; "
        f"{name} has none of them.",
    )
    return blocks


def _initialise(part: nn.Module) -> None:
    """Convolutions by He's numbers over what they give; linear maps by both their sides [C]."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(2.0 / module.weight.numel()) ** 0.5)
            nn.init.zeros_(module.bias)


class TurnHead(nn.Module):
    """How far the window was turned: two linear maps on both vectors, rectified [C]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(2 * dim, HIDDEN), nn.Linear(HIDDEN, 2)
        _initialise(self)

    def forward(self, ground: Tensor, aerial: Tensor) -> Tensor:
        """[B, D] of both views -> [B, 2], sine and cosine of the angle, counter-clockwise."""
        both = F.relu(torch.cat([ground, aerial], dim=1))
        turn: Tensor = self.outer(F.relu(self.inner(both)))
        return turn


class SiamFcanet(nn.Module):
    """Two branches that share nothing, and the head that regresses the turn from their vectors."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ground, self.aerial = (
            FcanetBranch(config, size_px) for size_px in (config.ground_px, config.aerial_px)
        )
        self.turn = TurnHead(config.dim)


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows, north up where they are not turned."""
    return make_aligned_views(config)


def build(config: Config) -> SiamFcanet:
    """The network, its trunks with the weights that the Config names."""
    return SiamFcanet(config)


def encode(model: SiamFcanet, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views, and headings of the panoramas in their windows [B]."""
    ground, aerial = model.ground(batch.ground), model.aerial(batch.aerial)
    return {"ground": ground, "aerial": aerial, "heading_deg": batch.heading_deg}


def contrast(model: SiamFcanet, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Reweighted triplets of ground anchors, and the turn by the same weights; means over n x n."""
    with without_autocast(vectors["ground"]):
        ground, aerial = (
            config.scale * at_least_float32(vectors[side]) for side in ("ground", "aerial")
        )
        weight, difference = weigh_triplets(ground, aerial, config)
        losses = {"triplet": config.triplet * (weight * F.softplus(difference)).mean()}
        if config.turn:
            error = measure_turn_error(model.turn(ground, aerial), vectors["heading_deg"].detach())
            losses["turn"] = config.turn * (weight * error[:, None]).mean()
        return losses


def weigh_triplets(ground: Tensor, aerial: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Weights [n, n] and d_true - d_wrong of all triplets, ground by aerial, from [n, D] of both.

    d is the squared Euclidean distance. A place is not its own negative: its weight is 0.
    """
    apart = ground.square().sum(dim=1)[:, None] + aerial.square().sum(dim=1)
    distance = apart - 2.0 * ground @ aerial.T
    difference = distance.diagonal()[:, None] - distance
    margin, easy = config.margin * config.scale**2, config.easy / len(ground)
    weight = weigh_exemplars(difference, margin, easy=easy, through=config.through)
    own = torch.eye(len(ground), dtype=torch.bool, device=ground.device)
    return weight.masked_fill(own, 0.0), difference


def measure_turn_error(found: Tensor, heading_deg: Tensor) -> Tensor:
    """[B]: squared error of sine and cosine [B, 2] of the window's turn; 0 where it is unknown."""
    turn = torch.deg2rad(-heading_deg.to(found.dtype))
    known = torch.isfinite(turn)
    truth = torch.stack([turn.sin(), turn.cos()], dim=1).nan_to_num()
    return torch.where(known, (found - truth).square().sum(dim=1), 0.0)


def objective(model: SiamFcanet, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """Both losses weigh more after the first epochs [C]."""
    if moment.epoch < config.raised_epochs:
        return config
    return replace(config, triplet=config.raised * config.triplet, turn=config.raised * config.turn)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places [C]."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """The window alone: its middle at a random size, turned by quarters; not the panorama [C].

    One of at most ``crop`` leaves the window whole.
    """
    share = draw_middle(config.crop, rng)
    quarters = int(rng.integers(4)) if config.turned else 0
    if quarters == 0 and share == 1.0:
        return pair
    spec = views(config).aerial
    view = make_turned_view(pair.aerial, pair.metres_per_px, spec, quarters=quarters, share=share)
    return replace(pair, aerial=view, viewed=True, heading_deg=pair.heading_deg - 90.0 * quarters)


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-34": {"whole": True, "backbone": "resnet34.tv_in1k"},
}
REPRODUCES = {
    "cvusa": ("HER: ResNet-18",),
    "cvusa-34": ("HER: ResNet-34, older",),
}
