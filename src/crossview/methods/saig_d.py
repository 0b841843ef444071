"""SAIG: a simple, effective and general backbone for this field (Zhu et al., arXiv 2302.01572).

Written from the paper and from facts about the authors' released code
(yanghongji2007/SAIG, Apache-2.0; none of it is here). [C]: a constant of that code.

Deviations: the authors' ImageNet weights lie on a drive only, so a training needs ``--weights
FILE`` or ``--no-pretrained``; bfloat16 where it is fast; the last step's weights are kept. How
fresh weights are drawn, how often the rate moves and whether pictures are augmented could not be
found: timm's way, every step, and not at all. ``docs/methods/saig-d.md`` says what was checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, WeightsUnavailable, require
from crossview.networks import backbones, layout_masks
from crossview.networks.losses import at_least_float32, soft_margin_triplet, without_autocast
from crossview.networks.samplers import draw_batches
from crossview.networks.weight_files import fill_network, rename_tensor
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.spec import HALF

STRIDES = (2, 2, 1, 2, 1, 2)  # of the stem's convolutions [C]; a token is 16 x 16 pixels
HEADS, LOSSES = ("smd", "gap"), ("triplet", "info-nce", "semi-triplet")
PICTURES_PX = {256: ((128, 512), (256, 256)), 800: ((320, 640), None), 400: (None, (320, 320))}
_AUTHORS_NAMES = (
    (r"^model_grd\.", "ground."),
    (r"^model_sat\.", "aerial."),
    (r"\.linear1\.", ".head.wide."),
    (r"\.linear2\.", ".head.narrow."),
    (r"\.linear3\.", ".head.rows."),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """SAIG-D with SMD on CVUSA, aerial pictures as they are; ``--recipe`` has the others."""

    weights: str = "hub"  # ImageNet-1k, which no hub has: a file, or "none"
    stem: tuple[int, ...] = (64, 128, 128, 256, 256, 512)  # channels of its convolutions [C]
    width: int = 384  # numbers of a token [C]
    depth: int = 22  # attention blocks: 22 in SAIG-D, 11 in SAIG-S [C]
    heads: int = 12  # of an attention block [C]
    head: str = "smd"  # spatial-mixed dimension reduction; "gap": the mean token
    rows: int = 8  # mixtures of tokens that SMD leaves [C]
    ground_px: tuple[int, int] = (128, 512)  # height, width [C]
    aerial_px: tuple[int, int] = (256, 256)  # [C]; (128, 512) if polar, (320, 320) on VIGOR
    polar: bool = False  # lists of the field have both
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    loss: str = "triplet"  # "info-nce", or "semi-triplet" as the best of VIGOR [C]
    alpha: float = 10.0  # of the triplet losses [C]
    temperature: float = 0.02  # of InfoNCE [C]
    batch: int = 32  # [C]
    epochs: float = 200.0  # [C]; 90 on VIGOR
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-4  # AdamW [C], then half a cosine
    weight_decay: float = 0.03  # [C]
    rho: float = 2.0  # [C]; 0: without sharpness-aware minimisation
    adaptive: bool = True  # ASAM [C]; false: SAM
    clip_norm: float = 0.0  # 1 on VIGOR [C]
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("stem", "ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, allowed in (("head", HEADS), ("loss", LOSSES)):
            given = getattr(self, name)
            require(given in allowed, f"{name} must be one of {', '.join(allowed)}: {given!r}.")
        require(
            len(self.stem) == len(STRIDES) and min(self.stem) >= 1,
            f"stem must be {len(STRIDES)} numbers of channels, got {list(self.stem)}.",
        )
        require(
            self.heads >= 1 and self.width >= 1 and self.width % self.heads == 0,
            f"{self.heads} attention heads do not divide tokens of {self.width} numbers.",
        )
        require(self.depth >= 1, f"depth must be at least 1, got {self.depth}.")
        require(self.rows >= 1, f"rows must be at least 1, got {self.rows}.")
        require(
            0 < self.temperature < math.inf,
            f"temperature must be a number above 0, got {self.temperature}.",
        )


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, as they are or unrolled."""
    return layout_masks.make_aligned_views(config, mean=HALF, std=HALF)


class ConvolutionalStem(nn.Module):
    """Six convolutions, each with a batch norm and a ReLU, and one of 1 x 1 to the tokens' width.

    The padding rounds up, so pictures whose sides are multiples of 16 leave nothing over.
    """

    def __init__(self, channels: tuple[int, ...], width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (inputs, outputs), stride in zip(pairwise((3, *channels)), STRIDES, strict=True):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride, padding=1))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.conv_stem = nn.Sequential(*layers, nn.Conv2d(channels[-1], width, 1))
        self.grid_size = grid

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> tokens [B, N, C], row by row."""
        maps: Tensor = self.conv_stem(images)
        return maps.flatten(2).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Attention over normed tokens, added to what came in; there is no feed-forward step."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        from timm.layers import Attention

        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads=heads, qkv_bias=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        result: Tensor = tokens + self.attn(self.norm1(tokens))
        return result


class AttentionBackbone(nn.Module):
    """SAIG: a convolutional stem, a learned place for each token, blocks of attention, a norm.

    Its tensors have the names of the authors' checkpoints. It takes pictures of one size.
    """

    num_prefix_tokens = 0  # as timm's transformers say it: none before those of the positions

    def __init__(self, config: Config, size_px: tuple[int, int]) -> None:
        super().__init__()
        grid = math.ceil(size_px[0] / 16), math.ceil(size_px[1] / 16)
        self.size_px, self.positions = size_px, grid[0] * grid[1]
        self.patch_embed = ConvolutionalStem(config.stem, config.width, grid)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.positions, config.width))
        self.blocks = nn.ModuleList(
            AttentionBlock(config.width, config.heads) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> tokens [B, N, C]."""
        if tuple(images.shape[2:]) != self.size_px:
            raise InvalidValue(
                f"This network takes pictures of {self.size_px[1]} x {self.size_px[0]} pixels, "
                f"got {images.shape[3]} x {images.shape[2]}: its tokens belong to positions."
            )
        tokens = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed


class SpatialMixer(nn.Module):
    """SMD: maps over the positions, the same for every channel, leave a few mixtures of tokens.

    Tokens [B, N, C] -> [B, rows * C], one mixture after the other. N -> 4 N -> N -> rows, with a
    GELU after the first map.
    """

    def __init__(self, positions: int, rows: int) -> None:
        super().__init__()
        self.wide = nn.Linear(positions, 4 * positions)
        self.narrow = nn.Linear(4 * positions, positions)
        self.rows = nn.Linear(positions, rows)

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        mixed = self.narrow(F.gelu(self.wide(tokens.transpose(1, 2))))
        rows: Tensor = self.rows(mixed)
        return rows.transpose(1, 2).flatten(1)


class MeanToken(nn.Module):
    """GAP: the mean over the positions, [B, N, C] -> [B, C]."""

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        return tokens.mean(dim=1)


class AttentionBranch(nn.Module):
    """One side: the backbone and its head."""

    def __init__(self, config: Config, size_px: tuple[int, int]) -> None:
        super().__init__()
        self.backbone = AttentionBackbone(config, size_px)
        positions = self.backbone.positions
        self.head = SpatialMixer(positions, config.rows) if config.head == "smd" else MeanToken()

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D]."""
        summary = self.head(self.backbone(images))
        with without_autocast(summary):
            return F.normalize(at_least_float32(summary), dim=1)


class AttentionBranches(nn.Module):
    """Two branches that share nothing."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ground = AttentionBranch(config, config.ground_px)
        self.aerial = AttentionBranch(config, config.aerial_px)


def build(config: Config) -> AttentionBranches:
    """The network; both backbones start from the weights of the file that ``weights`` names."""
    if config.weights == backbones.PRETRAINED:
        raise WeightsUnavailable(
            "SAIG's ImageNet weights are on no hub: its authors keep them on a drive "
            "(github.com/yanghongji2007/SAIG).\n"
            "Give --weights FILE (pth or safetensors), or --no-pretrained to start from random "
            "numbers."
        )
    network = AttentionBranches(config)
    if config.weights != backbones.RANDOM:
        for branch in (network.ground, network.aerial):
            fill_network(branch.backbone, Path(config.weights))
    return network


def resample_places(state: Mapping[str, Tensor], backbone: AttentionBackbone) -> dict[str, Tensor]:
    """The tensors of a file, its square table of places resampled to the pictures' grid."""
    from timm.layers import resample_abs_pos_embed

    grid = list(backbone.patch_embed.grid_size)
    table = resample_abs_pos_embed(state["pos_embed"], grid, num_prefix_tokens=0)
    return {**state, "pos_embed": table}


checkpoint_filter_fn = resample_places  # timm's name for it, by which fill_network finds it


def encode(model: AttentionBranches, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Unit vectors [B, D] of both views."""
    return {"ground": model.ground(batch.ground), "aerial": model.aerial(batch.aerial)}


def contrast(
    model: AttentionBranches, vectors: Mapping[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """The loss that the Config names; the triplets' diagonal, which [C] keeps, adds a constant."""
    ground, aerial = vectors["ground"], vectors["aerial"]
    if config.loss == "info-nce":
        return {"info_nce": contrast_both_ways(ground, aerial, config.temperature)}
    if config.loss == "semi-triplet":
        nearest = math.isqrt(len(ground))
        return {"triplet": soft_margin_triplet(ground, aerial, config.alpha, nearest=nearest)}
    return {"triplet": soft_margin_triplet(ground, aerial, config.alpha, keep_diagonal=True)}


def contrast_both_ways(ground: Tensor, aerial: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of each pair among 2 n - 1: itself, and all that share one side with it.

    ``ground``, ``aerial``: unit [n, D], row i of both the same place. Other than in CLIP's form,
    the negatives of both directions stand in one sum.
    """
    with without_autocast(ground):
        logits = at_least_float32(ground) @ at_least_float32(aerial).T / temperature
        same = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        both = torch.cat([logits, logits.T.masked_fill(same, -torch.inf)], dim=1)
        return F.cross_entropy(both, torch.arange(len(logits), device=logits.device))


def objective(model: AttentionBranches, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The loss of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Nothing: the sources name no augmentation."""
    return pair


def imported(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' checkpoint by our names."""
    return {rename_tensor(key, _AUTHORS_NAMES): value for key, value in state.items()}


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings that the authors' tensors show."""
    inside = "model_grd.backbone."
    stem = [state[f"{inside}patch_embed.conv_stem.{3 * n}.weight"] for n in range(len(STRIDES))]
    last = state.get("model_grd.linear3.weight")
    blocks = {key.split(".")[3] for key in state if key.startswith(f"{inside}blocks.")}
    settings: dict[str, Any] = {
        "stem": tuple(int(weight.shape[0]) for weight in stem),
        "width": int(state[f"{inside}pos_embed"].shape[2]),
        "depth": len(blocks),
        "head": "gap" if last is None else "smd",
    }
    if last is not None:
        settings["rows"] = int(last.shape[0])
    for number, (side, name) in enumerate((("grd", "ground_px"), ("sat", "aerial_px"))):
        if size := PICTURES_PX.get(_count_positions(state, side), (None, None))[number]:
            settings[name] = size
    return settings


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that they do not show, with the reason."""
    reasons = {"heads": layout_masks.HEADS_UNSEEN}
    counts = [_count_positions(state, side) for side in ("grd", "sat")]
    for number, setting in enumerate(("ground_px", "aerial_px")):
        if not counts[number]:
            continue
        taken = PICTURES_PX.get(counts[number], (None, None))[number]
        sizes = "taken as in the paper" if taken else backbones.list_sizes(counts[number], 16)
        reasons[setting] = f"its table has {counts[number]} positions of 16 x 16 pixels: {sizes}"
    if counts[0] == counts[1]:
        reasons["polar"] = "unrolled pictures have as many positions as square ones"
    return reasons


def _count_positions(state: Mapping[str, Tensor], side: str) -> int:
    table = state.get(f"model_{side}.backbone.pos_embed")
    return int(table.shape[1]) if table is not None and table.ndim == 3 else 0


check = layout_masks.check_centred  # the polar view needs cameras in the middle


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-polar": {"whole": True, "polar": True, "aerial_px": (128, 512)},
    "cvusa-s": {"whole": True, "depth": 11},
    "cvact": {"whole": True},
    "cvact-polar": {"whole": True, "polar": True, "aerial_px": (128, 512)},
    "cvact-s": {"whole": True, "depth": 11},
    "vigor": {
        "whole": True,
        "ground_px": (320, 640),
        "aerial_px": (320, 320),
        "loss": "semi-triplet",
        "epochs": 90.0,
        "clip_norm": 1.0,
    },
}
REPRODUCES = {
    "cvusa --weights SAIG_D.pth": ("SAIG-D",),
    "cvusa-polar --weights SAIG_D.pth": ("SAIG-D: polar",),
    "cvact --weights SAIG_D.pth": ("SAIG-D",),
    "cvact-polar --weights SAIG_D.pth": ("SAIG-D: polar",),
    "vigor --weights SAIG_D.pth": ("SAIG-D: semi-triplet, ASAM",),
}
TENSORS = r"model_(grd|sat)\.backbone\.(patch_embed|blocks|pos_embed)"
