"""An encoder that keeps the compass: a panorama's columns become blocks of its vector.

The idea of DSM (Shi et al., "Where am I looking at?", CVPR 2020): features of a panorama and of an
unrolled aerial picture keep their azimuth axis, so that a limited field of view is a part of the
vector and an unknown heading is a shift of it. Written from the paper; the authors' code has no
licence and was not used. The small residual trunk is ours.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import require


def wrap_columns(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, H, W + 2]: the last column before the first, the first after it."""
    return Wrap.apply(x) if x.requires_grad else _with_neighbours(x)


def _with_neighbours(x: Tensor) -> Tensor:
    return torch.cat([x[..., -1:], x, x[..., :1]], dim=3)


class Wrap(torch.autograd.Function):
    """The same values and gradients as plain slices, which cost a quarter of a training step.

    The gradient of each slice is a whole tensor of zeros, and they are all added up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """As :func:`wrapped`."""
        return _with_neighbours(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """What the two copied columns got goes to the columns they are copies of."""
        inner = gradient[..., 1:-1].clone(memory_format=torch.preserve_format)
        inner[..., -1] += gradient[..., 0]
        inner[..., 0] += gradient[..., -1]
        return inner


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
    """

    def __init__(
        self, size_px: tuple[int, int], widths: tuple[int, ...], blocks: tuple[int, ...], depth: int
    ) -> None:
        super().__init__()
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
        rows = self.mix(self.squeeze(folded)).squeeze(2)  # [B, depth, bins]
        return F.normalize(rows.transpose(1, 2).flatten(1).float(), dim=1)


class CircularRow(nn.Module):
    """A convolution over three neighbouring bins of a ring [B, C, 1, bins]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (1, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, 1, bins] -> [B, outputs, 1, bins]."""
        mixed: Tensor = self.conv(wrap_columns(x))
        return mixed
