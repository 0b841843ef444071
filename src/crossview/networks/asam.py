"""Sharpness-aware minimisation: an optimiser steps by the gradient at the worst weights nearby.

SAM (Foret et al., ICLR 2021, arXiv 2010.01412) and its adaptive kind ASAM (Kwon et al., ICML 2021,
arXiv 2102.11600): of all e with |e / t| <= rho, the one that raises the loss most, to first order,

    e = rho t^2 g / |t g|,    t = 1 (SAM) or |w| (ASAM), element by element

over all trained weights together. The gradient at w + e then moves w. Written from the papers;
ASAM's authors add 0.01 to |w|, TransGeo's do not, and nor is it done here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

TINIEST = 1e-12  # beside a gradient of 0, which is no direction


@contextmanager
def climb(optimiser: torch.optim.Optimizer, rho: float, *, adaptive: bool) -> Iterator[None]:
    """Inside of the block the weights of ``optimiser`` stand at w + e, and have no gradients.

    ``rho`` is above 0; gradients are those at w. Afterwards the weights are w again, bit for bit,
    whatever happened inside, and keep the gradients that were computed there: ``optimiser.step``
    may follow. Weights without a gradient stay where they are. Costs a copy of the weights.
    """
    weights = [w for group in optimiser.param_groups for w in group["params"] if w.grad is not None]
    before = [w.detach().clone() for w in weights]
    try:
        with torch.no_grad():
            _climb(weights, before, rho, adaptive=adaptive)
        optimiser.zero_grad(set_to_none=True)
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, before)


def _climb(
    weights: list[torch.Tensor], before: list[torch.Tensor], rho: float, *, adaptive: bool
) -> None:
    steps = [w.grad.detach().clone() for w in weights if w.grad is not None]
    if adaptive:
        torch._foreach_mul_(steps, torch._foreach_abs(before))  # t g
    if not steps:
        return
    length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(steps)))
    if adaptive:
        torch._foreach_mul_(steps, torch._foreach_abs(before))  # t^2 g
    torch._foreach_mul_(steps, rho / (length + TINIEST))
    torch._foreach_add_(weights, steps)
