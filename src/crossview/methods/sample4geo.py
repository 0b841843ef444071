"""Sample4Geo: hard negative sampling for contrastive learning (Deuser et al., ICCV 2023).

arXiv 2303.11851. Written from the paper; the authors' code (Skyy93/Sample4Geo) has no licence and
was not used. Numbers without a section are the settings of the authors' released CVUSA script.
Deviations: neighbours by metres on the sphere (theirs mixes degrees and radians); colour changes
are applied before the aerial picture is cut to the footprint, not after; rows and columns of the
ground view are equal angles, where theirs squash the whole file to 140 x 768.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import require
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.parts.backbones import backbone
from crossview.parts.losses.infonce import info_nce, learned_scale
from crossview.parts.samplers.neighbours import Neighbours, nearest_places, neighbour_batches
from crossview.parts.samplers.shuffled import shuffled
from crossview.views.paired import mirror_pair, turn_pair
from crossview.views.photometric import photometric
from crossview.views.spec import ViewSpec


@dataclass(frozen=True, kw_only=True)
class Config:
    """The paper's numbers; small settings (sizes, backbone) train on a CPU."""

    backbone: str = "convnext_base.fb_in22k_ft_in1k_384"  # section 4.2
    weights: str = "hub"  # ImageNet-22k then 1k, section 4.2; "none" or a file
    aerial_px: int = 384  # section 4.2
    ground_px: tuple[int, int] = (140, 768)  # height, width of CVUSA and CVACT
    elevation_deg: tuple[float, float] = (-32.8, 32.8)  # 140 rows of 360 / 768 degrees
    footprint_m: float = 70.0  # not in the paper, which takes the files as they come
    batch: int = 128  # section 4.2
    epochs: float = 40.0  # section 4.2
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-3  # section 4.2
    weight_decay: float = 0.01  # AdamW's default, on all parameters
    decay_vectors: bool = True
    warmup_epochs: float = 1.0  # section 4.2
    clip_value: float = 100.0
    smoothing: float = 0.1  # section 4.2
    mirror: float = 0.5  # probability, both views alike; section 3.1
    turn: float = 0.75  # probability of a quarter turn of both views
    colour: float = 1.0  # strength of the photometric changes
    gps_sampling: bool = True  # section 3.2; False: random batches until the first refresh
    neighbour_select: int = 64  # section 3.2
    neighbour_range: int = 128
    refresh_epochs: int = 4  # similarity sampling; section 3.2
    accumulate: int = 1
    ema_decay: float = 0.0
    amp: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        object.__setattr__(self, "ground_px", tuple(self.ground_px))
        object.__setattr__(self, "elevation_deg", tuple(self.elevation_deg))
        require(0 <= self.smoothing < 1, f"smoothing must lie in [0, 1), got {self.smoothing}.")
        for name in ("mirror", "turn"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is a probability, got {value}.")


class Network(nn.Module):
    """One encoder for both views and the learned scale of the loss."""

    shared = True

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.model = encoder
        self.logit_scale = learned_scale()

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D]."""
        return F.normalize(self.model(images), dim=-1)

    aerial = ground


def views(config: Config) -> Views:
    """Panoramas and north-up windows, both as they are; quarter turns keep them aligned."""
    height, width = config.ground_px
    return Views(
        ground=ViewSpec(
            side="ground", height_px=height, width_px=width, elevation_deg=config.elevation_deg
        ),
        aerial=ViewSpec(
            side="aerial",
            height_px=config.aerial_px,
            width_px=config.aerial_px,
            footprint_m=config.footprint_m,
        ),
        headings_seen="aligned",
    )


def build(config: Config) -> Network:
    """Section 3.1: one ConvNeXt, shared, its pooled features without a projection."""
    return Network(backbone(config.backbone, config.weights))


def objective(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Symmetric InfoNCE, equation 1 in both directions."""
    ground, aerial = model.ground(batch.ground), model.aerial(batch.aerial)
    return {"info_nce": info_nce(ground, aerial, model.logit_scale, config.smoothing)}


def batches(
    table: PairTable,
    config: Config,
    generator: torch.Generator,
    neighbours: Neighbours | None,
) -> Iterator[list[int]]:
    """Section 3.2: batches of near places; of similar ones once vectors have been compared."""
    if neighbours is None and not config.gps_sampling:
        return shuffled(table, config.batch, generator)
    near = nearest_places(table, config.neighbour_range) if neighbours is None else neighbours
    return neighbour_batches(table, near, config.batch, generator, config.neighbour_select)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Mirror and turn both views alike, then change the colours of each on its own."""
    ground, aerial, heading = pair.ground, pair.aerial, pair.heading_deg
    if rng.random() < config.mirror:
        ground, aerial = mirror_pair(ground, aerial)
        heading = -heading
    if rng.random() < config.turn and pair.fov_deg >= 360.0:
        ground, aerial = turn_pair(ground, aerial, int(rng.integers(1, 4)))
    return replace(
        pair,
        ground=photometric(ground, rng, config.colour),
        aerial=photometric(aerial, rng, config.colour),
        heading_deg=heading,
    )
