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

from crossview.arrays import I64, U8
from crossview.methods import _contrastive
from crossview.networks.losses import dual_info_nce
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable


@dataclass(frozen=True, kw_only=True)
class Config:
    """The authors' numbers; small settings (sizes, backbone) train on a CPU."""

    backbone: str = "convnext_base.fb_in22k_ft_in1k_384"
    weights: str = "hub"  # ImageNet; "none" or a file
    aerial_px: int = 384
    ground_px: tuple[int, int] = (140, 768)  # height, width
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.8, 32.8)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    reading: str = "intent"  # ours; recipes take "release": see _contrastive.Positives
    theta_deg: float = 180.0  # field of view of the second ground picture
    mirror: float = 0.5
    turn: float = 0.75
    colour: float = 1.0
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
    schedule: str = "steps"  # ours; "loader": the authors', see training.contract.TrainingRecipe
    clip_value: float = 100.0
    gps_sampling: bool = True
    neighbour_select: int = 64
    neighbour_range: int = 128
    refresh_epochs: int = 4
    chunk: int = 0  # pairs encoded at a time; 0: the whole batch
    accumulate: int = 1
    ema_decay: float = 0.0
    amp: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("ground_px", "elevation_deg", "cross"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _contrastive.check_fields(self)
        self.check_theta()

    def check_theta(self) -> None:
        """Refuse a field of view that no training can use."""
        _contrastive.check_theta((self.theta_deg,), "narrow")


def views(config: Config) -> Views:
    """Panoramas and north-up windows, and sectors of the width trained on."""
    fov_deg = (config.theta_deg, 360.0)
    return _contrastive.build_views(config, headings="unknown", fov_deg=fov_deg)


def build(config: Config) -> nn.Module:
    """The network of Sample4Geo."""
    return _contrastive.build_network(config, config.theta_deg)


def encode(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of the pictures and their positives."""
    return _contrastive.encode_with_positives(model, batch)


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
    return _contrastive.sample_batches(table, config, generator, neighbours)


def query_fov_deg(config: Config) -> float:
    """Queries are cut as in training while similar places are sought."""
    return config.theta_deg


def augment(
    pair: PairPixels, config: Config, rng: np.random.Generator
) -> tuple[PairPixels, PairPixels]:
    """The pair, then a sector of its panorama and its picture from above in other colours."""
    positives = _contrastive.Positives(
        theta_deg=config.theta_deg, change_aerial=keep_aerial, reading=config.reading
    )
    return _contrastive.make_positives(pair, positives, config, views(config), rng)


def keep_aerial(aerial: U8, side_px: float, rng: np.random.Generator) -> U8:
    """The second picture from above differs in its colours only."""
    return aerial


imported = _contrastive.import_tensors
shown, unseen = _contrastive.read_settings, _contrastive.unseen_settings


RECIPES = {
    "cvusa": {"whole": True, "reading": "release", "schedule": "loader"},
    "cvusa-360": {
        "whole": True,
        "reading": "release",
        "schedule": "loader",
        "course": "fixed",
        "theta_deg": (360.0, 360.0),
    },
    "cvusa-90": {
        "whole": True,
        "reading": "release",
        "schedule": "loader",
        "course": "fixed",
        "theta_deg": (90.0, 90.0),
    },
    "cvusa-70": {
        "whole": True,
        "reading": "release",
        "schedule": "loader",
        "course": "fixed",
        "theta_deg": (70.0, 70.0),
    },
    "cvact": {"whole": True, "seed": 1, "reading": "release", "schedule": "loader"},
    "cvact-360": {
        "whole": True,
        "seed": 1,
        "reading": "release",
        "schedule": "loader",
        "course": "fixed",
        "theta_deg": (360.0, 360.0),
    },
    "cvact-90": {
        "whole": True,
        "seed": 1,
        "reading": "release",
        "schedule": "loader",
        "course": "fixed",
        "theta_deg": (90.0, 90.0),
    },
    "cvact-70": {
        "whole": True,
        "seed": 1,
        "reading": "release",
        "schedule": "loader",
        "course": "fixed",
        "theta_deg": (70.0, 70.0),
    },
    "vigor": {
        "whole": True,
        "ground_px": (384, 768),
        "seed": 1,
        "reading": "release",
        "schedule": "loader",
    },
}
REPRODUCES = {
    "cvusa": ("ConGeo", "ConGeo @180"),
    "cvusa-360": ("ConGeo @360",),
    "cvusa-90": ("ConGeo @90",),
    "cvusa-70": ("ConGeo @70",),
    "cvact": ("ConGeo",),
    "cvact-360": ("ConGeo @360",),
    "cvact-90": ("ConGeo @90",),
    "cvact-70": ("ConGeo @70",),
    "vigor": ("ConGeo",),
}
TENSORS = _contrastive.TENSORS
