"""The parity fixtures: weights rebuilt from a key list, seeded inputs, and what came out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.parity_weights import listed, seeded_input
from tests.shared_data import shared

from crossview import methods


def checkpoint(configuration: str) -> dict[str, torch.Tensor]:
    """The authors' state of a configuration, keys without ``module.``, values by the recipe."""
    return listed(configuration, "module.")


def recipe(method: str, name: str) -> dict[str, Any]:
    """A published setting of a method."""
    folder = Path(methods.__file__).parent / "recipes"
    return json.loads((folder / f"{method}.json").read_text(encoding="utf-8"))[name]


def outputs(file: str, configuration: str) -> dict[str, np.ndarray]:
    """The arrays of one configuration, by quantity."""
    data = np.load(shared("parity", file))
    start = f"{configuration}/"
    return {k.removeprefix(start): data[k] for k in data.files if k.startswith(start)}


def pictures(arrays: dict[str, np.ndarray], view: str) -> torch.Tensor:
    """The seeded input of a view."""
    return seeded_input(arrays[f"input_{view}_seed_then_shape"])
