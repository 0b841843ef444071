"""What ``crossview import`` is to make of a published checkpoint, and how its network is compared.

Each method's own test has a table of them, ``CHECKPOINTS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tests.parity_weights import seeded_input
from tests.shared_data import shared
from torch import nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

ALIKE = "the names of their tensors are the same"
HEADS_ALIKE = "(the shapes are alike for any number of attention heads)"
HEADS = f"heads=4 {HEADS_ALIKE}"
POLAR = {"ground_px": (122, 671), "aerial_px": (122, 671), "polar": True}
SQUARE = {"ground_px": (122, 671), "aerial_px": (256, 256), "polar": False}
BASE = {"backbone": "convnext_base.fb_in22k_ft_in1k_384"}
SMALLEST = {"backbone": "convnext_tiny"}


class Undrawn(TorchFunctionMode):
    """Networks are built without drawing the weights that a file is to give them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_}:
            return args[0]
        return function(*args, **(kwargs or {}))


def outputs(name):
    """The arrays that the authors' code gave, by quantity."""
    data = np.load(shared("parity", f"{name.split('_')[0]}.npz"))
    start = f"{name}/"
    return {key.removeprefix(start): data[key] for key in data.files if key.startswith(start)}


def assert_close(ours, theirs, tolerance):
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def assert_layout(model, arrays, tolerance):
    """GeoDTR and GeoDTR+: the maps of the backbones, the masks, the embeddings."""
    for view in ("ground", "aerial"):
        layout = getattr(model, view).layout(seeded_input(arrays[f"input_{view}_seed_then_shape"]))
        maps = layout.features[0, :8].reshape(8, *layout.size)
        assert_close(maps, arrays[f"backbone_{view}_sample0_first8"], 1.5e-5)
        assert_close(layout.masks, arrays[f"descriptor_{view}"], tolerance)
        assert_close(layout.vector, arrays[f"embedding_{view}"], tolerance)


def assert_features(model, arrays, tolerance):
    """Sample4Geo, ConGeo and SinGeo: the features of all views, at length 1."""
    names = [key for key in arrays if key.startswith("feature_") and "__" not in key]
    assert names
    for name in names:
        view = name.removeprefix("feature_")
        images = seeded_input(arrays[f"input_{view}_seed_then_shape"])
        branch = model.aerial if view.startswith(("r", "satellite")) else model.ground
        rounding = 10 * float(arrays.get(f"{name}__fp32_rounding", 0.0))
        theirs = normalize(torch.tensor(arrays[name]), dim=1)
        assert_close(branch(images), theirs, max(tolerance, rounding))


def assert_embeddings(model, arrays, tolerance):
    """L2LTR and SAIG: the embeddings, which the fixture has at length 1."""
    for view in ("ground", "aerial"):
        ours = getattr(model, view)(seeded_input(arrays[f"input_{view}_seed_then_shape"]))
        assert_close(ours, arrays[f"embedding_{view}"], tolerance)


Check = Callable[[nn.Module, dict[str, Any], float], None]


@dataclass(frozen=True)
class Published:
    """A file of weights as its authors' code writes it."""

    trained_on: str = "cvusa"
    config: tuple[str, ...] = ()  # what the file cannot show and the published settings do not say
    told: tuple[str, ...] = ()  # what the command says
    shown: dict[str, Any] = field(default_factory=dict)  # settings of the run
    tolerance: float = 1e-5  # of the largest value
    check: Check | None = assert_features  # None: that the keys agree is all
