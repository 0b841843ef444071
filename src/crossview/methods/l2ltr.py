"""L2LTR: cross-view geo-localization with layer-to-layer transformer (Yang et al., NeurIPS 2021).

Written from the paper and from facts about the authors' released code
(yanghongji2007/cross_view_localization_L2LTR, MIT; none of it is here). [C]: a constant of that
code. [V]: of the vision transformer that it starts from (Dosovitskiy et al., ICLR 2021, R50+ViT-B).

Deviations: bfloat16 where it is fast; the last step's weights are kept; the LayerNorm of the keys,
which ImageNet's weights lack, starts as that of the queries; polar pictures are not stretched in
contrast as SAFA's stored ones are. ``docs/methods/l2ltr.md`` says what was checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.networks import backbones, layout_masks
from crossview.networks.losses import at_least_float32, soft_margin_triplet, without_autocast
from crossview.networks.samplers import draw_batches
from crossview.networks.weight_files import fit, rename_tensor
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable

HYBRID = "vit_base_r50_s16_224.orig_in21k"  # whose weights training starts from, as timm names them
STRIDE = 16  # of the ResNet: a token is a position of its map
_HYBRID_NAMES = (  # timm's -> ours
    (r"^patch_embed\.backbone\.", "resnet."),
    (r"^patch_embed\.proj\.", "patch."),
    (r"^cls_token$", "token"),
    (r"^pos_embed$", "places"),
    (r"^blocks\.", "layers."),
    (r"^(layers\.\d+)\.norm1\.", r"\1.norm."),
    (r"^(layers\.\d+)\.norm2\.", r"\1.wide_norm."),
    (r"\.attn\.proj\.", ".out."),
    (r"\.mlp\.fc1\.", ".wide."),
    (r"\.mlp\.fc2\.", ".narrow."),
)
_AUTHORS_NAMES = (
    (r"^model_grd\.transformer\.", "ground."),
    (r"^model_sat\.transformer\.", "aerial."),
    (r"\.embeddings\.position_embeddings$", ".places"),
    (r"\.embeddings\.cls_token$", ".token"),
    (r"\.embeddings\.patch_embeddings\.", ".patch."),
    (r"\.embeddings\.hybrid_model\.", ".resnet."),
    (r"\.root\.conv\.", ".stem.conv."),
    (r"\.root\.gn\.", ".stem.norm."),
    (
        r"\.body\.block(\d+)\.unit(\d+)\.",
        lambda m: f".stages.{int(m[1]) - 1}.blocks.{int(m[2]) - 1}.",
    ),
    (r"\.gn(\d)\.", r".norm\1."),
    (r"\.downsample\.", ".downsample.conv."),
    (r"\.gn_proj\.", ".downsample.norm."),
    (r"\.encoder\.layer\.", ".layers."),
    (r"\.encoder\.encoder_norm\.", ".norm."),
    (r"\.attention_norm_1\.", ".norm."),
    (r"\.attention_norm_2\.", ".key_norm."),
    (r"\.ffn_norm\.", ".wide_norm."),
    (r"\.ffn\.fc1\.", ".wide."),
    (r"\.ffn\.fc2\.", ".narrow."),
    (r"\.attn\.", "."),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA with the polar transform; ``--recipe`` has the published settings."""

    weights: str = "hub"  # ImageNet-21k [C]; "none", or a file with timm's names of HYBRID
    stem: int = 64  # channels of the first convolution; a stage has 4, 8, 16 times as many [V]
    blocks: tuple[int, int, int] = (3, 4, 9)  # of the ResNet's stages [C]
    width: int = 768  # numbers of a token, and of the vector [C]
    layers: int = 12  # of the transformer [C]
    heads: int = 12  # [C]
    hidden: int = 3072  # of a layer's feed-forward step [C]
    dropout: float = 0.1  # [C]
    ground_px: tuple[int, int] = (128, 512)  # height, width [C]
    aerial_px: tuple[int, int] = (128, 512)  # [C]; (256, 256) without polar
    polar: bool = True  # the paper has both
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    alpha: float = 10.0  # of the triplet loss [C]
    batch: int = 32  # [C]
    epochs: float = 200.0  # 222,000 steps of CVUSA's 1,110 batches [C]
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-4  # AdamW [C]
    weight_decay: float = 0.03  # [C]
    decay_vectors: bool = True
    eps: float = 1e-6  # [C]
    warmup_steps: int = 500  # [C], then half a cosine, step by step
    clip_norm: float = 1.0  # [C]
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("blocks", "ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require(
            self.stem in (8, 16) or (self.stem > 0 and self.stem % 32 == 0),
            f"stem must be 8, 16 or a multiple of 32, got {self.stem}: its norms have 32 groups.",
        )
        require(
            self.heads > 0 and self.width % self.heads == 0,
            f"{self.heads} attention heads do not divide tokens of {self.width} numbers.",
        )
        require(min(self.blocks) >= 1, f"blocks must be 1 or more, got {list(self.blocks)}.")
        require(self.layers >= 1, f"layers must be at least 1, got {self.layers}.")
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1), got {self.dropout}.")


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, unrolled or as they are."""
    return layout_masks.make_aligned_views(config)


class Layer(nn.Module):
    """Attention and a feed-forward step, each on normed tokens and added to what came in.

    Self-cross attention: queries and values are made of what comes into this layer, keys of what
    came into the layer before, normed by a LayerNorm of its own. The first layer has its own input
    for both [C].
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm, self.key_norm, self.wide_norm = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, before: Tensor) -> Tensor:
        """What came into this layer and into the one before, [B, T, D] -> [B, T, D]."""
        normed, earlier = self.norm(tokens), self.key_norm(before)
        query, key, value = (
            made.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for made in (self.query(normed), self.key(earlier), self.value(normed))
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        hidden = self.dropout(F.gelu(self.wide(self.wide_norm(tokens))))
        result: Tensor = tokens + self.dropout(self.narrow(hidden))
        return result


class HybridBranch(nn.Module):
    """One side: a ResNet, whose map's positions are the tokens of a transformer, and its summary.

    It takes pictures of one size (height, width): its position table belongs to it.
    """

    def __init__(self, config: Config, size_px: tuple[int, int]) -> None:
        super().__init__()
        require(
            min(size_px) >= 2 * STRIDE and not any(side % STRIDE for side in size_px),
            f"L2LTR takes pictures whose sides are multiples of {STRIDE} pixels, got "
            f"{size_px[1]} x {size_px[0]}.",
        )
        self.size_px = size_px
        self.grid = size_px[0] // STRIDE, size_px[1] // STRIDE
        self.resnet = make_resnet(config)
        self.patch = nn.Conv2d(16 * config.stem, config.width, 1)
        self.token = nn.Parameter(torch.zeros(1, 1, config.width))
        positions = 1 + self.grid[0] * self.grid[1]
        self.places = nn.Parameter(0.02 * torch.randn(1, positions, config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D]."""
        if tuple(images.shape[2:]) != self.size_px:
            raise InvalidValue(
                f"This network takes pictures of {self.size_px[1]} x {self.size_px[0]} pixels, "
                f"got {images.shape[3]} x {images.shape[2]}: its tokens belong to positions."
            )
        patches = self.patch(self.resnet(images)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1)
        tokens = self.dropout(tokens + self.places)
        before = tokens
        for layer in self.layers:
            tokens, before = layer(tokens, before), tokens
        with without_autocast(tokens):
            return F.normalize(at_least_float32(self.norm(tokens[:, 0])), dim=1)


def make_resnet(config: Config) -> nn.Module:
    """The first three stages of R50 [V]: standardised weights, group norms, 16 pixels a position.

    As in [C], the norm of a shortcut has a group for each channel.
    """
    from timm.layers import GroupNormAct, StdConv2d
    from timm.models.resnetv2 import ResNetV2

    resnet = ResNetV2(
        layers=list(config.blocks),
        channels=tuple(config.stem * times for times in (4, 8, 16)),
        stem_chs=config.stem,
        preact=False,
        num_classes=0,
        global_pool="",
        conv_layer=partial(StdConv2d, eps=1e-5),
        norm_layer=partial(GroupNormAct, num_groups=min(32, config.stem), eps=1e-6),
    )
    stages: Any = resnet.stages
    for stage in stages:
        norm = stage.blocks[0].downsample.norm
        norm.num_groups, norm.eps = norm.num_channels, 1e-5
    whole: nn.Module = resnet
    return whole


class HybridNetwork(nn.Module):
    """Two branches that share nothing."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ground, self.aerial = (
            HybridBranch(config, s) for s in (config.ground_px, config.aerial_px)
        )


def build(config: Config) -> HybridNetwork:
    """The network; both branches start from ImageNet-21k's weights of R50+ViT-B."""
    network = HybridNetwork(config)
    if config.weights != backbones.RANDOM:
        state = backbones.backbone(HYBRID, config.weights).state_dict()
        for branch in (network.ground, network.aerial):
            start_from_hybrid(branch, state)
    return network


def start_from_hybrid(branch: HybridBranch, state: Mapping[str, Tensor]) -> None:
    """Fill a branch with timm's tensors of HYBRID, its position table resized to the pictures.

    Raises InvalidValue where the branch is of other widths and depths.
    """
    from timm.layers import resample_abs_pos_embed

    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        name = rename_tensor(key, _HYBRID_NAMES)
        if ".attn.qkv." in name:
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            tensors |= {name.replace("attn.qkv", part): third for part, third in parts}
        elif name == "places":
            tensors[name] = resample_abs_pos_embed(value, list(branch.grid))
        else:
            tensors[name] = value
        if re.match(r"blocks\.\d+\.norm1\.", key):
            tensors[name.replace(".norm.", ".key_norm.")] = value
    fitting, complaint = fit(branch.state_dict(), tensors, Path(HYBRID))
    require(
        not complaint,
        f"The weights of {HYBRID} do not fit these widths and depths: {complaint}.\n"
        "Use --no-pretrained, or the paper's stem, blocks, width, layers and hidden.",
    )
    branch.load_state_dict(fitting)


def encode(model: HybridNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views."""
    return {"ground": model.ground(batch.ground), "aerial": model.aerial(batch.aerial)}


def contrast(model: HybridNetwork, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """All triplets of the batch; the diagonal, which [C] keeps, adds a constant."""
    pair = (vectors["ground"], vectors["aerial"])
    return {"triplet": soft_margin_triplet(*pair, config.alpha, keep_diagonal=True)}


def objective(model: HybridNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
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
    inside = "model_grd.transformer."
    root = state[f"{inside}embeddings.hybrid_model.root.conv.weight"]
    wide = state[f"{inside}encoder.layer.0.ffn.fc1.weight"]
    units = {m.groups() for key in state if (m := re.search(r"grd.*block(\d)\.unit(\d+)\.", key))}
    numbers = {m[1] for key in state if (m := re.search(r"grd.*encoder\.layer\.(\d+)\.", key))}
    return {
        "stem": int(root.shape[0]),
        "blocks": tuple(sum(stage == str(n) for stage, _ in units) for n in (1, 2, 3)),
        "width": int(wide.shape[1]),
        "hidden": int(wide.shape[0]),
        "layers": len(numbers),
    }


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that they do not show, with the reason."""
    reasons = {"heads": layout_masks.HEADS_UNSEEN}
    for side, setting in (("grd", "ground_px"), ("sat", "aerial_px")):
        table = state.get(f"model_{side}.transformer.embeddings.position_embeddings")
        if table is not None and table.ndim == 3:
            count = int(table.shape[1]) - 1
            sizes = backbones.list_sizes(count, STRIDE)
            reasons[setting] = (
                f"its table has {count} positions, in rows that are not told: {sizes}"
            )
    reasons["polar"] = "the tables of 128 x 512 and of 256 x 256 are alike"
    return reasons


check = layout_masks.check_centred  # the polar view needs cameras in the middle


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
    "cvact": {"whole": True},
    "cvact-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
}
REPRODUCES = {
    "cvusa": ("L2LTR: polar",),
    "cvusa-plain": ("L2LTR",),
    "cvact": ("L2LTR: polar",),
    "cvact-plain": ("L2LTR",),
}
TENSORS = r"model_(grd|sat)\.transformer\.(embeddings|encoder)\."
COST = {
    "source": "Table VII of GeoDTR+, on a V100",
    "parameters_m": 195.9,
    "ms_per_pair": 405.0,
    "macs_g": 46.77,
}
