"""A page of two halves in float64, with every setting that a training on ranks may meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from crossview.methods.api import (
    Batch,
    PairPixels,
    PairTable,
    Views,
    ViewSpec,
    augment_photometric,
    draw_batches,
    draw_neighbour_batches,
    info_nce,
    learned_scale,
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Fields of the loop, and what the network is made of."""

    batch: int = 4
    steps: int = 5
    lr: float = 1e-2
    seed: int = 1
    amp: bool = False
    chunk: int = 0
    accumulate: int = 1
    rho: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    refresh_epochs: int = 0
    mine_from: str = "pass"
    neighbour_range: int = 8
    dropout: float = 0.0
    norm: bool = False  # batch norm
    double: bool = True  # every number in float64


class Encoder(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(4) if config.norm else nn.Identity()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 4, stride=4), norm, nn.GELU(), nn.Dropout(config.dropout)
        )
        self.mix = nn.Linear(4, 6)

    def forward(self, images: Tensor) -> Tensor:
        images = images.to(self.mix.weight.dtype)
        return nn.functional.normalize(self.mix(self.layers(images).mean(dim=(2, 3))), dim=1)


class Network(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ground, self.aerial = Encoder(config), Encoder(config)
        self.scale = learned_scale()
        self.idle = nn.Parameter(torch.ones(3))  # which no loss reaches
        self.to(torch.float64 if config.double else torch.float32)


def views(config: Config) -> Views:
    return Views(
        ground=ViewSpec(side="ground", height_px=8, width_px=32),
        aerial=ViewSpec(side="aerial", height_px=16, width_px=16, footprint_m=60.0),
    )


def build(config: Config) -> Network:
    return Network(config)


def encode(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    return {
        "ground": model.ground(batch.ground),
        "aerial": model.aerial(batch.aerial),
        "heading_deg": batch.heading_deg,  # data that losses may want: nothing to differentiate
    }


def contrast(model: Network, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    alike = (vectors["ground"] - vectors["aerial"]).square().sum(dim=1).mean()
    return {
        "info_nce": info_nce(vectors["ground"], vectors["aerial"], model.scale),
        "alike": 0.1 * alike,
    }


def objective(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: np.ndarray | None
) -> Iterator[list[int]]:
    if neighbours is None:
        return draw_batches(table, config.batch, generator)
    return draw_neighbour_batches(table, neighbours, config.batch, generator, 2)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    return replace(pair, ground=augment_photometric(pair.ground, rng, 1.0))
