"""SinGeo: one model for every field of view and heading (Chen et al., CVPR 2026).

arXiv 2603.09377. Written from what is known of the paper and from facts about the authors' released
code (MIT; none of it is here). Numbers are the settings of their CVUSA script. A ``--recipe`` is
their training: the release's ``reading``, in which a pair's quarter turn tears its second look
("intent", ours without a recipe, turns first: ``networks.looks``), and their course of the rate.

Deviations that no setting takes back: neighbours by metres on the sphere (theirs mixes degrees and
radians); JPEG artefacts come after the picture is resized, theirs before; the four changes of
colour in a fixed order, theirs in a random one; VIGOR's semi-positives are kept out of each other's
batches; bfloat16 or float32, theirs float16; the last step's weights, theirs are also kept where
the test split did best. ``docs/methods/singeo.md`` says what each is about.
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
    ground_positive: bool = True  # g*
    aerial_positive: bool = True  # s*
    from_above: str = "quarters"  # T_s3; "circle" T_s1, "turned" T_s2
    half_turns: bool = False  # T_s3 of the paper, with keep (0.75, 0); the code: 90 degrees only
    companions: bool = False  # University-1652: a photo's second look is another one of the place
    mirror: float = 0.5
    turn: float = 0.75
    colour: float = 1.0
    course: str = "linear"  # f1; see networks.curriculum
    sharpness: float = 5.0
    course_by: str = "epoch"  # or "batch"
    theta_deg: tuple[float, float] = (360.0, 70.0)  # (361, 361): every picture draws its own
    keep: tuple[float, float] = (1.0, 0.25)
    phi_deg: tuple[float, float] = (0.0, 270.0)  # of T_s1 and T_s2
    now_theta_deg: float = 70.0  # now_*: their values in the batch at hand, see staged
    now_keep: float = 0.25
    now_phi_deg: float = 270.0
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
    schedule: str = "steps"  # ours; "loader": the authors', see training.contract
    clip_value: float = 100.0
    gps_sampling: bool = True  # until vectors have been compared
    neighbour_select: int = 64
    neighbour_range: int = 128
    refresh_epochs: int = 4  # similarity sampling; 0: never
    mine_from: str = "pass"  # or "epoch": the epoch's own vectors, no second pass
    chunk: int = 0  # pairs encoded at a time (gradient caching); 0: the whole batch
    accumulate: int = 1
    ema_decay: float = 0.0
    amp: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("ground_px", "elevation_deg", "theta_deg", "keep", "phi_deg", "cross"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        contrastive.check_fields(self)


def views(config: Config) -> Views:
    """Panoramas and north-up windows, and sectors of every width that the course passes."""
    fov_deg = (contrastive.thetas_shown(config)[0], 360.0)
    return contrastive.views_of(config, headings="unknown", fov_deg=fov_deg)


def build(config: Config) -> nn.Module:
    """One encoder for both views, its pooled features without a projection; two for a ViT."""
    return contrastive.network_of(config, contrastive.thetas_shown(config)[0])


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """The curriculum: eta(t) = first + (last - first) f(t / n) for theta, keep and phi."""
    return contrastive.on_course(config, moment, rng, "theta_deg", "keep", "phi_deg")


def encode(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of the pictures and their positives."""
    return contrastive.two_looks_encoded(
        model, batch, ground=config.ground_positive, aerial=config.aerial_positive
    )


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
    return contrastive.batches_of(table, config, generator, neighbours)


def augment(
    pair: PairPixels, config: Config, rng: np.random.Generator
) -> tuple[PairPixels, PairPixels]:
    """The pair, then its positives: T_g of the panorama, T_s of the picture from above."""
    looks = Looks(
        theta_deg=config.now_theta_deg,
        from_above=config.from_above,
        keep=config.now_keep,
        half_turns=config.half_turns,
        phi_deg=config.now_phi_deg,
        reading=config.reading,
        mirror=config.mirror,
        turn=config.turn,
        colour=config.colour,
    )
    return two_looks(pair, looks, views(config), rng)


check = check_centred
imported, shown, unseen = checkpoints.imported, checkpoints.shown, checkpoints.unseen
