"""Renewal of statistics without labels: networks that meet another region's pictures.

Adaptive batch normalisation (Li et al., "Revisiting Batch Normalization For Practical Domain
Adaptation", 2016): what a batch norm holds of the training pictures is replaced by what unlabelled
pictures of the new domain give. Deviation: only a share of it, because a region's few pictures know
less than the training did. Whitened features are renewed likewise, before the norms behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from crossview.arrays import U8
from crossview.errors import InvalidValue, require
from crossview.networks.azimuth import Whitening, renew_whitening
from crossview.pairs.batch import normalise
from crossview.views.spec import ViewSpec

Pictures = Iterable[U8]  # batches [B, h, w, 3]


def renew_batch_norms(
    model: nn.Module, side: str, pictures: Pictures, spec: ViewSpec, share: float = 0.5
) -> int:
    """Move the statistics that the branch ``side`` passes through towards ``pictures``.

    Whitening first (its axes stay), then the batch norms, but for those that training leaves alone.
    Every norm's mean and variance become (1 - ``share``) of what they were and ``share`` of the
    mean of those of the batches, each batch normalised by its own on the way, as in training.
    Weights stay as they are. Returns the number of pictures; none is an InvalidValue, and so is a
    ``share`` outside of [0, 1].
    """
    require(0.0 <= share <= 1.0, f"a share lies in [0, 1], got {share}.")
    device, batches = next(model.parameters()).device, list(pictures)
    norms = _list_norms(model)
    before = {name: _statistics(norm) for name, norm in norms.items()}
    mode, settings = model.training, {n: (m.momentum, m.training) for n, m in norms.items()}
    model.eval()

    def run(batch: U8) -> None:
        getattr(model, side)(normalise(batch, spec, device))

    count = sum(len(batch) for batch in batches)
    try:
        with torch.no_grad():
            if share > 0.0:
                _renew_whitenings(model, batches, run, share)
            for norm in norms.values():
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over batches
                norm.train()
            for batch in batches:
                run(batch)
    finally:
        for name, norm in norms.items():
            met = bool(norm.num_batches_tracked)
            _mix(norm, before[name], share if met and count else 0.0)
            norm.momentum = settings[name][0]
        model.train(mode)
        for name, norm in norms.items():
            norm.train(settings[name][1])
    if not count:
        raise InvalidValue(f"no {side} picture to renew statistics from.")
    return count


def _renew_whitenings(
    model: nn.Module, batches: Iterable[U8], run: Callable[[U8], None], share: float
) -> None:
    """Every whitening that a run passes through, by the features that reach it."""
    seen: dict[Whitening, list[Tensor]] = {}
    hooks = [
        part.register_forward_pre_hook(
            lambda module, given: seen.setdefault(module, []).append(given[0].cpu())
        )
        for part in model.modules()
        if isinstance(part, Whitening)
    ]
    try:
        for batch in batches if hooks else ():
            run(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for whitening, features in seen.items():
        renew_whitening(whitening, features, share)


def _list_norms(model: nn.Module) -> dict[str, Any]:
    """The batch norms that training moves; a network may keep those of a pretrained part."""
    modes = [(part, part.training) for part in model.modules()]
    model.train()
    norms = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and part.training
    }
    for part, mode in modes:
        part.training = mode
    return norms


def _statistics(norm: Any) -> Mapping[str, Tensor]:
    return {
        name: getattr(norm, name).clone()
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }


def _mix(norm: Any, before: Mapping[str, Tensor], share: float) -> None:
    for name in ("running_mean", "running_var"):
        getattr(norm, name).copy_(torch.lerp(before[name], getattr(norm, name), share))
    norm.num_batches_tracked.copy_(before["num_batches_tracked"])
