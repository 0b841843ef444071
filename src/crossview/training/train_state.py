"""What a training has become: weights, their average, the optimiser, counters and vectors.

One file holds it whole (safetensors): weights, averaged weights, optimiser moments and mined
neighbours as tensors, the counters as JSON in its header, and a checksum of all that, so that a
damaged file is never gone on from. It is replaced atomically, and every
random draw of training is seeded by these counters, so a run killed at any instant goes on exactly.

``VectorMemory`` keeps the vectors that training itself computes until neighbours are searched among
them: with it, similarity sampling needs no second pass over the data. The vectors are as old as the
step that made them, and of augmented pictures; what that costs is in ``docs/methods/singeo.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from crossview.arrays import I64
from crossview.errors import BadModel, CrossviewError
from crossview.files import atomic_write
from crossview.networks.weight_files import make_header, read_header, read_tensors
from crossview.schema import Count, check, parse_object
from crossview.training.contract import TrainingRecipe


class VectorMemory:
    """float16 [P, D] per view, filled row by row; lives on the CPU."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.ground: Tensor | None = None
        self.aerial: Tensor | None = None
        self.known = torch.zeros(rows, dtype=torch.bool)

    def note(self, rows: Tensor, ground: Tensor, aerial: Tensor) -> None:
        """Keep the vectors [B, D] of ``rows`` [B] in place of earlier ones."""
        rows = rows.cpu()
        self.ground = self._filled(self.ground, rows, ground)
        self.aerial = self._filled(self.aerial, rows, aerial)
        self.known[rows] = True

    def tensors(self) -> dict[str, Tensor]:
        """What a saved training needs to go on."""
        if self.ground is None or self.aerial is None:
            return {}
        return {"ground": self.ground, "aerial": self.aerial, "known": self.known}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from :meth:`tensors`; nothing given: start empty."""
        if not tensors:
            return
        if len(tensors["known"]) != self._rows:
            raise BadModel(
                f"The saved training remembers {len(tensors['known'])} rows, this one has "
                f"{self._rows}."
            )
        self.ground, self.aerial = tensors["ground"], tensors["aerial"]
        self.known = tensors["known"]

    def _filled(self, kept: Tensor | None, rows: Tensor, vectors: Tensor) -> Tensor:
        if kept is None:
            kept = torch.zeros(self._rows, vectors.shape[1], dtype=torch.float16)
        kept[rows] = vectors.detach().to("cpu", torch.float16)
        return kept


@dataclass
class TrainState:
    """What changes while training. Counters: optimiser steps done, epoch, batches used of it."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    averaged: dict[str, Tensor] | None  # by state_dict key; None: recipe.ema_decay is 0
    neighbours: I64 | None = None
    memory: VectorMemory | None = None  # the epoch's own vectors, if recipe.mine_from says "epoch"
    step: int = 0
    epoch: int = 0
    position: int = 0

    def average(self, decay: float) -> None:
        """Move the averaged weights towards the current ones; slower as training goes on.

        The weight of the past is min(decay, (1 + n) / (10 + n)) at step n, so that the random
        start is forgotten. Integer buffers are copied.
        """
        if self.averaged is None:
            return
        keep = min(decay, (1 + self.step) / (10 + self.step))
        now = self.model.state_dict()
        moving = [name for name, value in now.items() if value.is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_(
                [self.averaged[name] for name in moving], [now[name] for name in moving], 1.0 - keep
            )
            for name in now.keys() - moving:
                self.averaged[name].copy_(now[name])

    @contextmanager
    def evaluation_mode(self) -> Iterator[Any]:
        """The model in eval mode with the averaged weights, if there are any; then as before."""
        mode = self.model.training
        own = None
        if self.averaged is not None:
            own = {name: value.clone() for name, value in self.model.state_dict().items()}
            _copy_into(self.model, self.averaged)
        self.model.eval()
        try:
            with torch.no_grad():
                yield self.model
        finally:
            if own is not None:
                _copy_into(self.model, own)
            self.model.train(mode)


def make_state(
    model: nn.Module, recipe: TrainingRecipe, rate: Callable[[str], float] = lambda name: 1.0
) -> TrainState:
    """The recipe's optimiser over all parameters that require gradients; counters at 0.

    AdamW has PyTorch's second beta; momentum of SGD is PyTorch's, without Nesterov's step. Without
    ``recipe.decay_vectors``, parameters with fewer than two axes are not decayed.
    ``rate``: by a parameter's name, the share of the learning rate at which it is trained; those
    of rate 0 are frozen.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        share = rate(name)
        parameter.requires_grad_(parameter.requires_grad and share > 0)
        if parameter.requires_grad:
            decays = recipe.decay_vectors or parameter.ndim > 1
            groups.setdefault((share, decays), []).append(parameter)
    settings = [
        {"params": groups[key], "weight_decay": key[1] * recipe.weight_decay, "rate": key[0]}
        for key in sorted(groups, reverse=True)
    ]
    optimiser: torch.optim.Optimizer
    if recipe.optimiser == "sgd":
        optimiser = torch.optim.SGD(settings, lr=recipe.lr, momentum=recipe.momentum, fused=True)
    else:
        betas = (recipe.beta1, 0.999)
        optimiser = torch.optim.AdamW(
            settings, lr=recipe.lr, betas=betas, eps=recipe.eps, fused=True
        )
    averaged = None
    if recipe.ema_decay > 0:
        averaged = {name: value.clone() for name, value in model.state_dict().items()}
    return TrainState(model=model, optimiser=optimiser, averaged=averaged)


def save_state(state: TrainState, path: Path) -> None:
    """Write everything to one file, atomically; CannotWrite leaves the former file as it was."""
    tensors = {f"model/{k}": v for k, v in state.model.state_dict().items()}
    tensors |= {f"average/{k}": v for k, v in (state.averaged or {}).items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": value for name, value in moments.items()}
    if state.neighbours is not None:
        tensors["neighbours"] = torch.from_numpy(state.neighbours)
    if state.memory is not None:
        tensors |= {f"memory/{name}": value for name, value in state.memory.tensors().items()}
    counters = {"step": state.step, "epoch": state.epoch, "position": state.position}
    _write(tensors, path, {"counters": json.dumps(counters)})


def load_state(state: TrainState, path: Path) -> None:
    """Fill a fresh state from a file of :func:`save_state`; BadModel for any other."""
    try:
        _fill_state(state, path)
    except CrossviewError:
        raise
    except Exception as problem:  # torch raises whatever tensors of other shapes lead to
        raise BadModel(f"{path} is no saved state of this training: {problem}") from problem


def _fill_state(state: TrainState, path: Path) -> None:
    tensors, texts = read_tensors(path)
    _copy_into(state.model, _part(tensors, "model/"))
    if state.averaged is not None:
        averaged = _part(tensors, "average/")
        state.averaged = {k: _like(v, averaged[k]) for k, v in state.averaged.items()}
    _load_optimiser(state.optimiser, _part(tensors, "optimiser/"))
    if "neighbours" in tensors:
        state.neighbours = tensors["neighbours"].numpy().astype(np.int64)
    if state.memory is not None:
        state.memory.load(_part(tensors, "memory/"))
    counters = check(SavedCounters, parse_object(texts["counters"].encode()))
    state.step, state.epoch, state.position = counters.step, counters.epoch, counters.position


@dataclass(frozen=True, kw_only=True)
class SavedCounters:
    """How far a saved training is."""

    step: Count
    epoch: Count
    position: Count


def read_saved_step(path: Path) -> int:
    """Steps done in a file of :func:`save_state`, read from its header; 0 if there is no file."""
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads(read_header(file.metadata())[0]["counters"])["step"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise BadModel(f"{path} is no saved training: {problem}") from problem


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """A network's state_dict as safetensors, atomically."""
    _write(weights, path, {})


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill ``model`` from a file of :func:`save_weights`; every tensor must fit."""
    tensors, _ = read_tensors(path)
    _copy_into(model, tensors)


def _write(tensors: dict[str, Tensor], path: Path, texts: dict[str, str]) -> None:
    """Whole or not at all. ``save_file`` of the library would leave a name of its own if killed."""
    plain = _plain(tensors)
    atomic_write(path, save(plain, metadata=make_header(plain, texts)))


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Row-major copies that share no memory, as safetensors wants them."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _copy_into(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as problem:
        raise BadModel(f"The weights do not fit the network: {problem}") from problem


def _like(model: Tensor, values: Tensor) -> Tensor:
    """``values`` on the device and in the memory order of ``model``."""
    return torch.empty_like(model).copy_(values)


def _load_optimiser(optimiser: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in moments.items():
        index, name = key.split("/")
        same = value.shape == parameters[int(index)].shape and value.ndim > 0
        entry = _like(parameters[int(index)].detach(), value) if same else value
        state.setdefault(int(index), {})[name] = entry
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
