"""Checkpoints of Sample4Geo, ConGeo and SinGeo: their names of parameters are ours already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from crossview.networks.layout_masks import grids

CONVOLUTIONAL = {  # channels of the stem, blocks of the third stage
    (96, 9): "convnext_tiny",
    (96, 27): "convnext_small",
    (128, 27): "convnext_base.fb_in22k_ft_in1k_384",
    (192, 27): "convnext_large",
    (256, 27): "convnext_xlarge",
}
TRANSFORMERS = {  # numbers a token has, blocks
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1280, 32): "huge",
}


def imported(state: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """The tensors as they are, for every Config."""
    return dict(state)


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Backbone, whether each view has its own, and a transformer's picture sizes.

    What the shapes leave open is missing, such as a backbone that is neither a ConvNeXt nor a plain
    vision transformer of timm.
    """
    separate = any(name.startswith("model_q.") for name in state)
    known: dict[str, Any] = {"separate": separate}
    if (patches := _patches(state)) is not None:
        known["representation"] = "padded"
        prefix = "model_q." if separate else "model."
        size = (patches.shape[0], _blocks(state, f"{prefix}blocks."))
        if size in TRANSFORMERS:
            known["backbone"] = f"vit_{TRANSFORMERS[size]}_patch{patches.shape[-1]}_224"
        return known | _pictures(state, patches.shape[-1])
    prefix = "model_q." if separate else "model."
    stem = state.get(f"{prefix}stem.0.weight")
    if stem is not None and f"{prefix}stages.2.blocks.0.gamma" in state:
        size = (stem.shape[0], _blocks(state, f"{prefix}stages.2.blocks."))
        if size in CONVOLUTIONAL:
            known["backbone"] = CONVOLUTIONAL[size]
    return known


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that the tensors do not show, with the reason."""
    known = shown(state)
    reasons = {}
    if "backbone" not in known:
        reasons["backbone"] = "its shapes are those of no ConvNeXt or plain transformer of timm"
    elif "representation" not in known:
        reasons["backbone"] = "NAME@16 has the same tensors at half the stride"
    if (patches := _patches(state)) is not None:
        for name, setting in (("model_q.", "ground_px"), ("model_r.", "aerial_px")):
            count = _positions(state, name if known["separate"] else "model.")
            if setting not in known:
                sizes = grids(count, patches.shape[-1])
                reasons[setting] = (
                    f"its table has {count} positions of {patches.shape[-1]}: {sizes}"
                )
            elif setting == "ground_px":
                reasons[setting] = f"its table has {count} positions, in rows that are not told"
    return reasons


def _pictures(state: Mapping[str, Tensor], patch_px: int) -> dict[str, Any]:
    """Picture sizes by the position tables: squares, and panoramas twice as wide as high."""
    if "model.pos_embed" in state:
        side = _side(_positions(state, "model."))
        return {"ground_px": (side * patch_px,) * 2, "aerial_px": side * patch_px} if side else {}
    sizes: dict[str, Any] = {}
    ground, aerial = (_positions(state, name) for name in ("model_q.", "model_r."))
    if side := _side(aerial):
        sizes["aerial_px"] = side * patch_px
    if half := _side(ground // 2) if ground % 2 == 0 else 0:
        sizes["ground_px"] = (half * patch_px, 2 * half * patch_px)
    elif side := _side(ground):
        sizes["ground_px"] = (side * patch_px, side * patch_px)
    return sizes


def _side(positions: int) -> int:
    """The root of a square; 0 if it is none."""
    side = round(positions**0.5)
    return side if side * side == positions else 0


def _positions(state: Mapping[str, Tensor], prefix: str) -> int:
    """Patches of a picture by the table of ``prefix``, without tokens that stand before them."""
    table = state.get(f"{prefix}pos_embed")
    if table is None or table.ndim != 3:
        return 0
    before = [state.get(f"{prefix}{name}") for name in ("cls_token", "dist_token", "reg_token")]
    return int(table.shape[1]) - sum(int(v.shape[1]) for v in before if v is not None)


def _patches(state: Mapping[str, Tensor]) -> Tensor | None:
    names = (f"{prefix}patch_embed.proj.weight" for prefix in ("model_q.", "model."))
    found = next((state[name] for name in names if name in state), None)
    return found if found is not None and found.ndim == 4 else None


def _blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    rest = (name.removeprefix(prefix) for name in state if name.startswith(prefix))
    numbers = [int(number) for name in rest if (number := name.partition(".")[0]).isdigit()]
    return max(numbers, default=-1) + 1
