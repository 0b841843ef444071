"""Sample4Geo: hard negative sampling for contrastive learning (Deuser et al., ICCV 2023).

arXiv 2303.11851. Written from the paper; the authors' code (Skyy93/Sample4Geo) has no licence and
was not used. Numbers without a section are the settings of the authors' released CVUSA script; a
``--recipe`` adds what the scripts do besides (files squashed whole, their course of the rate).
Deviations that no setting takes back are those of SinGeo's page, and are listed, with what a
training without a recipe does differently, in ``docs/methods/singeo.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from crossview.arrays import I64
from crossview.methods import _contrastive
from crossview.networks.losses import info_nce
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable


@dataclass(frozen=True, kw_only=True)
class Config:
    """The paper's numbers; small settings (sizes, backbone) train on a CPU."""

    backbone: str = "convnext_base.fb_in22k_ft_in1k_384"  # section 4.2
    weights: str = "hub"  # ImageNet-22k then 1k, section 4.2; "none" or a file
    aerial_px: int = 384  # section 4.2
    ground_px: tuple[int, int] = (140, 768)  # height, width of CVUSA and CVACT
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.8, 32.8)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    batch: int = 128  # section 4.2
    epochs: float = 40.0  # section 4.2
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-3  # section 4.2
    weight_decay: float = 0.01  # AdamW's default, on all parameters
    decay_vectors: bool = True
    warmup_steps: int = 0
    warmup_epochs: float = 1.0  # section 4.2
    schedule: str = "steps"  # ours; "loader": the authors', see training.contract.TrainingRecipe
    clip_value: float = 100.0
    smoothing: float = 0.1  # section 4.2
    mirror: float = 0.5  # probability, both views alike; section 3.1
    turn: float = 0.75  # probability of a quarter turn of both views
    colour: float = 1.0  # strength of the photometric changes
    turn_aerial: bool = False  # University-1652: the aerial picture alone by random quarters
    gps_sampling: bool = True  # section 3.2; False: random batches until the first refresh
    neighbour_select: int = 64  # section 3.2
    neighbour_range: int = 128
    refresh_epochs: int = 4  # similarity sampling; section 3.2
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    accumulate: int = 1
    ema_decay: float = 0.0
    amp: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("ground_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _contrastive.check_fields(self)


def views(config: Config) -> Views:
    """Panoramas and north-up windows, aligned unless the latter are turned alone."""
    headings = "unknown" if config.turn_aerial else "aligned"
    return _contrastive.build_views(config, headings=headings, fov_deg=(360.0, 360.0))


def build(config: Config) -> nn.Module:
    """Section 3.1: one ConvNeXt, shared, its pooled features without a projection."""
    return _contrastive.build_network(config, least_fov_deg=360.0)


def encode(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views."""
    return _contrastive.encode_pairs(model, batch)


def contrast(model: nn.Module, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Symmetric InfoNCE, equation 1 in both directions."""
    scale = model.get_parameter("logit_scale")
    return {"info_nce": info_nce(vectors["ground"], vectors["aerial"], scale, config.smoothing)}


def objective(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """Section 3.2: batches of near places; of similar ones once vectors have been compared."""
    return _contrastive.sample_batches(table, config, generator, neighbours)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Mirror and turn both views alike, then change the colours of each on its own.

    Photos are not turned with their picture from above; ``turn_aerial`` turns that one alone.
    """
    pair = _contrastive.mirror_or_turn(pair, config, rng)
    pair = _contrastive.recolour(pair, config.colour, rng)
    if config.turn_aerial:
        quarters = int(rng.integers(4))
        turned = np.ascontiguousarray(np.rot90(pair.aerial, quarters))
        pair = replace(pair, aerial=turned, heading_deg=pair.heading_deg - 90.0 * quarters)
    return pair


imported = _contrastive.import_tensors
shown, unseen = _contrastive.read_settings, _contrastive.unseen_settings


RECIPES = {
    "cvusa": {"whole": True, "schedule": "loader"},
    "cvusa-shifted": {
        "whole": True,
        "schedule": "loader",
        "shifted": True,
        "course": "fixed",
        "theta_deg": (360.0, 360.0),
    },
    "cvusa-shifted-cropped": {
        "whole": True,
        "schedule": "loader",
        "shifted": True,
        "course": "uniform",
        "theta_deg": (360.0, 70.0),
    },
    "cvusa-360": {
        "whole": True,
        "schedule": "loader",
        "shifted": True,
        "course": "fixed",
        "theta_deg": (360.0, 360.0),
    },
    "cvusa-180": {
        "whole": True,
        "schedule": "loader",
        "shifted": True,
        "course": "fixed",
        "theta_deg": (180.0, 180.0),
    },
    "cvusa-90": {
        "whole": True,
        "schedule": "loader",
        "shifted": True,
        "course": "fixed",
        "theta_deg": (90.0, 90.0),
    },
    "cvusa-70": {
        "whole": True,
        "schedule": "loader",
        "shifted": True,
        "course": "fixed",
        "theta_deg": (70.0, 70.0),
    },
    "cvact": {"whole": True, "seed": 1, "schedule": "loader"},
    "cvact-random": {
        "whole": True,
        "seed": 1,
        "schedule": "loader",
        "gps_sampling": False,
        "refresh_epochs": 0,
    },
    "cvact-90": {
        "whole": True,
        "seed": 1,
        "schedule": "loader",
        "shifted": True,
        "course": "fixed",
        "theta_deg": (90.0, 90.0),
    },
    "cvact-70": {
        "whole": True,
        "seed": 1,
        "schedule": "loader",
        "shifted": True,
        "course": "fixed",
        "theta_deg": (70.0, 70.0),
    },
    "vigor": {"whole": True, "ground_px": (384, 768), "seed": 1, "schedule": "loader"},
    "university": {
        "whole": True,
        "ground_px": (384, 384),
        "epochs": 1.0,
        "warmup_epochs": 0.1,
        "gps_sampling": False,
        "refresh_epochs": 0,
        "seed": 1,
        "schedule": "loader",
        "turn_aerial": True,
    },
}
REPRODUCES = {
    "cvusa": ("Sample4Geo", "Sample4Geo: trained north-aligned"),
    "cvusa-shifted": ("Sample4Geo: shifted in training",),
    "cvusa-shifted-cropped": ("Sample4Geo: shifted and cropped in training",),
    "cvusa-360": ("Sample4Geo @360",),
    "cvusa-180": ("Sample4Geo @180",),
    "cvusa-90": ("Sample4Geo @90",),
    "cvusa-70": ("Sample4Geo @70",),
    "cvact": ("Sample4Geo",),
    "cvact-random": ("Sample4Geo: random batches",),
    "cvact-90": ("Sample4Geo @90",),
    "cvact-70": ("Sample4Geo @70",),
    "vigor": ("Sample4Geo",),
    "university": ("Sample4Geo",),
}
TENSORS = _contrastive.TENSORS
CHECKPOINT = {
    "address": "a Google Drive folder, linked in its README",
    "format": "pth, a pickle",
    "trained_on": "CVUSA, CVACT or VIGOR, which are for research only; panoramas",
    "code_licence": "",
    "weights_licence": "",
    "trained_on_name": "cvusa, cvact, vigor-same or vigor-cross",
    "notes": "Download it yourself; the file is read without running code.",
}
