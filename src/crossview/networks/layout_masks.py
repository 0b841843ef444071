"""Masks over a map of features, and the vectors that they make of it: SAFA, GeoDTR and GeoDTR+.

    features r [C, N], masks p [N, K]  ->  f = r p, flattened and brought to length 1

The vector says how much of each channel lies under each mask. SAFA: Shi et al., NeurIPS 2019,
section 3.2; GeoDTR: arXiv 2212.04074; GeoDTR+: arXiv 2308.09624, which call the masks layout
descriptors and f the Frobenius products with them. Three generators of masks can stand in for each
other: SAFA's bank and the geometric layout extractors of GeoDTR (GLE v1) and GeoDTR+ (GLE v2).
Written from the papers and their figures; the authors' code has no licence and was not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.networks.backbones import Trunk, map_size
from crossview.networks.losses import at_least_float32, counterfactual, without_autocast

MakeMasks = Callable[[int, int], nn.Module]  # channels, positions -> a mask generator


@dataclass(frozen=True)
class Layout:
    """What a branch makes of B pictures; ``size`` are the rows and columns of its N positions."""

    vector: Tensor  # [B, C * K], unit
    features: Tensor  # [B, C, N]
    masks: Tensor  # [B, N, K], positions row by row
    size: tuple[int, int]


def modulated(features: Tensor, masks: Tensor, *, mask_major: bool = False) -> Tensor:
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
        maps = self.trunk(images)
        features = maps.flatten(2)
        masks = self.generator(features)
        vector = modulated(features, masks, mask_major=self.mask_major)
        return Layout(vector, features, masks, (int(maps.shape[2]), int(maps.shape[3])))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D]."""
        return self.layout(images).vector


class LayoutNetwork(nn.Module):
    """Two branches that share nothing."""

    def __init__(self, ground: LayoutBranch, aerial: LayoutBranch) -> None:
        super().__init__()
        self.ground, self.aerial = ground, aerial


def random_masks(layout: Layout, low: float, high: float, beta: float = 5.0) -> Tensor:
    """:func:`counterfactual` against masks drawn anew, uniformly between ``low`` and ``high``.

    The fakes are of the same features, which the gradient reaches by both ways.
    """
    masks = torch.empty_like(layout.masks, dtype=torch.float32).uniform_(low, high)
    return counterfactual(layout.vector, modulated(layout.features, masks), beta)


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
        salient, channel = features.float().max(dim=1)
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


def layout_extractor(  # noqa: PLR0913 - the published variants
    version: str,
    descriptors: int,
    spec: EncoderSpec,
    *,
    bottleneck: bool = True,
    scaled: bool = False,
    squash: str = "sigmoid",
    span: str = "free",
) -> Callable[[int, int], nn.Module]:
    """GLE "v1" or "v2", for a map of so many channels and positions.

    ``bottleneck``, ``squash`` and ``span`` are v2's; v1 has always had the first, and squashes by
    hardtanh. ``scaled``: the maps over positions begin at the
    size of their inputs, not at 0.005. Raises InvalidValue for another version.
    """
    require(version in ("v1", "v2"), f"gle must be v1 or v2, got {version!r}.")

    def made(channels: int, positions: int) -> nn.Module:
        if version == "v1":
            masks: nn.Module = DescriptorTokens(positions, descriptors, spec)
        else:
            size = (channels, positions)
            how: dict[str, Any] = {"bottleneck": bottleneck, "squash": squash, "span": span}
            masks = PositionTokens(size, descriptors, spec, **how)
        if scaled:
            _scale(masks)
        return masks

    return made


def _scale(masks: nn.Module) -> None:
    """Keep the variance from input to output, whatever the number of positions.

    The published start, 0.005, is of maps of several hundred positions. Over the 16 of a small
    picture two layers of it shrink all that differs between pictures to a thousandth: the masks
    begin, and for long stay, the same for every picture.
    """
    for part in masks.modules():
        if isinstance(part, PerMask):
            nn.init.normal_(part.weight, std=part.weight.shape[1] ** -0.5)


def _check(masks: int, positions: int) -> None:
    require(masks >= 1, f"descriptors must be at least 1, got {masks}.")
    require(positions >= 2, f"a map of {positions} position is too small; use larger pictures.")
