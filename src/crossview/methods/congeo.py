"""ConGeo: robust cross-view geo-localization across ground view variations (Mi et al., ECCV 2024).

arXiv 2403.13965. Written from the paper; the authors' code (eceo-epfl/ConGeo) has no licence and
was not used. Numbers are the settings of their CVUSA script; a ``--recipe`` also takes the
release's ``reading``. Deviations: those of SinGeo's page; similarity neighbours are searched with
queries cut as in training, where their script cuts them to the field of view that it tests with
(90 degrees unless told otherwise). All are listed in ``docs/methods/singeo.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from crossview.arrays import I64
from crossview.networks import checkpoints, contrastive
from crossview.networks.layout_masks import check_centred
from crossview.networks.looks import Looks, two_looks
from crossview.networks.losses import dual_info_nce
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.pairs.table import PairTable


@dataclass(frozen=True, kw_only=True)
class Config:
    """The authors' numbers; small settings (sizes, backbone) train on a CPU."""

    backbone: str = "convnext_base.fb_in22k_ft_in1k_384"
    weights: str = "hub"  # ImageNet; "none" or a file
    architecture: str = "pooled"  # "geodtr-plus": its masks on two trunks (fixed sizes)
    separate: bool = False  # an encoder for each view: vision transformers
    representation: str = "narrow"  # "padded" for networks of one width
    aerial_px: int = 384
    polar: bool = False  # ours: aerial pictures unrolled to the size of the panoramas
    ground_px: tuple[int, int] = (140, 768)  # height, width
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.8, 32.8)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    reading: str = "intent"  # ours; recipes take "release", the authors' code; see networks.looks
    mirror: float = 0.5
    turn: float = 0.75
    colour: float = 1.0
    course: str = "fixed"  # "uniform": the authors' random width, one of a batch
    sharpness: float = 5.0
    course_by: str = "epoch"
    theta_deg: tuple[float, float] = (360.0, 180.0)  # "fixed" is the second
    now_theta_deg: float = 180.0  # in the batch at hand
    cross: tuple[float, float, float] = (0.25, 0.0, 0.0)  # w3 of the paper: (q2, r1)
    alike: float = 0.5  # w1 and w2
    smoothing: float = 0.1
    batch: int = 16
    epochs: float = 60.0
    steps: int = 0
    lr: float = 1e-4
    weight_decay: float = 0.01
    decay_vectors: bool = True
    warmup_steps: int = 0
    warmup_epochs: float = 1.0
    schedule: str = "steps"  # ours; "loader": the authors', see training.contract
    clip_value: float = 100.0
    gps_sampling: bool = True
    neighbour_select: int = 64
    neighbour_range: int = 128
    refresh_epochs: int = 4
    mine_from: str = "pass"  # or "epoch": the epoch's own vectors
    chunk: int = 0  # pairs encoded at a time; 0: the whole batch
    accumulate: int = 1
    ema_decay: float = 0.0
    amp: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("ground_px", "elevation_deg", "theta_deg", "cross"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        contrastive.check_fields(self)


def views(config: Config) -> Views:
    """Panoramas and north-up windows, and sectors of the widths trained on."""
    fov_deg = (contrastive.thetas_shown(config)[0], 360.0)
    return contrastive.views_of(config, headings="unknown", fov_deg=fov_deg)


def build(config: Config) -> nn.Module:
    """The network of Sample4Geo."""
    return contrastive.network_of(config, contrastive.thetas_shown(config)[0])


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """One field of view for all sectors of a batch."""
    return contrastive.on_course(config, moment, rng, "theta_deg")


def encode(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of two looks at each view."""
    return contrastive.two_looks_encoded(model, batch)


def contrast(model: nn.Module, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The cross-view, two single-view and one mixed term, all symmetric InfoNCE."""
    scale, smoothing = model.get_parameter("logit_scale"), config.smoothing
    return dual_info_nce(
        vectors, scale, cross=config.cross, alike=config.alike, smoothing=smoothing
    )


def objective(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """GPS sampling, then similarity sampling, as Sample4Geo."""
    return contrastive.batches_of(table, config, generator, neighbours)


def augment(
    pair: PairPixels, config: Config, rng: np.random.Generator
) -> tuple[PairPixels, PairPixels]:
    """The pair, then a sector of its panorama and its picture from above in other colours."""
    looks = Looks(
        theta_deg=config.now_theta_deg,
        from_above="photometric",
        reading=config.reading,
        mirror=config.mirror,
        turn=config.turn,
        colour=config.colour,
    )
    return two_looks(pair, looks, views(config), rng)


check = check_centred
imported, shown, unseen = checkpoints.imported, checkpoints.shown, checkpoints.unseen
