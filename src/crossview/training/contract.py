"""What a method must offer: one module with six plain names (``docs/adding-a-method.md``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from crossview.arrays import I64
from crossview.pairs.batch import Batch, PairPixels, Views

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from crossview.pairs.table import PairTable


class Method(Protocol):
    """A page of :mod:`crossview.methods`, or anyone's own file given as ``--method ./mine.py``.

    ``Config``    frozen dataclass of plain JSON values, every one with a default; the fields that
                  the loop reads are those of :class:`crossview.training.recipe.Recipe`.
    ``views``     config -> what each branch sees.
    ``build``     config -> nn.Module with methods ``ground`` and ``aerial``, each taking float32
                  [B, 3, h, w] and giving unit vectors [B, D].
    ``objective`` (model, batch, config) -> named scalars; the loop minimises their sum.
    ``batches``   (table, config, generator, neighbours) -> the row lists of one epoch.
    ``augment``   (pair, config, rng) -> pair; runs in loader workers, on uint8 arrays. Its
                  ``ground`` must fit the ground ViewSpec; ``aerial`` may have any size. A tuple of
                  pairs is several copies of one place: ``batch.more`` holds all but the first.

    A page may also offer ``check`` (table, config): InvalidValue where these pairs cannot serve.
    """

    Config: Callable[..., Any]
    views: Callable[[Any], Views]
    build: Callable[[Any], nn.Module]
    objective: Callable[[Any, Batch, Any], Mapping[str, Tensor]]
    batches: Callable[[PairTable, Any, torch.Generator, I64 | None], Iterator[list[int]]]
    augment: Callable[[PairPixels, Any, np.random.Generator], PairPixels | tuple[PairPixels, ...]]
