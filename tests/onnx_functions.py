"""PyTorch's exporter reads its 500 ONNX functions from their sources once, not for every graph.

That is half of what exporting a tiny network takes. What is traced, and all that is written of it,
stays as it is.
"""

from __future__ import annotations

import functools
import sys


def keep_onnx_functions() -> None:
    """Have a process keep them, if it has loaded the exporter and that has such a list."""
    exporter = sys.modules.get("torch.onnx._internal.exporter._registration")
    registry = getattr(exporter, "ONNXRegistry", None)
    if hasattr(registry, "from_torchlib") and not hasattr(registry.from_torchlib, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))
