"""Class-activation maps of a pair's similarity (Selvaraju et al., Grad-CAM, ICCV 2017).

The score is the cosine of the true pair; the maps are those of the last layer that still has rows
and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue


def activation_maps(
    model: nn.Module, side: str, images: Tensor, partner: Tensor
) -> tuple[Tensor, tuple[int, int]]:
    """Maps [B, h, w] in [0, 1] at the size of ``images``, and the rows and columns of their cells.

    ``partner`` [B, D]: unit vectors of the other side. ReLU of the feature maps weighted by the
    mean gradient of the cosine, enlarged bilinearly, divided by the largest value; a map that is
    nowhere positive is 0 everywhere. The model must be in eval mode.
    """
    branch, layer, as_map = _layer(model, side)
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept.append(output)

    hook = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            score = (branch(images.requires_grad_()) * partner).sum()
            (gradient,) = torch.autograd.grad(score, kept[-1])
    finally:
        hook.remove()
    features, gradient = as_map(kept[-1].detach()), as_map(gradient)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    small = (weights * features).sum(dim=1, keepdim=True).relu()
    large = F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    cells = (int(small.shape[2]), int(small.shape[3]))
    return large / large.amax(dim=(1, 2), keepdim=True).clamp_min(1e-8), cells


def _layer(
    model: Any, side: str
) -> tuple[Callable[[Tensor], Tensor], nn.Module, Callable[[Tensor], Tensor]]:
    """The branch, the layer whose output is looked at, and how that output becomes [B, C, h, w]."""
    branch = getattr(model, side)
    encoder = _encoder(model, side)
    if hasattr(encoder, "stages"):
        return branch, encoder.stages[-1], lambda output: output
    if hasattr(encoder, "trunk"):
        return branch, encoder.trunk, lambda output: output
    if hasattr(encoder, "blocks"):  # a transformer: the last layer in which all tokens still count
        rows, columns = encoder.patch_embed.grid_size
        first = encoder.num_prefix_tokens

        def as_map(tokens: Tensor) -> Tensor:
            return tokens[:, first:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)

        return branch, encoder.blocks[-1].norm1, as_map
    raise InvalidValue(
        f"{type(encoder).__name__} has no layer that activation maps are known to be taken from."
    )


def _encoder(model: Any, side: str) -> Any:
    """The module behind a branch: shared, one of two, or the branch itself."""
    names = ("model", "model_q" if side == "ground" else "model_r", side)
    found = (getattr(model, name, None) for name in names)
    return next(module for module in found if isinstance(module, nn.Module))
