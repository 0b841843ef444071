"""What a network costs: parameters, multiply-adds, time and memory per pair.

Multiply-adds are counted by running shapes through the network (``torch.utils.flop_counter``, half
its FLOP): convolutions and matrix products, attention included; norms and activations are not.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from crossview.pairs.batch import Views
from crossview.training.device import autocast
from crossview.views.spec import ViewSpec

ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class BranchCost:
    """One side; ``trunk_*`` is the backbone alone, 0 where the branch does not name it."""

    side: str
    height_px: int
    width_px: int
    parameters: int
    macs: int  # multiply-adds for one picture
    trunk_parameters: int = 0
    trunk_macs: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A pair; parameters of a shared encoder count once."""

    ground: BranchCost
    aerial: BranchCost
    shared: bool

    @property
    def parameters(self) -> int:
        """Of the whole network that embeds."""
        return self.ground.parameters + (0 if self.shared else self.aerial.parameters)

    @property
    def macs(self) -> int:
        """Multiply-adds for one pair."""
        return self.ground.macs + self.aerial.macs

    @property
    def trunk_parameters(self) -> int:
        """Of the backbones alone."""
        return self.ground.trunk_parameters + (0 if self.shared else self.aerial.trunk_parameters)

    @property
    def trunk_macs(self) -> int:
        """Multiply-adds of the backbones alone for one pair."""
        return self.ground.trunk_macs + self.aerial.trunk_macs


def cost(model: nn.Module, views: Views) -> Cost:
    """Count; ``model`` is moved to the meta device and is of no more use afterwards."""
    shadow = model.to("meta").eval()
    shared = bool(getattr(model, "shared", False))
    ground, aerial = (_branch(shadow, spec) for spec in (views.ground, views.aerial))
    return Cost(ground=ground, aerial=aerial, shared=shared)


def seconds_per_pair(model: nn.Module, views: Views, *, amp: bool) -> float:
    """Median of five pairs embedded one by one, after one that does not count."""
    device = next(model.parameters()).device
    pictures = {
        side: torch.rand(1, 3, spec.height_px, spec.width_px, device=device)
        for side, spec in (("ground", views.ground), ("aerial", views.aerial))
    }
    model.eval()
    taken = []
    with torch.no_grad(), autocast(device, amp):
        for _ in range(ROUNDS + 1):
            begun = time.perf_counter()
            for side, picture in pictures.items():
                _ready(getattr(model, side)(picture))
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def _branch(shadow: nn.Module, spec: ViewSpec) -> BranchCost:
    branch: Any = getattr(shadow, spec.side)
    module: nn.Module = branch if isinstance(branch, nn.Module) else shadow
    picture = torch.empty(1, 3, spec.height_px, spec.width_px, device="meta")
    trunk = getattr(module, "trunk", None)
    return BranchCost(
        side=spec.side,
        height_px=spec.height_px,
        width_px=spec.width_px,
        parameters=_parameters(module),
        macs=_macs(branch, picture),
        trunk_parameters=_parameters(trunk) if trunk is not None else 0,
        trunk_macs=_macs(trunk, picture) if trunk is not None else 0,
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _macs(function: Any, picture: torch.Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        function(picture)
    return int(counter.get_total_flops() // 2)


def _ready(vectors: torch.Tensor) -> None:
    """Wait for a device that computes behind our back."""
    if vectors.device.type == "cuda":
        torch.cuda.synchronize(vectors.device)
