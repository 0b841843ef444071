"""A method page for comparison: the plain network that everyone would write first.

A 1.4 M-parameter convolutional network shared by both views, generalised-mean pooling, InfoNCE:
no unrolling, no azimuth bins. :mod:`benchmarks.world` trains it on one style of the embedded world
to see how hard a version of the town is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from crossview.networks.losses import info_nce, learned_scale
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.colour import augment_photometric
from crossview.views.crops import crop_view
from crossview.views.spec import ViewSpec


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of a first attempt."""

    widths: tuple[int, ...] = (32, 64, 128, 192, 256)
    panoramas: float = 0.5  # the others are photos of 90 degrees
    batch: int = 64
    steps: int = 3000
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    clip_norm: float = 5.0
    ema_decay: float = 0.0
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))


class Network(nn.Module):
    """Strided 3 x 3 convolutions, batch norm, generalised-mean pooling with a learned exponent."""

    shared = True

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU()]
        layers += [nn.Conv2d(widths[-1], widths[-1], 3, 1, 1), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.power = nn.Parameter(torch.tensor(3.0))
        self.head = nn.Linear(widths[-1], 256)
        self.logit_scale = learned_scale()

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, 256]."""
        maps = self.trunk(images).float().clamp_min(1e-4)
        pooled = maps.pow(self.power).mean(dim=(2, 3)).pow(1.0 / self.power)
        return F.normalize(self.head(pooled).float(), dim=1)

    aerial = ground


def views(config: Config) -> Views:
    """A padded strip, and the window from above as it is."""
    return Views(
        ground=ViewSpec(side="ground", height_px=64, width_px=256, representation="padded"),
        aerial=ViewSpec(side="aerial", height_px=128, width_px=128, footprint_m=80.0),
        fov_seen_deg=(90.0, 360.0),
    )


def build(config: Config) -> Network:
    """From scratch."""
    return Network(config.widths)


def objective(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Symmetric InfoNCE."""
    ground, aerial = model.ground(batch.ground), model.aerial(batch.aerial)
    return {"info_nce": info_nce(ground, aerial, model.logit_scale)}


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random batches."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """A random heading on each side, half of the panoramas cut down to photos, other colours."""
    ground = np.roll(pair.ground, int(rng.integers(pair.ground.shape[1])), axis=1)
    fov = 360.0
    if rng.random() >= config.panoramas:
        fov, spec = 90.0, views(config).ground
        ground = crop_view(ground, spec, fov, kind="perspective", aspect=4 / 3).pixels
    turned = np.ascontiguousarray(np.rot90(pair.aerial, int(rng.integers(4))))
    return replace(
        pair,
        ground=augment_photometric(ground, rng),
        aerial=augment_photometric(turned, rng),
        fov_deg=fov,
    )
