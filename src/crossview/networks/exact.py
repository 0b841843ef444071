"""Where bfloat16 would cost accuracy: a region that autocast leaves alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(values: Tensor) -> AbstractContextManager[object]:
    """No autocast on the device of ``values``; nothing on the meta device, which has none."""
    if values.device.type == "meta":
        return nullcontext()
    return torch.autocast(values.device.type, enabled=False)


def at_least_float32(values: Tensor) -> Tensor:
    """``values`` in float32, or in float64 if they are that already."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
