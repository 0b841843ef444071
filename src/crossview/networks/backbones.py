"""Backbones through timm: pictures [B, 3, h, w] in, pooled features [B, D] out.

Pretrained weights come from the hub, or from a file, or are declined in so many words; there is
no silent random start.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from crossview.errors import BadModel, InvalidValue, WeightsUnavailable
from crossview.networks.torchvision_names import as_timm
from crossview.networks.weight_files import COUNTER, fit, read_weights

PRETRAINED = "hub"  # fetch the weights that timm names for the model
STRIDES = ("8", "16", "32")  # that may stand after the @ of a name
RANDOM = "none"  # start from random numbers, on purpose
_FIRST_LAYERS = (  # of timm's ConvNeXt, ResNet and VGG, transformers; of torchvision's
    "stem.0.weight", "conv1.weight", "features.0.weight", "patch_embed.proj.weight",
    "features.0.0.weight", "conv_proj.weight",
)  # fmt: skip


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
    """``model`` with the tensors of a file; what it does not have, as classifiers, is ignored.

    The file may name them as timm does, as torchvision does, or as the model's own authors do, and
    below a prefix. Position tables of transformers are resampled to the size of the pictures, as
    timm does with weights of the hub. Raises WeightsUnavailable unless all of its own are there.
    """
    try:
        tensors = read_weights(path).tensors
    except FileNotFoundError as problem:
        raise WeightsUnavailable(
            f"Weights {path} cannot be read: there is no such file."
        ) from problem
    except OSError as problem:
        raise WeightsUnavailable(f"Weights {path} cannot be read: {problem.strerror}.") from problem
    except BadModel as problem:
        raise WeightsUnavailable(f"Weights {problem}") from problem
    own = model.state_dict()
    tensors = _named_by_timm(model, tensors, path)
    missing = [k for k in own if k not in tensors and not k.endswith(COUNTER)]
    differ = [key for key in own if key in tensors and own[key].shape != tensors[key].shape]
    if missing or differ:
        raise WeightsUnavailable(
            f"{path} does not fit the network: {len(missing)} tensors missing, {len(differ)} of "
            f"another shape, such as {(missing + differ)[0]!r}.\n"
            f"It holds {len(tensors)}, such as {next(iter(tensors))!r}: of another backbone?"
        )
    try:
        fitting, _ = fit(own, {key: tensors[key] for key in own if key in tensors}, path)
    except BadModel as problem:
        raise WeightsUnavailable(f"Weights {problem}") from problem
    model.load_state_dict(fitting)
    return model


def _named_by_timm(
    model: nn.Module, tensors: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The tensors by the names of ``model``, if they can be; the plain names come first."""
    own = {name for name in model.state_dict() if not name.endswith(COUNTER)}
    fitting = {}
    for prefix in ("", *dict.fromkeys(_prefixes(tensors))):
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        made = _of_family(model, as_timm(part))
        if own <= set(made):
            fitting[prefix] = made
    if "" not in fitting and len(fitting) > 1:
        raise WeightsUnavailable(
            f"{path} holds such a network {len(fitting)} times, below "
            f"{', '.join(prefix.rstrip('.') for prefix in fitting)}.\n"
            "Save the one that is meant in a file of its own."
        )
    return next(iter(fitting.values()), _of_family(model, as_timm(tensors)))


def _prefixes(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """What stands before the names of first layers, such as ``backbone.`` or ``model_q.``."""
    for name in tensors:
        for first in _FIRST_LAYERS:
            if name.endswith(f".{first}"):
                yield name.removesuffix(first)


def _of_family(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As timm's code for this family of networks converts files, where it has such code."""
    convert = getattr(import_module(type(model).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return dict(convert(dict(tensors), model))
    except (KeyError, IndexError, ValueError, RuntimeError, AttributeError, AssertionError):
        return tensors  # another network's: what does not fit is told by name


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"
