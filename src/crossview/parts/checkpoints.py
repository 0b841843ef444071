"""Checkpoints of Sample4Geo, ConGeo and SinGeo: their names of parameters are ours already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

CONVOLUTIONAL = {  # channels of the stem, blocks of the third stage
    (96, 9): "convnext_tiny",
    (96, 27): "convnext_small",
    (128, 27): "convnext_base.fb_in22k_ft_in1k_384",
    (192, 27): "convnext_large",
}
TRANSFORMERS = {192: "tiny", 384: "small", 768: "base", 1024: "large"}


def imported(state: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """The tensors as they are, for every Config."""
    return dict(state)


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Backbone, and whether each view has its own, by the shapes of a checkpoint.

    Raises KeyError for a network that is neither a ConvNeXt nor a vision transformer of timm.
    """
    separate = any(name.startswith("model_q.") for name in state)
    prefix = "model_q." if separate else "model."
    if f"{prefix}stem.0.weight" in state:
        stages = (name.removeprefix(f"{prefix}stages.2.blocks.") for name in state)
        numbers = [int(rest.partition(".")[0]) for rest in stages if rest[:1].isdigit()]
        size = (state[f"{prefix}stem.0.weight"].shape[0], max(numbers) + 1)
        return {"backbone": CONVOLUTIONAL[size], "separate": separate}
    patches = state[f"{prefix}patch_embed.proj.weight"]
    size_name = TRANSFORMERS[patches.shape[0]]
    backbone = f"vit_{size_name}_patch{patches.shape[-1]}_224"
    return {"backbone": backbone, "separate": separate, "representation": "padded"}
