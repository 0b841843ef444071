"""GeoDTR+: toward generic cross-view geolocalization via geometric disentanglement (Zhang et al.).

IEEE TPAMI 2024, arXiv 2308.09624. Written from the paper and figures; the authors' code
(zxh009123/GeoDTR_plus) has no licence and was not used. [C]: a constant of that code, where the
paper does not print it or says otherwise.

Deviations: bfloat16 where it is fast (theirs: none); ConvNeXt's weights are its own authors', not
torchvision's; VIGOR's pictures do not meet themselves or a near-miss in a batch; the last step's
weights are kept, theirs are those that did best on the evaluation split. The published figures of
CVUSA are of the list without repeats (``cvusa-cleaned``). ``docs/methods/geodtr-plus.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossview.errors import require
from crossview.networks.augmentations import Simulation, simulate, viewed
from crossview.networks.backbones import trunk
from crossview.networks.layout_masks import (
    HEADS_UNSEEN,
    SPANS,
    SQUASHES,
    EncoderSpec,
    LayoutBranch,
    LayoutNetwork,
    aligned_views,
    backbone_shown,
    bottleneck_idle,
    check_centred,
    geodtr_plus_tensors,
    layout_extractor,
    random_masks,
    sizes_shown,
    sizes_unseen,
)
from crossview.networks.losses import soft_margin_triplet
from crossview.networks.samplers import aerial_first, regional, shuffled
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA with the polar transform; ``--recipe`` has the published settings."""

    backbone: str = "convnext_tiny.fb_in1k"  # section V-A; cut after stage 3 [C]
    weights: str = "hub"  # ImageNet-1k, Table VII; "none" or a file
    drop_path: float = 0.1  # torchvision's default, which [C] leaves on
    ground_px: tuple[int, int] = (122, 671)  # height, width [C]
    aerial_px: tuple[int, int] = (122, 671)  # [C]; (256, 256) without polar, (320, 320) on VIGOR
    polar: bool = True  # Tables I and II have both; never on VIGOR
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    gle: str = "v2"  # section IV; "v1" is GeoDTR's, Table IV
    descriptors: int = 8  # K, Table V
    bottleneck: bool = True  # a flag of [C] that all published models set
    squash: str = "sigmoid"  # of the masks [C]; "hardtanh" as in GLE v1
    span: str = "free"  # [C]; "normalised" or "orthogonalised" masks: flags of [C], off
    scaled_masks: bool = False  # ours, for small pictures: masks that differ from the first step
    heads: int = 4  # of the transformer [C]
    layers: int = 2  # [C]
    hidden: int = 512  # [C]; 2048 in GLE v1
    dropout: float = 0.3  # [C]
    chsg: bool = True  # contrastive hard samples, section IV
    copies_layout: str = "other"  # of the two copies; "same" is "S + same L" of Table VIII
    copies_semantic: str = "other"  # "same" is "same S + L" of Table VIII
    layout: str = "strong"  # mirror and quarter turns [C]; "weak": mirror; "none": as photographed
    semantic: str = "strong"  # [C]
    alpha: float = 10.0  # of the triplet loss [C]
    beta: float = 5.0  # of the counterfactual loss [C]
    counterfactual: float = 1.0  # its weight [C]; 0: off
    sampling: str = "pairs"  # "aerial-first" on VIGOR [C]; ours: "regional", one town a batch
    reach_m: float = 900.0  # of a batch that is regional
    batch: int = 32  # places; the loss sees 64 pairs with CHSG, Table VI
    epochs: float = 200.0  # [C]
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-4  # section V-A
    weight_decay: float = 0.03  # [C], on all parameters
    decay_vectors: bool = True
    eps: float = 1e-6  # [C]
    warmup_epochs: float = 5.0  # [C]
    warmup_steps: int = 0  # for short trainings, with steps
    schedule: str = "epochs"  # [C]: the first epoch trains at rate 0
    clip_norm: float = 1.0  # [C]
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        known = self.sampling in ("pairs", "aerial-first", "regional")
        require(known, f"sampling must be pairs, aerial-first or regional: {self.sampling!r}.")
        require(self.descriptors >= 1, f"descriptors must be at least 1, got {self.descriptors}.")
        require(
            self.squash in SQUASHES, f"squash must be {' or '.join(SQUASHES)}: {self.squash!r}."
        )
        require(self.span in SPANS, f"span must be one of {', '.join(SPANS)}: {self.span!r}.")
        require(self.batch >= 2, f"batch must be 2 places or more, with CHSG too: {self.batch}.")
        _simulation(self)  # refuses unknown words


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, unrolled or as they are."""
    return aligned_views(config)


def build(config: Config) -> LayoutNetwork:
    """Two branches that share nothing (section IV)."""
    return LayoutNetwork(_branch(config, config.ground_px), _branch(config, config.aerial_px))


def _branch(config: Config, size_px: tuple[int, int]) -> LayoutBranch:
    sizes = {name: getattr(config, name) for name in ("heads", "layers", "hidden")}
    how = {name: getattr(config, name) for name in ("bottleneck", "squash", "span")}
    masks = layout_extractor(
        config.gle,
        config.descriptors,
        EncoderSpec(**sizes, dropout=config.dropout),
        scaled=config.scaled_masks,
        **how,
    )
    return LayoutBranch(trunk(config.backbone, config.weights, config.drop_path), size_px, masks)


def objective(model: LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Triplets over all copies of all places, and masks against random ones (section IV)."""
    copies = (batch, *batch.more)  # CHSG: the copies of a place are each other's negatives
    ground = model.ground.layout(torch.cat([copy.ground for copy in copies]))
    aerial = model.aerial.layout(torch.cat([copy.aerial for copy in copies]))
    losses = {"triplet": soft_margin_triplet(ground.vector, aerial.vector, config.alpha)}
    if config.counterfactual:
        signed = config.gle == "v1" or config.squash == "hardtanh"
        low = -1.0 if signed else 0.0  # the range of the masks
        fakes = [random_masks(side, low, 1.0, config.beta) for side in (aerial, ground)]
        losses["counterfactual"] = config.counterfactual * (fakes[0] + fakes[1]) / 2
    return losses


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places; on VIGOR random aerial pictures; regional: places of one neighbourhood."""
    if config.sampling == "regional":
        return regional(table, config.batch, config.reach_m, 0.0, generator)
    sampler = aerial_first if config.sampling == "aerial-first" else shuffled
    return sampler(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> tuple[PairPixels, ...]:
    """LS, or the two copies of CHSG, on the finished views."""
    return simulate(viewed(pair, views(config).aerial), _simulation(config), rng)


def _simulation(config: Config) -> Simulation:
    names = ("polar", "layout", "semantic", "copies_layout", "copies_semantic")
    return Simulation(**{n: getattr(config, n) for n in names}, copies=2 if config.chsg else 1)


def imported(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' checkpoint by our names; it has a bottleneck's tensors even where it is off."""
    tensors = geodtr_plus_tensors(state)
    return {k: v for k, v in tensors.items() if config.bottleneck or ".bottleneck." not in k}


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings that the authors' tensors show."""
    idle = {"bottleneck": False} if bottleneck_idle(state) else {}
    return sizes_shown(state, "GLE") | {"backbone": backbone_shown(state)} | idle


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that they do not show, with the reason."""
    trained = "its tensors are there whether it was on or off"
    return {
        "heads": HEADS_UNSEEN,
        **({} if bottleneck_idle(state) else {"bottleneck": trained}),
        "span": "normalised or orthogonalised masks have no tensors",
        "squash": "nor has the function that bounds them",
        **sizes_unseen(state, "GLE"),
    }


check = check_centred  # the polar view needs cameras in the middle
