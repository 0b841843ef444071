"""The two networks of Sample4Geo, ConGeo and SinGeo: one encoder for both views, or one for each.

Names of parameters are those of the authors' checkpoints: ``model.*`` where the encoder is shared
(convolutional networks), ``model_q.*`` and ``model_r.*`` where it is not (vision transformers,
whose position tables belong to one size), ``logit_scale`` beside them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn
from torch.func import functional_call

from crossview.errors import InvalidValue
from crossview.networks.backbones import backbone, trunk
from crossview.networks.layout_masks import (
    EncoderSpec,
    LayoutBranch,
    LayoutNetwork,
    layout_extractor,
)
from crossview.networks.losses import at_least_float32, learned_scale, without_autocast

Size = tuple[int, int]  # height, width in pixels
MASKS = 8  # of GeoDTR+


class SharedEncoder(nn.Module):
    """One encoder for both views and the learned scale of the loss."""

    shared = True

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.model = encoder
        self.logit_scale = learned_scale()

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D], float32."""
        return unit_vectors(self.model, images)

    aerial = ground


class SeparateEncoders(nn.Module):
    """An encoder for each view, of one design, and the learned scale of the loss."""

    def __init__(self, ground: nn.Module, aerial: nn.Module) -> None:
        super().__init__()
        self.model_q, self.model_r = ground, aerial
        self.logit_scale = learned_scale()

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] of a street view -> unit [B, D], float32."""
        return unit_vectors(self.model_q, images)

    def aerial(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] from above -> unit [B, D], float32."""
        return unit_vectors(self.model_r, images)


def pair_network(
    name: str, weights: str, *, separate: bool, ground_px: Size, aerial_px: Size
) -> SharedEncoder | SeparateEncoders:
    """A timm model without classifier for both views, or one for each.

    Raises InvalidValue for one transformer that would have to serve two sizes, and what
    :func:`crossview.networks.backbones.backbone` raises.
    """
    if separate:
        sizes = (ground_px, aerial_px)
        ground, aerial = (backbone(name, weights, **_size_setting(name, size)) for size in sizes)
        return SeparateEncoders(ground, aerial)
    if ground_px != aerial_px and _size_setting(name, aerial_px):
        raise InvalidValue(
            f"{name} is a transformer: its position table belongs to one size, and cannot serve "
            f"{_shown(ground_px)} and {_shown(aerial_px)}.\nUse separate=true."
        )
    return SharedEncoder(backbone(name, weights, **_size_setting(name, aerial_px)))


def masked_network(name: str, weights: str, ground_px: Size, aerial_px: Size) -> nn.Module:
    """GeoDTR+'s two branches (its published settings) with the learned scale beside them.

    Its masks begin scaled to the map, so that small pictures get masks of their own, too.
    """
    masks = layout_extractor("v2", MASKS, EncoderSpec(hidden=512, dropout=0.3), scaled=True)
    ground, aerial = (
        LayoutBranch(trunk(name, weights), size, masks) for size in (ground_px, aerial_px)
    )
    network = LayoutNetwork(ground, aerial)
    network.logit_scale = learned_scale()
    return network


def takes_any_width(name: str) -> bool:
    """Whether a timm model takes pictures of every width, and so narrow ones."""
    return not _size_setting(name, (0, 0))


def refuse_too_small(network: SharedEncoder | SeparateEncoders, ground_px: Size) -> None:
    """InvalidValue if nothing would be left of street views of this size; only shapes are run."""
    encoder = network.model if isinstance(network, SharedEncoder) else network.model_q
    tensors = {name: tensor.to("meta") for name, tensor in encoder.state_dict().items()}
    with torch.no_grad():
        unit_vectors(
            lambda images: functional_call(encoder, tensors, images),
            torch.empty(2, 3, *ground_px, device="meta"),
        )


def unit_vectors(encoder: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Features of ``encoder`` at length 1, computed from float32 whatever autocast is on.

    Raises InvalidValue for a size that a transformer does not take, or too small for a ConvNet.
    """
    fixed = getattr(getattr(encoder, "patch_embed", None), "img_size", None)
    if fixed is not None and tuple(images.shape[2:]) != tuple(fixed):
        raise InvalidValue(
            f"a transformer of {_shown(fixed)} cannot take pictures of "
            f"{_shown(tuple(images.shape[2:]))}.\n"
            "Train and evaluate it with representation=padded, which keeps the full width."
        )
    try:
        features = encoder(images)
    except RuntimeError as problem:
        if "Kernel size can't be greater" not in str(problem):
            raise
        raise InvalidValue(
            f"Pictures of {_shown(tuple(images.shape[2:]))} pixels (height x width) are too small "
            "for this network: nothing is left of them.\n"
            "Take larger pictures (ground_px) or a wider field of view; strides of 32 are common."
        ) from problem
    with without_autocast(images):
        return F.normalize(at_least_float32(features), dim=1)


def together(branch: nn.Module, *images: Tensor) -> list[Tensor]:
    """Vectors of several stacks of pictures, in one pass where their size is the same."""
    if len({tuple(stack.shape[1:]) for stack in images}) > 1:
        return [branch(stack) for stack in images]
    return list(branch(torch.cat(images)).split([len(stack) for stack in images]))


def _size_setting(name: str, size: Size) -> dict[str, Size]:
    """The size as a setting of timm, for the families of networks that are built for one."""
    fixed = name.startswith(("vit_", "test_vit", "deit", "eva", "swin", "beit"))
    return {"img_size": size} if fixed else {}


def _shown(size: tuple[int, ...]) -> str:
    return f"{size[0]} x {size[1]}"
