"""The parity fixtures: weights rebuilt from a key list, seeded inputs, and what came out."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.shared_data import shared

from crossview import methods


def checkpoint(configuration: str) -> dict[str, torch.Tensor]:
    """The authors' state of a configuration, keys without ``module.``, values by the recipe."""
    listed = json.loads(shared("parity", "checkpoints", f"{configuration}.json").read_text())
    (section,) = listed["sections"].values()
    prefix = section["fill_prefix"]
    return {
        key.removeprefix("module."): filled(shape, dtype, prefix + key)
        for key, shape, dtype in section["entries"]
    }


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
    seed, *shape = arrays[f"input_{view}_seed_then_shape"].tolist()
    generator = np.random.Generator(np.random.PCG64(seed))
    return torch.tensor(generator.standard_normal(shape).astype(np.float32))


def filled(shape: list[int], dtype: str, key: str) -> torch.Tensor:
    """One tensor (README of the fixtures, section 2: the first line that applies)."""
    count = math.prod(shape)
    v = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(count)
    leaf = key.rsplit(".", 1)[-1]
    if not dtype.startswith("float"):
        return torch.zeros(shape, dtype=torch.int64)
    if shape == []:
        v = math.log(1 / 0.07) + 0.05 * v
    elif len(shape) == 1:
        v = _vector(v, leaf)
    elif shape[0] == 1:
        v = 0.2 * v
    elif len(shape) == 3 and (leaf in ("w1", "w2") or key.endswith("pos_encoder.linear")):
        v = v / math.sqrt(max(shape[:2]))
    else:
        v = v / math.sqrt(math.prod(shape[1:]))
    return torch.tensor(v.reshape(shape), dtype=torch.float32)


def _vector(v: np.ndarray, leaf: str) -> np.ndarray:
    if leaf == "running_var":
        return 1 + 0.1 * np.abs(v)
    if leaf == "running_mean":
        return 0.05 * v
    return 1 + 0.05 * v if leaf in ("weight", "gamma") else 0.02 * v
