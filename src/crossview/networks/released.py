"""The tensors of released checkpoints of GeoDTR and GeoDTR+ by our names.

Only names and shapes are known from the authors' code (zxh009123/GeoDTR, zxh009123/GeoDTR_plus).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from crossview.networks.backbones import as_cut
from crossview.networks.weight_files import convnext_tensor, renamed

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
    return renamed(key, (*_SIDES, *_RESNET, *_ENCODER, *_V2)), value


def geodtr_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """GeoDTR (GLE v1 on ResNet-34), key by key; shapes as our modules want them."""
    rules = (*_SIDES, *_RESNET, *_ENCODER, *_V1)
    return {renamed(key, rules): _v1_shaped(key, value) for key, value in state.items()}


def sizes_shown(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """What ``name`` ("GLE" or "ge") tells: descriptors, picture sizes, layers, hidden."""
    known: dict[str, Any] = {}
    first, second = (state.get(f"{name}_{side}.b2") for side in ("grd", "sat"))
    if first is not None and second is not None:
        known["descriptors"] = int(first.shape[1])
        ground, aerial = (PICTURES_PX.get(int(b.shape[2])) for b in (first, second))
        if ground and aerial:
            polar = aerial == ground and ground[0] != ground[1]
            known |= {"ground_px": ground, "aerial_px": aerial, "polar": polar}
    numbers = [int(m[1]) for key in state if (m := re.search(r"encoder\.layers\.(\d+)\.", key))]
    if any(f"{name}_grd." in key for key in state):
        known["layers"] = max(numbers, default=-1) + 1
    for key, value in state.items():
        if key.endswith("layers.0.linear1.weight"):
            known["hidden"] = int(value.shape[0])
    return known


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
            reasons[setting] = f"{maps}: {grids(positions, 16)}"
    return reasons


def grids(positions: int, side_px: int) -> str:
    """Sizes of pictures with so many patches of ``side_px``, as settings; squarer ones first."""
    pairs = [
        (rows, positions // rows)
        for rows in range(int(positions**0.5), 0, -1)
        if positions % rows == 0 and positions <= 16 * rows * rows
    ]
    sizes = [f"[{rows * side_px},{columns * side_px}]" for rows, columns in pairs[:5]]
    return f"perhaps {' or '.join(sizes)}" if sizes else "of no common size"


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
