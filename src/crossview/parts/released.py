"""The tensors of GeoDTR's and GeoDTR+'s released checkpoints, by our names.

Only names and shapes are known from the authors' code (zxh009123/GeoDTR, zxh009123/GeoDTR_plus).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_SIDES = (
    (r"^backbone_(grd|sat)\.(net|layers)\.", r"\1.trunk.stages.\2."),
    (r"^(GLE|ge)_(grd|sat)\.(tr_module\.)?", r"\2.generator."),
    (r"^grd\.", "ground."),
    (r"^sat\.", "aerial."),
)
_CONVNEXT = (
    (r"\.net\.0\.", ".stem."),
    (r"\.net\.([24])\.", lambda m: f".stage{int(m[1]) // 2 + 1}.downsample."),
    (r"\.net\.([135])\.", lambda m: f".stage{(int(m[1]) + 1) // 2}.blocks."),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"\.layer_scale$", ".gamma"),
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


def geodtr_plus_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GeoDTR+ (GLE v2 on ConvNeXt or ResNet), key by key; shapes as our modules want them."""
    rules = (*_SIDES, *_CONVNEXT, *_RESNET, *_ENCODER, *_V2)
    return {_named(key, rules): _v2_shaped(key, value) for key, value in state.items()}


def geodtr_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GeoDTR (GLE v1 on ResNet-34), key by key; shapes as our modules want them."""
    rules = (*_SIDES, *_RESNET, *_ENCODER, *_V1)
    return {_named(key, rules): _v1_shaped(key, value) for key, value in state.items()}


def sizes_shown(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """What the shapes of ``name`` ("GLE" or "ge") tell: descriptors, picture sizes, hidden."""
    known: dict[str, Any] = {}
    first, second = (state.get(f"{name}_{side}.b2") for side in ("grd", "sat"))
    if first is not None and second is not None:
        known["descriptors"] = int(first.shape[1])
        ground, aerial = (PICTURES_PX.get(int(b.shape[2])) for b in (first, second))
        if ground and aerial:
            known |= {"ground_px": ground, "aerial_px": aerial, "polar": aerial == ground}
    for key, value in state.items():
        if key.endswith("layers.0.linear1.weight"):
            known["hidden"] = int(value.shape[0])
    return known


def backbone_shown(state: Mapping[str, Tensor]) -> str:
    """The published backbone that has these keys."""
    convolutional = any(".net." in key for key in state)
    return "convnext_tiny.fb_in1k" if convolutional else "resnet34.tv_in1k"


def _named(key: str, rules: Any) -> str:
    for pattern, name in rules:
        key = re.sub(pattern, name, key)
    return key


def _v2_shaped(key: str, value: Tensor) -> Tensor:
    if key.endswith(("layer_scale", ".b1", ".b2")):
        return value.reshape(-1) if key.endswith("scale") else value[0]
    return value


def _v1_shaped(key: str, value: Tensor) -> Tensor:
    if key.endswith((".b1", ".b2", ".embedding_parameter")):
        return value[0]
    if key.endswith((".w1", ".w2", ".pos_encoder.linear")):
        return value.permute(1, 0, 2).contiguous()  # theirs: inputs, masks, outputs
    return value
