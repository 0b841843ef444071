"""The parity fixtures' weights, rebuilt from lists of keys and shapes (their README, section 2)."""

from __future__ import annotations

import json
import math
import zlib

import numpy as np
import torch
from tests.shared_data import shared


def listed(configuration: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """The whole state of one checkpoint of ``shared/parity/checkpoints``, by key."""
    text = shared("parity", "checkpoints", f"{configuration}.json").read_text(encoding="utf-8")
    found = {}
    for section in json.loads(text)["sections"].values():
        for key, shape, dtype in section["entries"]:
            found[key.removeprefix(prefix)] = tensor(shape, dtype, section["fill_prefix"] + key)
    return found


def tensor(shape: list[int], dtype: str, key: str) -> torch.Tensor:
    """One tensor of normal draws seeded by its key, at the scale of its kind."""
    count = math.prod(shape)
    v = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(count)
    leaf = key.rsplit(".", 1)[-1]
    if not dtype.startswith(("float", "torch.float")):
        v = np.zeros(count)
    elif shape == []:
        v = math.log(1 / 0.07) + 0.05 * v
    elif len(shape) == 1:
        scales = {"running_var": 1 + 0.1 * abs(v), "running_mean": 0.05 * v}
        scales |= dict.fromkeys(("weight", "gamma"), 1 + 0.05 * v)
        v = scales.get(leaf, 0.02 * v)
    elif shape[0] == 1:
        v = 0.2 * v
    elif len(shape) == 3 and (leaf in ("w1", "w2") or key.endswith("pos_encoder.linear")):
        v = v / math.sqrt(max(shape[:2]))
    else:
        v = v / math.sqrt(math.prod(shape[1:]))
    return torch.tensor(v.reshape(shape), dtype=torch.float32)


def seeded_input(values: np.ndarray) -> torch.Tensor:
    """Pictures of normal noise from an array that holds a seed and a shape."""
    seed, *shape = values.tolist()
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    return torch.tensor(noise.astype(np.float32))
