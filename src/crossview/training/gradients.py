"""From one batch to gradients: the whole objective at once, or its two halves in chunks.

Gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", RepL4NLP 2021): all pictures are encoded without keeping activations, the loss is
differentiated with respect to the vectors, then each chunk is encoded again and its vectors'
gradients are sent through it. The gradients are those of the whole batch, as long as no layer mixes
pictures of a batch (batch norm does); the memory is that of a chunk, the price one more forward
pass. Written from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crossview.errors import InvalidValue
from crossview.pairs.batch import Batch
from crossview.training.device import autocast

Vectors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is differentiated, and how."""

    page: Any
    config: Any
    amp: bool = True
    chunk: int = 0  # pairs encoded at a time; 0: all
    share: float = 1.0  # of the loss: 1 / batches per optimiser step


@dataclass(frozen=True)
class Passed:
    """Losses by name, "loss" their sum; vectors by name where the page tells them."""

    losses: dict[str, float]
    vectors: Vectors


def in_halves(page: Any) -> bool:
    """Whether a page's objective is ``contrast`` over ``encode``, both of which it offers."""
    return callable(getattr(page, "encode", None)) and callable(getattr(page, "contrast", None))


def backward(model: nn.Module, batch: Batch, objective: Objective) -> Passed:
    """Add the gradients of one batch to the parameters' ``grad``.

    Raises InvalidValue where chunks are asked of a page without halves.
    """
    device = batch.ground.device
    halves = in_halves(objective.page)
    if objective.chunk and not halves:
        raise InvalidValue(
            "chunk needs a method that offers encode and contrast; use chunk=0.\n"
            "See docs/adding-a-method.md."
        )
    if objective.chunk and objective.chunk < len(batch):
        return _cached(model, batch, objective)
    vectors: Vectors = {}
    with autocast(device, objective.amp):
        if halves:
            vectors = objective.page.encode(model, batch, objective.config)
            losses = objective.page.contrast(model, vectors, objective.config)
        else:
            losses = objective.page.objective(model, batch, objective.config)
    total = _total(losses)
    (total * objective.share).backward()  # type: ignore[no-untyped-call]
    return Passed(_numbers(total, losses), {k: v.detach() for k, v in vectors.items()})


def _cached(model: nn.Module, batch: Batch, objective: Objective) -> Passed:
    seed = torch.initial_seed()
    parts = list(_parts(batch, objective.chunk))
    with torch.no_grad():
        pieces = [_encoded(model, part, objective, seed + n) for n, part in enumerate(parts)]
    names = list(pieces[0])
    vectors = {name: torch.cat([piece[name] for piece in pieces]) for name in names}
    leaves = {name: value.detach().requires_grad_() for name, value in vectors.items()}
    with autocast(batch.ground.device, objective.amp):
        losses = objective.page.contrast(model, leaves, objective.config)
    total = _total(losses)
    (total * objective.share).backward()  # type: ignore[no-untyped-call]
    for n, part in enumerate(parts):
        again = _encoded(model, part, objective, seed + n)
        start = n * objective.chunk
        wanted = [name for name in names if leaves[name].grad is not None]
        gradients = [_slice(leaves[name].grad, start, len(part)) for name in wanted]
        torch.autograd.backward([again[name] for name in wanted], gradients)
    return Passed(_numbers(total, losses), vectors)


def _encoded(model: nn.Module, part: Batch, objective: Objective, seed: int) -> Vectors:
    """Vectors of a chunk; the seed makes dropout draw the same both times."""
    torch.manual_seed(seed)
    with autocast(part.ground.device, objective.amp):
        vectors: Vectors = objective.page.encode(model, part, objective.config)
    return vectors


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(batch), size):
        yield batch.part(start, min(start + size, len(batch)))


def _slice(values: Tensor | None, start: int, count: int) -> Tensor | None:
    return None if values is None else values[start : start + count]


def _total(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([value.float() for value in losses.values()]).sum()


def _numbers(total: Tensor, losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {"loss": total.item(), **{name: value.item() for name, value in losses.items()}}
