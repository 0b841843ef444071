"""SinGeo: one model for every field of view and heading (Chen et al., CVPR 2026).

arXiv 2603.09377. Written from what is known of the paper and from facts about the authors' released
code (MIT; none of it is here). Numbers are the settings of their CVUSA script. A ``--recipe`` is
their training: the release's ``reading``, in which a pair's quarter turn tears its positive
("intent", ours without a recipe, turns first: ``_contrastive.Positives``), and their course of the
rate.

Deviations that no setting takes back: neighbours by metres on the sphere (theirs mixes degrees and
radians); JPEG artefacts come after the picture is resized, theirs before; the four changes of
colour in a fixed order, theirs in a random one; VIGOR's semi-positives are kept out of each other's
batches; bfloat16 or float32, theirs float16; the last step's weights, theirs are also kept where
the test split did best. ``docs/methods/singeo.md`` says what each is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from crossview.arrays import I64, U8
from crossview.errors import require
from crossview.methods import _contrastive
from crossview.networks.losses import dual_info_nce
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.pairs.table import PairTable
from crossview.views.crops import choose_quarter_turns, turn_quarters
from crossview.views.spec import Representation


@dataclass(frozen=True, kw_only=True)
class Config:
    """The authors' numbers; small settings (sizes, backbone) train on a CPU."""

    backbone: str = "convnext_base.fb_in22k_ft_in1k_384"
    weights: str = "hub"  # ImageNet; "none" or a file
    separate: bool = False  # an encoder for each view: vision transformers
    representation: Representation = "narrow"  # "padded" for networks of one width
    aerial_px: int = 384
    ground_px: tuple[int, int] = (140, 768)  # height, width
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.8, 32.8)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    reading: str = "intent"  # ours; recipes take "release": see _contrastive.Positives
    companions: bool = False  # University-1652: g* of a photo is another photo of the place
    mirror: float = 0.5
    turn: float = 0.75
    colour: float = 1.0
    theta_deg: tuple[float, float] = (360.0, 70.0)  # of g*; (361, 361): each picture draws its own
    keep: tuple[float, float] = (1.0, 0.25)  # probability that T_s3 does not turn s*
    cross: tuple[float, float, float] = (0.25, 0.25, 0.25)  # w1, w2, w3
    alike: float = 0.5  # gamma
    smoothing: float = 0.1
    batch: int = 16
    epochs: float = 80.0
    steps: int = 0
    lr: float = 1e-4
    weight_decay: float = 0.01
    decay_vectors: bool = True
    warmup_steps: int = 0
    warmup_epochs: float = 1.0
    schedule: str = "steps"  # ours; "loader": the authors', see training.contract.TrainingRecipe
    clip_value: float = 100.0
    gps_sampling: bool = True  # until vectors have been compared
    neighbour_select: int = 64
    neighbour_range: int = 128
    refresh_epochs: int = 4  # similarity sampling; 0: never
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    accumulate: int = 1
    ema_decay: float = 0.0
    amp: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("ground_px", "elevation_deg", "theta_deg", "keep", "cross"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _contrastive.check_fields(self)
        _contrastive.check_theta(self.theta_deg, self.representation)
        for keep in self.keep:
            require(0 <= keep <= 1, f"keep is a probability, got {keep}.")


def views(config: Config) -> Views:
    """Panoramas and north-up windows, and sectors of every width that the curriculum passes."""
    fov_deg = (_contrastive.find_theta_range(config.theta_deg)[0], 360.0)
    return _contrastive.build_views(
        config, headings="unknown", fov_deg=fov_deg, representation=config.representation
    )


def build(config: Config) -> nn.Module:
    """One encoder for both views, its pooled features without a projection; two for a ViT."""
    return _contrastive.build_network(
        config,
        _contrastive.find_theta_range(config.theta_deg)[0],
        separate=config.separate,
        representation=config.representation,
    )


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """The curriculum: theta and keep of an epoch, f1(t / n) of the way from first to last.

    Both ends of the Config that is returned are where the curriculum is.
    """
    theta, keep = (progress(ends, moment.by_epoch) for ends in (config.theta_deg, config.keep))
    return replace(config, theta_deg=(theta, theta), keep=(keep, keep))


def progress(ends: tuple[float, float], share: float) -> float:
    """f1 of the paper: eta(t) = first + (last - first) t / n."""
    first, last = ends
    return last if first == last else first + (last - first) * share


def encode(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of the pictures and their positives."""
    return _contrastive.encode_with_positives(model, batch)


def contrast(model: nn.Module, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """L = L_cross + gamma L_disc: six symmetric InfoNCE terms with one learned scale."""
    scale, smooth = model.get_parameter("logit_scale"), config.smoothing
    return dual_info_nce(vectors, scale, cross=config.cross, alike=config.alike, smoothing=smooth)


def objective(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The loop may also call the two halves apart: gradient caching, mining by the epoch."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """GPS sampling, then dynamic similarity sampling with queries cut to theta(t)."""
    return _contrastive.sample_batches(table, config, generator, neighbours)


def query_fov_deg(config: Config) -> float:
    """Queries are as hard as the curriculum is while similar places are sought."""
    return config.theta_deg[1]


def augment(
    pair: PairPixels, config: Config, rng: np.random.Generator
) -> tuple[PairPixels, PairPixels]:
    """The pair, then its positives: T_g of the panorama, T_s3 of the picture from above."""

    def turn_aerial(aerial: U8, side_px: float, rng: np.random.Generator) -> U8:
        return turn_quarters(aerial, choose_quarter_turns(config.keep[1], float(rng.random())))

    positives = _contrastive.Positives(
        theta_deg=config.theta_deg[1], change_aerial=turn_aerial, reading=config.reading
    )
    return _contrastive.make_positives(pair, positives, config, views(config), rng)


imported = _contrastive.import_tensors
shown, unseen = _contrastive.read_settings, _contrastive.unseen_settings


RECIPES = {
    "cvusa": {"whole": True, "reading": "release", "schedule": "loader"},
    "cvact": {"whole": True, "seed": 1, "reading": "release", "schedule": "loader"},
    "vigor": {
        "whole": True,
        "ground_px": (384, 768),
        "seed": 1,
        "reading": "release",
        "schedule": "loader",
    },
    "university": {
        "whole": True,
        "ground_px": (384, 384),
        "companions": True,
        "theta_deg": (360.0, 360.0),
        "keep": (1.0, 0.3),
        "cross": (0.5, 0.5, 1.0),
        "batch": 32,
        "warmup_epochs": 0.1,
        "gps_sampling": False,
        "refresh_epochs": 0,
        "seed": 1,
        "reading": "release",
        "schedule": "loader",
    },
    "cvusa-vit": {
        "backbone": "vit_base_patch16_224.orig_in21k",
        "separate": True,
        "whole": True,
        "representation": "padded",
        "ground_px": (384, 768),
        "cross": (0.25, 0.25, 1.0),
        "reading": "release",
        "schedule": "loader",
    },
}
REPRODUCES = {
    "cvusa": ("SinGeo", "SinGeo: released code, run by others"),
    "cvact": ("SinGeo",),
    "vigor": ("SinGeo",),
}
TENSORS = _contrastive.TENSORS
