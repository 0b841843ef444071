"""Networks of timm, whole or cut: pictures in, pooled features or a map of features out.

Pretrained weights come from the hub or from a file, or are declined on purpose; there is no silent
random start. Which cut a family gets is that of the methods that use it: GeoDTR+ (arXiv 2308.09624,
released code) cuts ConvNeXt after stage 3; GeoDTR (arXiv 2212.04074, released code) leaves ResNet's
max-pool out, so both have a stride of 16; SAFA (NeurIPS 2019) pools VGG16's conv5_3 once more,
rounding up.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossview.errors import InvalidValue, WeightsUnavailable
from crossview.networks.weight_files import fill_network

PRETRAINED = "hub"  # fetch the weights that timm names for the model
STRIDES = ("8", "16", "32")  # that may stand after the @ of a name
RANDOM = "none"  # start from random numbers, on purpose


def backbone(name: str, weights: str = PRETRAINED, **settings: Any) -> nn.Module:
    """A timm model without classifier, unless ``settings`` say ``num_classes``.

    ``name`` may end in ``@16`` or ``@8``: the same tensors at that stride instead of 32, for
    families of which timm can make it so (ConvNeXt, ResNet), where pictures are small.
    ``weights``: "hub", "none", or the path of a .safetensors or .pth file (read weights-only).
    Raises InvalidValue for a name that timm does not have, WeightsUnavailable if the weights
    cannot be had or do not fit.
    """
    import timm

    settings = {"num_classes": 0, **settings}
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
        model: nn.Module = timm.create_model(name, pretrained=False, **settings)
        return model if weights == RANDOM else fill_network(model, Path(weights))
    try:
        with _quiet_hub():
            model = timm.create_model(name, pretrained=True, **settings)
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


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"


VGG_DROPOUT = 0.2  # SAFA's released code keeps 0.8 of conv4 and conv5
VGG16_POOLS = (4, 9, 16, 23, 30)  # numbers of the layers that end its five blocks


class Trunk(nn.Module):
    """The kept stages, in order, and how many channels they give."""

    def __init__(self, stages: OrderedDict[str, nn.Module], channels: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(stages)
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> [B, channels, h', w']."""
        features: Tensor = self.stages(images)
        return features


def trunk(
    name: str, weights: str = PRETRAINED, drop_path: float = 0.0, *, pooled: bool = True
) -> Trunk:
    """A timm ConvNeXt, ResNet or VGG, cut as above; ``weights`` as in ``backbone``.

    ``drop_path``: stochastic depth of a ConvNeXt, rising linearly to this over all its blocks.
    ``pooled`` False: a VGG ends with conv5_3 and its ReLU, at stride 16.
    Raises InvalidValue for a network of another family.
    """
    settings: dict[str, Any] = {}
    if "vgg" in name and weights == RANDOM:
        settings = {"mlp_ratio": 1 / 1024}  # of the classifier, which is cut off anyway
    elif "convnext" in name and drop_path:
        settings = {"drop_path_rate": drop_path}
    model: Any = backbone(name, weights, **settings)
    if hasattr(model, "stem") and hasattr(model, "stages") and len(model.stages) == 4:
        return _convnext(model)
    if hasattr(model, "layer4"):
        return _resnet(model)
    if name.startswith("vgg"):
        return _vgg(model, pooled=pooled)
    raise InvalidValue(
        f"No cut is known for the backbone {name!r}.\n"
        "Allowed: ConvNeXt, ResNet and VGG of timm, such as convnext_tiny, resnet34, vgg16."
    )


def cut_after(cut: Trunk, stage: str) -> Trunk:
    """``cut`` up to the stage of that name, which it has; its modules are shared, not copied."""
    stages = list(cut.stages.named_children())
    kept = OrderedDict(stages[: [name for name, _ in stages].index(stage) + 1])
    shadow = deepcopy(nn.Sequential(kept)).to("meta").eval()
    with torch.no_grad():
        channels = int(shadow(torch.empty(1, 3, 64, 64, device="meta")).shape[1])
    return Trunk(kept, channels)


def uncut(name: str) -> str:
    """What the whole ConvNeXt calls a tensor of its trunk: "stages.stage3.x" is "stages.2.x"."""
    part, _, rest = name.removeprefix("stages.").partition(".")
    number = part.removeprefix("stage")
    return f"stages.{int(number) - 1}.{rest}" if number.isdecimal() else f"{part}.{rest}"


def as_cut(name: str) -> str:
    """The inverse of :func:`uncut`, below ``stages.``: "stages.2.x" is "stage3.x"."""
    part, _, rest = name.partition(".")
    number, _, inner = rest.partition(".")
    return f"stage{int(number) + 1}.{inner}" if part == "stages" else name


def map_size(cut: Trunk, size_px: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the map that ``cut`` makes of pictures of ``size_px`` (height, width).

    Nothing is computed: the shapes run through the network. InvalidValue if the pictures are too
    small for it.
    """
    shadow = deepcopy(cut).to("meta").eval()
    try:
        with torch.no_grad():
            shape = shadow(torch.empty(1, 3, *size_px, device="meta")).shape
    except RuntimeError:
        shape = (1, 0, 0, 0)
    rows, columns = int(shape[2]), int(shape[3])
    if rows < 1 or columns < 1:
        raise InvalidValue(
            f"Pictures of {size_px[1]} x {size_px[0]} pixels are too small for the cut backbone; "
            "nothing is left of them.\nIts stride is 16 or 32: take at least 32 pixels each way."
        )
    return rows, columns


def _convnext(model: Any) -> Trunk:
    kept = OrderedDict[str, nn.Module](stem=model.stem)
    kept |= {f"stage{n + 1}": model.stages[n] for n in range(3)}
    return Trunk(kept, int(model.feature_info[2]["num_chs"]))


def _resnet(model: Any) -> Trunk:
    names = ("conv1", "bn1", "act1", "layer1", "layer2", "layer3", "layer4")
    kept = OrderedDict[str, nn.Module]((name, getattr(model, name)) for name in names)
    return Trunk(kept, int(model.num_features))


def _vgg(model: Any, *, pooled: bool) -> Trunk:
    kept, pools = OrderedDict[str, nn.Module](), 0
    layers = list(model.features.named_children())
    for index, layer in layers if pooled else layers[:-1]:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode, pools = True, pools + 1  # TensorFlow's SAME padding
        kept[f"layer{index}"] = layer
        if pools >= 3 and isinstance(layer, nn.ReLU):
            kept[f"dropout{index}"] = nn.Dropout(VGG_DROPOUT)
    return Trunk(kept, 512)


def find_vgg_block(name: str) -> int:
    """Which of VGG16's five blocks a parameter of its trunk belongs to; 0: none of them."""
    found = re.search(r"\bstages\.layer(\d+)\.", name)
    return 1 + sum(int(found[1]) > pool for pool in VGG16_POOLS) if found else 0


def list_sizes(positions: int, side_px: int) -> str:
    """Sizes of pictures with so many patches of ``side_px``, as settings; squarer ones first."""
    pairs = [
        (rows, positions // rows)
        for rows in range(int(positions**0.5), 0, -1)
        if positions % rows == 0 and positions <= 16 * rows * rows
    ]
    sizes = [f"[{rows * side_px},{columns * side_px}]" for rows, columns in pairs[:5]]
    return f"perhaps {' or '.join(sizes)}" if sizes else "of no common size"
