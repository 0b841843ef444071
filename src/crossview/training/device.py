"""Which device trains, whether it is fast in bfloat16, and a network laid out for it."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from crossview.errors import InvalidValue


def open_device(name: str) -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        raise InvalidValue(
            f"device {name!r} cannot be used here: {str(problem).splitlines()[0]}\n"
            "Allowed: auto, cpu, and what PyTorch finds (cuda, cuda:N, mps)."
        ) from problem
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True  # the same run gives the same weights
        torch.backends.cudnn.benchmark = False
    return device


def is_fast_in_bfloat16(device: torch.device) -> bool:
    """GPUs with native bfloat16; CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent in some builds
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """bfloat16 for the network's products, if ``enabled`` and the device is fast at it."""
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=enabled and is_fast_in_bfloat16(device)
    )


class Float32Depthwise(nn.Conv2d):
    """A depthwise convolution that stays in float32 under autocast; the same parameters."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Features [B, C, H, W] of any type -> [B, C, H', W'] in float32."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def lay_out(model: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device, channels last; names and parameters of the state dict stay.

    On a CPU depthwise convolutions compute in float32: the gradient of their weights takes three
    times as long in bfloat16, and that is half of a ConvNeXt's training step.
    """
    if device.type == "cpu":
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.Conv2d and 1 < child.groups == child.in_channels:
                    setattr(parent, name, _keep_float32(child))
    return model.to(device).to(memory_format=torch.channels_last)


def _keep_float32(conv: nn.Conv2d) -> Float32Depthwise:
    with torch.device("meta"):
        same = Float32Depthwise(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
        )
    same.weight, same.bias = conv.weight, conv.bias
    return same.train(conv.training)


def peak_memory_mb(device: torch.device) -> float:
    """Highest memory so far: of the GPU, or of this process; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource  # Unix only
    except ImportError:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
