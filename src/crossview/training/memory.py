"""The vectors that training itself computes, kept until neighbours are searched among them.

With it, similarity sampling needs no second pass over the data. The vectors are as old as the
step that made them, and of augmented pictures; what that costs is in ``docs/methods/singeo.md``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from crossview.errors import BadModel


class Memory:
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
