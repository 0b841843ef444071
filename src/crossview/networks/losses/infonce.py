"""Symmetric InfoNCE with label smoothing (Sample4Geo, Deuser et al., ICCV 2023, section 3.1).

Written from the paper; the authors' code has no licence and was not used.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

INITIAL_SCALE = 1.0 / 0.07  # the learned scale starts here (CLIP, Radford et al. 2021, section 2.5)


def learned_scale() -> nn.Parameter:
    """The logarithm of the scale, a scalar parameter that starts at ln(1 / 0.07)."""
    return nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))


def info_nce(ground: Tensor, aerial: Tensor, log_scale: Tensor, smoothing: float = 0.1) -> Tensor:
    """Mean of the two cross-entropies of exp(log_scale) * cosine, row i belonging to row i.

    ``ground`` and ``aerial`` are [B, D] and are normalised here. Computed in float32 under
    autocast, because scaled logits lose their last digits in bfloat16.
    """
    with torch.autocast(ground.device.type, enabled=False):
        ground = F.normalize(_at_least_float32(ground), dim=-1)
        aerial = F.normalize(_at_least_float32(aerial), dim=-1)
        logits = log_scale.exp() * ground @ aerial.T
        return symmetric_cross_entropy(logits, smoothing)


def symmetric_cross_entropy(logits: Tensor, smoothing: float = 0.1) -> Tensor:
    """Mean of the cross-entropies over the rows and over the columns of square logits [B, B]."""
    labels = torch.arange(len(logits), device=logits.device)
    over_rows = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    over_columns = F.cross_entropy(logits.T, labels, label_smoothing=smoothing)
    return (over_rows + over_columns) / 2


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
