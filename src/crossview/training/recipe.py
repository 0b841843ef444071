"""Recipe: the numbers that the loop itself needs, taken from a method's Config by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from crossview.errors import require
from crossview.pairs.moment import Span


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a method is trained. A Config that has a field of the same name decides it.

    An epoch is ``rows // batch`` batches. With ``steps`` = 0 the number of optimiser steps is
    ``epochs`` epochs; warm-up is linear from 0, then half a cosine down to 0.

    ``schedule`` "epochs" changes the rate between epochs only, as GeoDTR's authors do: epoch e
    trains at e / warmup_epochs of ``lr``, the first therefore at 0. "loader" is that of the authors
    of Sample4Geo, ConGeo and SinGeo: the rate moves with every step, its course is counted in
    batches of an epoch rounded up, which is more than the full ones that are trained, and its first
    step is at 0, so the last one ends a little above 0. A training of so many ``steps`` is always
    scheduled by steps.
    """

    steps: int = 0  # optimiser steps; 0: epochs decide
    epochs: float = 1.0
    batch: int = 32  # pairs that one call of the objective contrasts
    accumulate: int = 1  # batches per optimiser step
    lr: float = 1e-4
    weight_decay: float = 0.01
    eps: float = 1e-8  # of AdamW
    decay_vectors: bool = False  # also decay parameters of one axis or none (biases, norms, scale)
    warmup_steps: int = 0
    warmup_epochs: float = 0.0  # added to warmup_steps
    schedule: Literal["steps", "epochs", "loader"] = "steps"
    clip_norm: float = 0.0  # of all gradients; 0: off
    clip_value: float = 0.0  # element by element; 0: off
    ema_decay: float = 0.0  # averaged weights for validation and export; 0: off
    amp: bool = True  # bfloat16 where the device is fast at it
    chunk: int = 0  # pairs encoded at a time (training.gradients); 0: the whole batch
    refresh_epochs: int = 0  # neighbours by similarity every so many epochs; 0: never
    mine_from: Literal["pass", "epoch"] = "pass"  # a pass of its own, or the epoch's own vectors
    seed: int = 1

    def __post_init__(self) -> None:
        require(self.batch >= 2, f"batch must be at least 2, got {self.batch}.")
        require(self.accumulate >= 1, f"accumulate must be at least 1, got {self.accumulate}.")
        require(
            math.isfinite(self.lr) and self.lr > 0, f"lr must be a number above 0, got {self.lr}."
        )
        require(0 <= self.ema_decay < 1, f"ema_decay must lie in [0, 1), got {self.ema_decay}.")
        require(
            self.steps > 0 or self.epochs > 0,
            f"steps or epochs must be above 0, got steps {self.steps}, epochs {self.epochs}.",
        )
        require(self.seed >= 0, f"seed must be at least 0, got {self.seed}.")
        require(self.chunk >= 0, f"chunk must be at least 0, got {self.chunk}.")
        require(
            self.mine_from in ("pass", "epoch"),
            f"mine_from must be pass or epoch, got {self.mine_from!r}.",
        )
        require(
            self.schedule in ("steps", "epochs", "loader"),
            f"schedule must be steps, epochs or loader, got {self.schedule!r}.",
        )
        require(
            self.schedule != "epochs" or self.steps > 0 or self.epochs > 1,
            f"schedule epochs trains the first epoch at rate 0, so epochs must be more than 1, "
            f"got {self.epochs}.\nUse more epochs, or schedule=steps.",
        )

    @staticmethod
    def of(config: Any) -> Recipe:
        """The fields that ``config`` has, defaults for the others."""
        names = [f.name for f in fields(Recipe) if hasattr(config, f.name)]
        return Recipe(**{name: getattr(config, name) for name in names})

    def total_steps(self, rows: int) -> int:
        """Optimiser steps of a whole training on ``rows`` pairs; at least 1."""
        return self.steps or max(1, round(self.epochs * self._steps_per_epoch(rows)))

    def lr_at(self, step: int, rows: int) -> float:
        """Learning rate of the optimiser step number ``step``, counted from 0.

        Warm-up by "steps" never starts at exactly 0 (step 0 would be wasted): it uses
        (step + 1) / warm. That of "loader" does: step / warm.
        """
        if self.schedule == "epochs" and not self.steps:
            return self.lr * self.epoch_factor(int(step / self._steps_per_epoch(rows)))
        if self.schedule == "loader" and not self.steps:
            return self.lr * self._loader_factor(step, rows)
        total = self.total_steps(rows)
        warm = self.warmup_steps + round(self.warmup_epochs * self._steps_per_epoch(rows))
        warm = min(warm, total)
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    def span(self, rows: int) -> Span:
        """How long a whole training on ``rows`` pairs is, in epochs."""
        epochs = self.total_steps(rows) / self._steps_per_epoch(rows)
        return Span(epochs=epochs, batches=max(1, rows // self.batch))

    def epoch_factor(self, epoch: int) -> float:
        """Share of ``lr`` in ``epoch`` (from 0): linear warm-up from 0, then half a cosine."""
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        done = (epoch - self.warmup_epochs) / max(1.0, self.epochs - self.warmup_epochs)
        return 0.5 * (1.0 + math.cos(math.pi * done))

    def _loader_factor(self, step: int, rows: int) -> float:
        """Share of ``lr`` at ``step``, where the incomplete last batch of an epoch counts."""
        counted = math.ceil(rows / self.batch) / self.accumulate
        total = self.epochs * counted
        warm = self.warmup_steps + self.warmup_epochs * counted
        if step < warm:
            return step / max(1.0, warm)
        done = (step - warm) / max(1.0, total - warm)
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))

    def _steps_per_epoch(self, rows: int) -> float:
        return max(1, rows // self.batch) / self.accumulate
