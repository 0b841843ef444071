"""Backbones through timm: pictures [B, 3, h, w] in, pooled features [B, D] out.

Pretrained weights come from the hub, or from a file, or are declined in so many words; there is
no silent random start.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossview.errors import InvalidValue, WeightsUnavailable

PRETRAINED = "hub"  # fetch the weights that timm names for the model
STRIDES = ("8", "16", "32")  # that may stand after the @ of a name
RANDOM = "none"  # start from random numbers, on purpose


def backbone(name: str, weights: str = PRETRAINED, **settings: Any) -> nn.Module:
    """A timm model without classifier.

    ``name`` may end in ``@16`` or ``@8``: the same tensors at that stride instead of 32, for
    families of which timm can make it so (ConvNeXt, ResNet), where pictures are small.
    ``weights``: "hub", "none", or the path of a .safetensors or .pth file (read weights-only).
    Raises InvalidValue for a name that timm does not have, WeightsUnavailable if the weights
    cannot be had or do not fit.
    """
    import timm

    name, stride = split_stride(name)
    if stride:
        settings["output_stride"] = stride
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Near it: {', '.join(near)}." if near else ""
        raise InvalidValue(
            f"timm has no model {name!r}.{hint}\n"
            'All names: python -c "import timm; print(timm.list_models())"'
        )
    if weights != PRETRAINED:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **settings)
        return model if weights == RANDOM else filled(model, Path(weights))
    try:
        with _quiet_hub():
            model = timm.create_model(name, pretrained=True, num_classes=0, **settings)
    except Exception as problem:  # the hub client raises many private types
        raise WeightsUnavailable(
            f"Pretrained weights of {name!r} could not be had: {_first_line(problem)}\n"
            "Give --weights FILE (safetensors or pth), or --no-pretrained to start from random "
            "numbers."
        ) from problem
    return model


def split_stride(name: str) -> tuple[str, int]:
    """The model and the stride of a name such as ``convnext_tiny@16``; 0 where it has none.

    Raises InvalidValue for a stride that is neither 8, 16 nor 32.
    """
    model, mark, stride = name.partition("@")
    if mark and stride not in STRIDES:
        raise InvalidValue(
            f"The backbone {name!r} asks for a stride of {stride!r}.\n"
            f"Allowed after the @: {', '.join(STRIDES)}."
        )
    return model, int(stride or 0)


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """The hub's client tells of every retry; one sentence at the end is enough."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def filled(model: nn.Module, path: Path) -> nn.Module:
    """``model`` with the tensors of a .safetensors or .pth file; keys it does not have are ignored.

    Raises WeightsUnavailable unless all of its own are there and fit.
    """
    tensors = _read(path)
    own = model.state_dict()
    missing = [key for key in own if key not in tensors]
    differ = [key for key in own if key in tensors and own[key].shape != tensors[key].shape]
    if missing or differ:
        raise WeightsUnavailable(
            f"{path} does not fit the network: {len(missing)} tensors missing, {len(differ)} of "
            f"another shape, such as {(missing + differ)[0]!r}."
        )
    model.load_state_dict({key: tensors[key] for key in own})
    return model


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # unpickling raises whatever the file provokes
        raise WeightsUnavailable(
            f"Weights {path} cannot be read: {_first_line(problem)}"
        ) from problem
    for nested in ("state_dict", "model"):
        if isinstance(tensors, dict) and isinstance(tensors.get(nested), dict):
            tensors = tensors[nested]
    if not isinstance(tensors, dict):
        raise WeightsUnavailable(f"{path} holds no dictionary of tensors.")
    return tensors


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"
