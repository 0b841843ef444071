"""Mask modulation: a vector that says how much of each channel lies under each mask.

    features r [C, N], masks p [N, K]  ->  f = r p, flattened and brought to length 1

SAFA (Shi et al., NeurIPS 2019, section 3.2), GeoDTR (arXiv 2212.04074) and GeoDTR+ (arXiv
2308.09624), which call the masks layout descriptors and f the Frobenius products with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue
from crossview.networks.exact import at_least_float32, without_autocast
from crossview.networks.losses.counterfactual import counterfactual
from crossview.networks.trunks import Trunk, map_size

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
