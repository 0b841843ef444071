"""Masks over a map of features, and the vectors that they make of it: SAFA, GeoDTR and GeoDTR+.

    features r [C, N], masks p [N, K]  ->  f = r p, flattened and brought to length 1

The vector says how much of each channel lies under each mask. SAFA: Shi et al., NeurIPS 2019,
section 3.2; GeoDTR: arXiv 2212.04074; GeoDTR+: arXiv 2308.09624, which call the masks layout
descriptors and f the Frobenius products with them. Three generators of masks can stand in for each
other: SAFA's bank and the geometric layout extractors of GeoDTR (GLE v1) and GeoDTR+ (GLE v2).
Written from the papers and their figures; the authors' code has no licence and was not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.geo.points import measure_pair_distances_m
from crossview.networks.backbones import Trunk, as_cut, list_sizes, map_size, trunk
from crossview.networks.losses import (
    at_least_float32,
    counterfactual,
    soft_margin_triplet,
    without_autocast,
)
from crossview.networks.weight_files import convnext_tensor, rename_tensor
from crossview.pairs.batch import Batch, Views
from crossview.pairs.table import PairTable
from crossview.views.spec import IMAGENET_MEAN, IMAGENET_STD, ViewSpec

Rgb = tuple[float, float, float]
MakeMasks = Callable[[int, int], nn.Module]  # channels, positions -> a mask generator
OFF_CENTRE = 0.1  # of the footprint: farther from the middle, unrolled columns are no bearings
ASKED = 2000  # rows that the check looks at
HEADS_UNSEEN = "the shapes are alike for any number of attention heads"
_SIDES = (
    (r"^backbone_(grd|sat)\.layers\.", r"\1.trunk.stages.layers."),
    (r"^(GLE|ge)_(grd|sat)\.(tr_module\.)?", r"\2.generator."),
    (r"^grd\.", "ground."),
    (r"^sat\.", "aerial."),
)
_RESNET = (
    (r"\.layers\.0\.(weight)$", r".conv1.\1"),
    (r"stages\.layers\.1\.", "stages.bn1."),
    (r"stages\.layers\.([3-6])\.", lambda m: f"stages.layer{int(m[1]) - 2}."),
)
_ENCODER = (
    (r"\.transformer_encoder\.", ".encoder."),
    (r"\.self_attn\.in_proj_", ".qkv."),
    (r"\.self_attn\.out_proj\.", ".out."),
    (r"\.linear1\.", ".wide."),
    (r"\.linear2\.", ".narrow."),
)
_V2 = (
    (r"\.pe\.pe$", ".place"),
    (r"\.w([12])$", lambda m: f".bottleneck.{int(m[1]) - 1}.weight"),
    (r"\.b([12])$", lambda m: f".bottleneck.{int(m[1]) - 1}.bias"),
)
_V1 = (
    (r"\.pos_encoder\.linear$", ".index.weight"),
    (r"\.pos_encoder\.embedding_parameter$", ".index.bias"),
    (r"\.w1$", ".lower.weight"),
    (r"\.b1$", ".lower.bias"),
    (r"\.w2$", ".upper.weight"),
    (r"\.b2$", ".upper.bias"),
)
PICTURES_PX = {  # positions of a map of stride 16 -> the (height, width) of the published models
    287: (122, 671),
    336: (122, 671),
    256: (256, 256),
    400: (320, 320),
    800: (320, 640),
}


class Aligned(Protocol):
    """The settings of a method that shows whole panoramas and aerial windows, both north up."""

    @property
    def ground_px(self) -> tuple[int, int]:
        """Height and width of the panorama."""

    @property
    def aerial_px(self) -> tuple[int, int]:
        """Height and width of the aerial view."""

    @property
    def elevation_deg(self) -> tuple[float, float]:
        """Bottom and top of the panorama, unless ``whole``."""

    @property
    def footprint_m(self) -> float:
        """Side of the aerial window, unless ``whole``."""

    @property
    def polar(self) -> bool:
        """Whether it is unrolled."""

    @property
    def whole(self) -> bool:
        """Whether files are squashed to the views' sizes, whatever they span (``ViewSpec``)."""


def make_aligned_views(
    config: Aligned, *, mean: Rgb = IMAGENET_MEAN, std: Rgb = IMAGENET_STD
) -> Views:
    """Panoramas of known heading on a padded canvas, and windows, unrolled or as they are.

    What whole files span is for their data set to say (``pairs.reading``).
    """
    ground = ViewSpec(
        side="ground",
        height_px=config.ground_px[0],
        width_px=config.ground_px[1],
        elevation_deg=None if config.whole else config.elevation_deg,
        representation="padded",
        resize="linear-antialias",
        whole=config.whole,
        mean=mean,
        std=std,
    )
    aerial = ViewSpec(
        side="aerial",
        height_px=config.aerial_px[0],
        width_px=config.aerial_px[1],
        footprint_m=None if config.whole else config.footprint_m,
        polar=config.polar,
        resize="linear-antialias",
        whole=config.whole,
        mean=mean,
        std=std,
    )
    return Views(ground=ground, aerial=aerial, headings_seen="aligned")


def check_centred(table: PairTable, config: Any) -> None:
    """Pairs for a page whose Config says ``polar``: as :func:`require_centred`."""
    if config.polar:
        framed_m = table.framing.footprint_m if config.whole else None
        require_centred(table, framed_m or config.footprint_m)


def require_centred(
    table: PairTable,
    footprint_m: float,
    needed: str = "polar=true unrolls aerial pictures about the camera",
    instead: str = "Use --config polar=false and a square aerial_px, such as "
    "--config aerial_px=[320,320].",
) -> None:
    """InvalidValue if the cameras do not stand in the middle of their aerial pictures.

    Judged by the median distance of the first rows where both places are known. ``needed`` is what
    wants them there, ``instead`` what to do.
    """
    ground = table.ground_latlon[table.pairs[:ASKED, 0]]
    aerial = table.aerial_latlon[table.pairs[:ASKED, 1]]
    placed = np.isfinite(ground).all(axis=1) & np.isfinite(aerial).all(axis=1)
    away = measure_pair_distances_m(ground[placed], aerial[placed])
    if len(away) and (middle := float(np.median(away))) > OFF_CENTRE * footprint_m:
        raise InvalidValue(
            f"{needed}, but in these pairs it stands {middle:.0f} m from the middle (median), as "
            f"in VIGOR.\n{instead}"
        )


@dataclass(frozen=True)
class Layout:
    """What a branch makes of B pictures; ``size`` are the rows and columns of its N positions."""

    vector: Tensor  # [B, C * K], unit
    features: Tensor  # [B, C, N]
    masks: Tensor  # [B, N, K], positions row by row
    size: tuple[int, int]


def apply_masks(features: Tensor, masks: Tensor, *, mask_major: bool = False) -> Tensor:
    """[B, C, N] and [B, N, K] -> unit [B, C * K], entry c K + k; k C + c if ``mask_major``.

    In float32 also under autocast: a sum over hundreds of positions.
    """
    with without_autocast(features):
        product = at_least_float32(features) @ at_least_float32(masks)
        flat = product.transpose(1, 2) if mask_major else product
        return F.normalize(flat.flatten(1), dim=1)


class LayoutBranch(nn.Module):
    """One side: trunk, mask generator, modulation. It takes pictures of one size (height, width).

    Raises InvalidValue for sizes that the trunk or the generator cannot take.
    """

    def __init__(
        self,
        trunk: Trunk,
        size_px: tuple[int, int],
        masks: MakeMasks,
        *,
        mask_major: bool = False,
    ) -> None:
        super().__init__()
        rows, columns = map_size(trunk, size_px)
        self.trunk, self.generator = trunk, masks(trunk.channels, rows * columns)
        self.size_px, self.mask_major = size_px, mask_major

    def layout(self, images: Tensor) -> Layout:
        """[B, 3, h, w] -> vectors, features and masks."""
        if tuple(images.shape[2:]) != self.size_px:
            raise InvalidValue(
                f"This network takes pictures of {self.size_px[1]} x {self.size_px[0]} pixels, "
                f"got {images.shape[3]} x {images.shape[2]}: its masks belong to positions."
            )
        return self.describe(self.trunk(images))

    def describe(self, maps: Tensor) -> Layout:
        """What :meth:`layout` makes of the trunk's maps [B, C, h, w]."""
        features = maps.flatten(2)
        masks = self.generator(features)
        vector = apply_masks(features, masks, mask_major=self.mask_major)
        return Layout(vector, features, masks, (int(maps.shape[2]), int(maps.shape[3])))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D]."""
        return self.layout(images).vector


class LayoutNetwork(nn.Module):
    """Two branches that share nothing."""

    def __init__(self, ground: LayoutBranch, aerial: LayoutBranch) -> None:
        super().__init__()
        self.ground, self.aerial = ground, aerial


def draw_fakes(layout: Layout, low: float, high: float) -> Tensor:
    """Vectors [B, D] of the same features by masks drawn uniformly between ``low`` and ``high``."""
    masks = torch.empty_like(layout.masks, dtype=torch.float32).uniform_(low, high)
    return apply_masks(layout.features, masks)


def encode_layouts(
    model: LayoutNetwork, copies: Sequence[Batch], lowest: float | None
) -> dict[str, Tensor]:
    """Vectors [B, D] of both views of ``copies`` of B places: "ground", "ground_2", "aerial", ...

    And those of random masks, drawn between ``lowest`` and 1: "ground_fake", ...; None: without.
    """
    layouts = {
        side: getattr(model, side).layout(torch.cat([getattr(copy, side) for copy in copies]))
        for side in ("ground", "aerial")
    }
    vectors = {side: layout.vector for side, layout in layouts.items()}
    if lowest is not None:
        for side in ("aerial", "ground"):
            vectors[f"{side}_fake"] = draw_fakes(layouts[side], lowest, 1.0)
    return {
        f"{name}_{number + 1}" if number else name: part
        for name, values in vectors.items()
        for number, part in enumerate(values.split(len(copies[0])))
    }


def contrast_layouts(vectors: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """All triplets of all copies (``alpha``), and vectors against their fakes (``beta``)."""

    def join(name: str) -> Tensor:
        names = [key for key in vectors if key == name or key.removeprefix(f"{name}_").isdecimal()]
        return torch.cat([vectors[key] for key in names])

    losses = {"triplet": soft_margin_triplet(join("ground"), join("aerial"), config.alpha)}
    if config.counterfactual:
        fakes = [
            counterfactual(join(side), join(f"{side}_fake"), config.beta)
            for side in ("aerial", "ground")
        ]
        losses["counterfactual"] = config.counterfactual * (fakes[0] + fakes[1]) / 2
    return losses


def random_masks(layout: Layout, low: float, high: float, beta: float = 5.0) -> Tensor:
    """:func:`counterfactual` against :func:`draw_fakes`.

    The fakes are of the same features, which the gradient reaches by both ways.
    """
    return counterfactual(layout.vector, draw_fakes(layout, low, high), beta)


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Size of an encoder; the defaults are those of the trained GeoDTR+ models (released code)."""

    heads: int = 4
    layers: int = 2
    hidden: int = 512  # of the feed-forward step
    dropout: float = 0.3

    def __post_init__(self) -> None:
        require(self.heads >= 1, f"heads must be at least 1, got {self.heads}.")
        require(self.layers >= 0, f"layers must be at least 0, got {self.layers}.")
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1), got {self.dropout}.")


class Encoder(nn.Module):
    """Tokens [B, T, D] -> [B, T, D]: ``spec.layers`` layers and one more LayerNorm."""

    def __init__(self, dim: int, spec: EncoderSpec) -> None:
        super().__init__()
        allowed = ", ".join(str(count) for count in range(1, 17) if dim % count == 0)
        require(
            dim % spec.heads == 0,
            f"{spec.heads} attention heads do not divide tokens of {dim} numbers.\n"
            f"Choose other heads ({allowed}) or another picture size.",
        )
        self.layers = nn.ModuleList(EncoderLayer(dim, spec) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        for layer in self.layers:
            tokens = layer(tokens)
        normed: Tensor = self.norm(tokens)
        return normed


class EncoderLayer(nn.Module):
    """Self-attention, then two linear maps with a GELU; each added to its input, then normed."""

    def __init__(self, dim: int, spec: EncoderSpec) -> None:
        super().__init__()
        self.heads, self.dropout = spec.heads, spec.dropout
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, spec.hidden), nn.Linear(spec.hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        tokens = self.norm1(tokens + self._dropped(self._attention(tokens)))
        hidden = self._dropped(F.gelu(self.wide(tokens)))
        normed: Tensor = self.norm2(tokens + self._dropped(self.narrow(hidden)))
        return normed

    def _attention(self, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        split = self.qkv(tokens).view(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, dim))
        return result

    def _dropped(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training)


Squash = Literal["sigmoid", "hardtanh"]
Span = Literal["free", "normalised", "orthogonalised"]
SQUASHES, SPANS = get_args(Squash), get_args(Span)
INITIAL_STD, INITIAL_BIAS = 0.005, 0.1  # of all three, in the released code


class PerMask(nn.Module):
    """One linear map per mask: [B, K, inputs] -> [B, K, outputs]."""

    def __init__(self, masks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(INITIAL_STD * torch.randn(masks, inputs, outputs))
        self.bias = nn.Parameter(torch.full((masks, outputs), INITIAL_BIAS))

    def forward(self, values: Tensor) -> Tensor:
        """See the class."""
        return torch.einsum("bki,kio->bko", values, self.weight) + self.bias


class MaskBank(nn.Module):
    """SAFA: the mean (or largest) channel at each position, through two linear maps per mask.

    [B, C, N] -> [B, N, K]. No activation anywhere. SAFA averages, the ports to VIGOR and CDE take
    the largest.
    """

    def __init__(self, positions: int, masks: int, reduce: Literal["mean", "max"] = "mean") -> None:
        super().__init__()
        _check(masks, positions)
        self.masks, self.reduce = masks, reduce
        self.lower = PerMask(masks, positions, positions // 2)
        self.upper = PerMask(masks, positions // 2, positions)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        salient = features.mean(dim=1) if self.reduce == "mean" else features.amax(dim=1)
        repeated = salient[:, None].expand(-1, self.masks, -1)
        masks: Tensor = self.upper(self.lower(repeated))
        return masks.transpose(1, 2)


def check_bank(masks: int, reduce: str) -> None:
    """Refuse settings of a :class:`MaskBank` that none can have."""
    require(masks >= 1, f"masks must be at least 1, got {masks}.")
    require(reduce in {"mean", "max"}, f"reduce must be mean or max, got {reduce!r}.")


def make_bank_branch(config: Any, size_px: tuple[int, int]) -> LayoutBranch:
    """A branch whose masks are a bank, by ``backbone``, ``weights``, ``masks`` and ``reduce``."""

    def masks(channels: int, positions: int) -> nn.Module:
        return MaskBank(positions, config.masks, "max" if config.reduce == "max" else "mean")

    return LayoutBranch(trunk(config.backbone, config.weights), size_px, masks, mask_major=True)


class DescriptorTokens(nn.Module):
    """GLE v1: the K masks are the tokens of a transformer. [B, C, N] -> [B, N, K] in [-1, 1].

    Tokens are made of the largest channel at each position, and know which channel it was.
    ``positions`` must be even: the index of the channel is encoded in 2 (N / 2) numbers.
    """

    def __init__(self, positions: int, masks: int, spec: EncoderSpec) -> None:
        super().__init__()
        _check(masks, positions)
        require(
            positions % 2 == 0,
            f"GLE v1 takes maps with an even number of positions, got {positions}.\n"
            "Choose another picture size, or GLE v2.",
        )
        half = positions // 2
        self.masks = masks
        self.lower = PerMask(masks, positions, half)
        self.index = PerMask(masks, positions, half)
        nn.init.zeros_(self.index.bias)
        self.encoder = Encoder(half, spec)
        self.upper = PerMask(masks, half, positions)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """See the class; the channel's index lets no gradient through."""
        salient, channel = at_least_float32(features).max(dim=1)
        where = channel.to(salient.dtype) / features.shape[1]
        salient, where = (v[:, None].expand(-1, self.masks, -1) for v in (salient, where))
        tokens = self.lower(salient) + F.hardtanh(self.index(where))
        masks: Tensor = F.hardtanh(self.upper(self.encoder(self.dropout(tokens))))
        return masks.transpose(1, 2)


class PositionTokens(nn.Module):
    """GLE v2: the N positions are the tokens of a transformer. [B, C, N] -> [B, N, K].

    ``bottleneck``: two more linear maps over the positions, per mask, as in all published models.
    ``squash`` "sigmoid": values in (0, 1), as released; "hardtanh": in [-1, 1], as in GLE v1.
    ``span`` "normalised": each mask at length 1 over the positions; "orthogonalised": the K masks
    of a picture at right angles to each other, too (the Q of a QR decomposition).
    """

    def __init__(
        self,
        size: tuple[int, int],
        masks: int,
        spec: EncoderSpec,
        *,
        bottleneck: bool = True,
        squash: Squash = "sigmoid",
        span: Span = "free",
    ) -> None:
        super().__init__()
        channels, positions = size
        _check(masks, positions)
        require(squash in SQUASHES, f"squash must be {' or '.join(SQUASHES)}, got {squash!r}.")
        require(span in SPANS, f"span must be one of {', '.join(SPANS)}, got {span!r}.")
        self.place = nn.Parameter(torch.zeros(1, positions, channels))
        self.dropout = nn.Dropout(spec.dropout)
        self.encoder = Encoder(channels, spec)
        self.pointwise = nn.Linear(channels, masks)
        self.bottleneck = nn.Sequential()
        if bottleneck:
            self.bottleneck.append(PerMask(masks, positions, positions // 2))
            self.bottleneck.append(PerMask(masks, positions // 2, positions))
        self.squash, self.span = squash, span

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        tokens = self.dropout(features.transpose(1, 2) + self.place)
        masks = self.bottleneck(self.pointwise(self.encoder(tokens)).transpose(1, 2))
        squashed = masks.sigmoid() if self.squash == "sigmoid" else F.hardtanh(masks)
        if self.span == "normalised":
            squashed = F.normalize(at_least_float32(squashed), dim=2)
        elif self.span == "orthogonalised":
            return orthonormal(at_least_float32(squashed.transpose(1, 2)))
        return squashed.transpose(1, 2)


def orthonormal(columns: Tensor) -> Tensor:
    """The Q of the reduced QR decomposition of [B, N, K], K <= N, signs as LAPACK's.

    By Householder's reflections, of operations that ONNX has, too.
    """
    positions, count = columns.shape[1:]
    require(count <= positions, f"{count} masks of {positions} positions cannot be orthogonal.")
    rest, mirrors = columns, []
    for index in range(count):
        first, below = rest[:, index:, index], rest[:, index + 1 :, index]
        plain = (below == 0).all(dim=1, keepdim=True)  # LAPACK turns nothing then
        length = first.norm(dim=1, keepdim=True)
        pivot = torch.where(first[:, :1] >= 0, -length, length)
        mirror = torch.cat([first[:, :1] - pivot, below], dim=1)
        mirror = F.normalize(torch.where(plain, torch.zeros_like(mirror), mirror), dim=1)
        mirrors.append(F.pad(mirror, (index, 0))[:, :, None])
        rest = _mirrored(rest, mirrors[-1])
    axes = torch.eye(positions, count, device=columns.device, dtype=columns.dtype)
    turned = axes[None].expand(len(columns), -1, -1)
    for mirror in reversed(mirrors):
        turned = _mirrored(turned, mirror)
    return turned


def _mirrored(columns: Tensor, mirror: Tensor) -> Tensor:
    """[B, N, K] mirrored at the plane across the unit vector [B, N, 1]."""
    return columns - 2 * mirror @ (mirror.transpose(1, 2) @ columns)


def _check(masks: int, positions: int) -> None:
    require(masks >= 1, f"descriptors must be at least 1, got {masks}.")
    require(positions >= 2, f"a map of {positions} position is too small; use larger pictures.")


def geodtr_plus_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GeoDTR+ (GLE v2 on ConvNeXt or ResNet), key by key; shapes as our modules want them."""
    return dict(_v2_tensor(key, value) for key, value in state.items())


def _v2_tensor(key: str, value: Tensor) -> tuple[str, Tensor]:
    cut = re.match(r"backbone_(grd|sat)\.net\.", key)
    if cut:  # a ConvNeXt of torchvision, without its classifier
        name, value = convnext_tensor(f"features.{key[cut.end() :]}", value)
        side = "ground" if cut[1] == "grd" else "aerial"
        return f"{side}.trunk.stages.{as_cut(name)}", value
    value = value[0] if key.endswith((".b1", ".b2")) else value
    return rename_tensor(key, (*_SIDES, *_RESNET, *_ENCODER, *_V2)), value


def geodtr_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GeoDTR (GLE v1 on ResNet-34), key by key; shapes as our modules want them."""
    rules = (*_SIDES, *_RESNET, *_ENCODER, *_V1)
    return {rename_tensor(key, rules): _v1_shaped(key, value) for key, value in state.items()}


def sizes_shown(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """What ``name`` ("GLE" or "ge") tells: descriptors, picture sizes, layers, hidden."""
    sizes: dict[str, Any] = {}
    first, second = (state.get(f"{name}_{side}.b2") for side in ("grd", "sat"))
    if first is not None and second is not None:
        sizes["descriptors"] = int(first.shape[1])
        ground, aerial = (PICTURES_PX.get(int(b.shape[2])) for b in (first, second))
        if ground and aerial:
            polar = aerial == ground and ground[0] != ground[1]
            sizes |= {"ground_px": ground, "aerial_px": aerial, "polar": polar}
    numbers = [int(m[1]) for key in state if (m := re.search(r"encoder\.layers\.(\d+)\.", key))]
    if any(f"{name}_grd." in key for key in state):
        sizes["layers"] = max(numbers, default=-1) + 1
    for key, value in state.items():
        if key.endswith("layers.0.linear1.weight"):
            sizes["hidden"] = int(value.shape[0])
    return sizes


def sizes_unseen(state: Mapping[str, Tensor], name: str) -> dict[str, str]:
    """What the number of positions leaves open of the pictures' sizes."""
    reasons = {}
    for side, setting in (("grd", "ground_px"), ("sat", "aerial_px")):
        last = state.get(f"{name}_{side}.b2")
        if last is None or last.ndim != 3:
            continue
        positions = int(last.shape[2])
        maps = f"its masks have {positions} positions, 16 x 16 pixels or so each"
        if positions in PICTURES_PX:
            reasons[setting] = f"{maps}: taken as in the paper"
        else:
            reasons[setting] = f"{maps}: {list_sizes(positions, 16)}"
    return reasons


def bottleneck_idle(state: Mapping[str, Tensor]) -> bool:
    """Whether GLE v2's bottleneck was never trained: its offsets are as they began, all one number.

    It has its tensors where it is off, too; weight decay may have shrunk them, learning has not
    moved them.
    """
    offsets = [v for k, v in state.items() if re.fullmatch(r"GLE_(grd|sat)\.b[12]", k)]
    begun = 0.1 + 1e-6  # in the released code
    return bool(offsets) and all(
        v.numel() > 1 and 0 < float(v.min()) <= float(v.max()) <= begun
        and float(v.max() - v.min()) <= 1e-6
        for v in offsets
    )  # fmt: skip


def backbone_shown(state: Mapping[str, Tensor]) -> str:
    """The published backbone that has these keys."""
    convolutional = any(".net." in key for key in state)
    return "convnext_tiny.fb_in1k" if convolutional else "resnet34.tv_in1k"


def _v1_shaped(key: str, value: Tensor) -> Tensor:
    if key.endswith((".b1", ".b2", ".embedding_parameter")):
        return value[0]
    if key.endswith((".w1", ".w2", ".pos_encoder.linear")):
        return value.permute(1, 0, 2).contiguous()  # theirs: inputs, masks, outputs
    return value
