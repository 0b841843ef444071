"""A method of one's own, complete: two small convolutional encoders and InfoNCE.

Train it with: crossview train --method ./mine.py --data pairs:pairs.csv --out run
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossview.methods.api import (
    Batch,
    PairPixels,
    PairTable,
    Views,
    ViewSpec,
    augment_photometric,
    draw_batches,
    info_nce,
    learned_scale,
    turn_pair,
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every number of the method; the loop reads batch, steps, lr and weight_decay by name."""

    width: int = 32
    ground_px: tuple[int, int] = (64, 256)
    aerial_px: int = 128
    footprint_m: float = 60.0
    batch: int = 32
    steps: int = 2000
    lr: float = 1e-3
    weight_decay: float = 0.01
    ema_decay: float = 0.99  # averaged weights are validated and exported
    seed: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "ground_px", tuple(self.ground_px))  # JSON has lists only


class Encoder(nn.Module):
    """[B, 3, h, w] -> unit [B, 4 * width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=4),
            nn.GELU(),
            nn.Conv2d(width, 4 * width, 3, stride=2, padding=1),
            nn.GELU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.layers(images).mean(dim=(2, 3)), dim=1)


class Network(nn.Module):
    """Two branches that can be called alone, and the learned scale of the loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ground, self.aerial = Encoder(width), Encoder(width)
        self.scale = learned_scale()


def views(config: Config) -> Views:
    """What each branch sees."""
    height, width = config.ground_px
    side = config.aerial_px
    return Views(
        ground=ViewSpec(side="ground", height_px=height, width_px=width),
        aerial=ViewSpec(
            side="aerial", height_px=side, width_px=side, footprint_m=config.footprint_m
        ),
    )


def build(config: Config) -> Network:
    """The network, not yet trained."""
    return Network(config.width)


def objective(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Named losses; the loop minimises their sum."""
    return {
        "info_nce": info_nce(model.ground(batch.ground), model.aerial(batch.aerial), model.scale)
    }


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Who shares a batch: here anyone."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Turn both views alike, change the colours of each on its own."""
    ground, aerial = turn_pair(pair.ground, pair.aerial, int(rng.integers(4)))
    return replace(
        pair,
        ground=augment_photometric(ground, rng, 1.0),
        aerial=augment_photometric(aerial, rng, 1.0),
    )
