"""When in a training a batch is made: what a curriculum may depend on."""

from __future__ import annotations

from dataclasses import dataclass

from crossview.errors import InvalidValue


@dataclass(frozen=True, kw_only=True)
class Span:
    """How long a training is."""

    epochs: float  # may be a fraction
    batches: int  # of one epoch

    def __post_init__(self) -> None:
        if not (self.epochs > 0 and self.batches > 0):
            raise InvalidValue(
                f"a training of {self.epochs:g} epochs of {self.batches} batches has no course "
                "that a curriculum could follow.\nGive more --epochs or --steps, or more pairs."
            )


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Batch number ``batch`` of epoch number ``epoch``, both counted from 0."""

    span: Span
    epoch: int
    batch: int = 0

    @property
    def by_epoch(self) -> float:
        """Share of the epochs that are done when this one is: (epoch + 1) / epochs, at most 1."""
        return min(1.0, (self.epoch + 1) / self.span.epochs)

    @property
    def by_batch(self) -> float:
        """Share of the batches that are done when this one is, at most 1."""
        done = self.epoch * self.span.batches + self.batch + 1
        return min(1.0, done / (self.span.epochs * self.span.batches))
