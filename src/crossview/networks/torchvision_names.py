"""Networks of torchvision by timm's names: the ImageNet weights that many papers start from.

ResNets have the same names in both. ConvNeXt, VGG and the vision transformers differ in names and
in the shape of some tensors, not in what they compute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

_CONVNEXT: tuple[Rule, ...] = (
    (r"^features\.0\.", "stem."),
    (r"^features\.([246])\.", lambda m: f"stages.{int(m[1]) // 2}.downsample."),
    (r"^features\.([1357])\.", lambda m: f"stages.{int(m[1]) // 2}.blocks."),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"\.layer_scale$", ".gamma"),
    (r"^classifier\.0\.", "head.norm."),
    (r"^classifier\.2\.", "head.fc."),
)
_VGG: tuple[Rule, ...] = (
    (r"^classifier\.0\.", "pre_logits.fc1."),
    (r"^classifier\.3\.", "pre_logits.fc2."),
    (r"^classifier\.6\.", "head.fc."),
)
_TRANSFORMER: tuple[Rule, ...] = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", lambda m: f"blocks.{m[1]}."),
    (r"\.ln_([12])\.", lambda m: f".norm{m[1]}."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)


def renamed(name: str, rules: Sequence[Rule]) -> str:
    """``name`` after all ``rules`` (pattern, replacement), one after the other."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def convnext_tensor(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A tensor of torchvision's ConvNeXt as timm has it; its scales [C, 1, 1] become [C]."""
    flat = value.reshape(-1) if name.endswith("layer_scale") else value
    return renamed(name, _CONVNEXT), flat


def as_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network of torchvision by timm's names; those of others as they are."""
    if any(name.endswith(".layer_scale") for name in tensors) and "features.0.0.weight" in tensors:
        return dict(convnext_tensor(name, value) for name, value in tensors.items())
    if "conv_proj.weight" in tensors:
        return {renamed(name, _TRANSFORMER): value for name, value in tensors.items()}
    if "features.0.weight" in tensors and "classifier.0.weight" in tensors:
        return {renamed(name, _VGG): _as_convolution(name, v) for name, v in tensors.items()}
    return dict(tensors)


def _as_convolution(name: str, value: Tensor) -> Tensor:
    """VGG's fully connected layers are convolutions in timm."""
    sides = {"classifier.0.weight": 7, "classifier.3.weight": 1}
    side = sides.get(name)
    return value.reshape(len(value), -1, side, side) if side and value.ndim == 2 else value
