"""GeoDTR+: toward generic geolocalization by disentangled geometry (Zhang et al., TPAMI 2024).

arXiv 2308.09624. Written from the paper and figures; the authors' code
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
from crossview.networks import augmentations as ls
from crossview.networks import layout_masks
from crossview.networks.backbones import trunk
from crossview.networks.samplers import draw_aerial_first, draw_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.colour import Strength as ColourStrength
from crossview.views.symmetry import Strength


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
    descriptors: int = 8  # K, Table V
    bottleneck: bool = True  # a flag of [C] that all published models set
    squash: layout_masks.Squash = "sigmoid"  # of the masks [C]; "hardtanh" as in GLE v1
    span: layout_masks.Span = "free"  # [C]; "normalised", "orthogonalised": flags of [C], off
    heads: int = 4  # of the transformer [C]
    layers: int = 2  # [C]
    hidden: int = 512  # [C]
    dropout: float = 0.3  # [C]
    chsg: bool = True  # contrastive hard samples, section IV; without them LS, Table VI
    layout: Strength = "strong"  # mirror and quarter turns [C]; "weak": mirror; "none"
    semantic: ColourStrength = "strong"  # [C]
    alpha: float = 10.0  # of the triplet loss [C]
    beta: float = 5.0  # of the counterfactual loss [C]
    counterfactual: float = 1.0  # its weight [C]; 0: off
    sampling: str = "pairs"  # "aerial-first" on VIGOR [C]
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
        self.check_sampling()
        require(self.descriptors >= 1, f"descriptors must be at least 1, got {self.descriptors}.")
        require(
            self.squash in layout_masks.SQUASHES,
            f"squash must be {' or '.join(layout_masks.SQUASHES)}: {self.squash!r}.",
        )
        require(
            self.span in layout_masks.SPANS,
            f"span must be one of {', '.join(layout_masks.SPANS)}: {self.span!r}.",
        )
        require(self.batch >= 2, f"batch must be 2 places or more, with CHSG too: {self.batch}.")
        ls.check_strengths(self.layout, self.semantic)

    def check_sampling(self) -> None:
        """Refuse an order of batches that is not of the paper."""
        require(
            self.sampling in ("pairs", "aerial-first"),
            f"sampling must be pairs or aerial-first: {self.sampling!r}.",
        )


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows from above, unrolled or as they are."""
    return layout_masks.make_aligned_views(config)


def build(config: Config) -> layout_masks.LayoutNetwork:
    """Two branches that share nothing (section IV): a cut ConvNeXt, GLE v2, modulation."""
    return build_branches(config, make_masks(config))


def make_masks(config: Config) -> layout_masks.MakeMasks:
    """GLE v2: the positions of the map are the tokens of a transformer, of which K masks come."""
    spec = layout_masks.EncoderSpec(
        heads=config.heads, layers=config.layers, hidden=config.hidden, dropout=config.dropout
    )

    def masks(channels: int, positions: int) -> layout_masks.PositionTokens:
        return layout_masks.PositionTokens(
            (channels, positions),
            config.descriptors,
            spec,
            bottleneck=config.bottleneck,
            squash=config.squash,
            span=config.span,
        )

    return masks


def build_branches(config: Config, masks: layout_masks.MakeMasks) -> layout_masks.LayoutNetwork:
    """A branch for each view, its masks made by ``masks``."""
    ground, aerial = (
        layout_masks.LayoutBranch(
            trunk(config.backbone, config.weights, config.drop_path), size_px, masks
        )
        for size_px in (config.ground_px, config.aerial_px)
    )
    return layout_masks.LayoutNetwork(ground, aerial)


def encode(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of all copies of both views, and of random masks."""
    return encode_copies(model, batch, config, -1.0 if config.squash == "hardtanh" else 0.0)


def encode_copies(
    model: layout_masks.LayoutNetwork, batch: Batch, config: Config, lowest: float
) -> dict[str, Tensor]:
    """The vectors of :func:`encode` for masks whose values lie between ``lowest`` and 1."""
    copies = (batch, *batch.more)  # CHSG: the copies of a place are each other's negatives
    return layout_masks.encode_layouts(model, copies, lowest if config.counterfactual else None)


def contrast(
    model: layout_masks.LayoutNetwork, vectors: dict[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """Triplets over all copies of all places, and masks against random ones (section IV)."""
    return layout_masks.contrast_layouts(vectors, config)


def objective(model: layout_masks.LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places; on VIGOR random aerial pictures."""
    sampler = draw_aerial_first if config.sampling == "aerial-first" else draw_batches
    return sampler(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> tuple[PairPixels, ...]:
    """CHSG on the finished views: two copies of a place that are hard negatives of each other.

    Both get one layout and colours of their own; the second then gets another layout on top, never
    the identity. Without CHSG one copy: LS.
    """
    pair = ls.finish_aerial(pair, views(config).aerial)
    layouts = ls.list_layouts(pair, config.layout)
    layout = ls.draw_layout(layouts, rng)
    first = ls.change_colours(pair, config.semantic, rng)
    if not config.chsg:
        return (ls.change_layout(first, layout, polar=config.polar),)
    second = ls.change_colours(pair, config.semantic, rng)
    second = ls.change_layout(second, layout, polar=config.polar)
    if len(layouts) > 1:
        other = ls.draw_layout(layouts[1:], rng)
        second = ls.change_layout(second, other, polar=config.polar)
    return ls.change_layout(first, layout, polar=config.polar), second


def imported(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The authors' checkpoint by our names; it has a bottleneck's tensors even where it is off."""
    tensors = layout_masks.geodtr_plus_tensors(state)
    return {k: v for k, v in tensors.items() if config.bottleneck or ".bottleneck." not in k}


def shown(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings that the authors' tensors show."""
    idle = {"bottleneck": False} if layout_masks.bottleneck_idle(state) else {}
    return (
        layout_masks.sizes_shown(state, "GLE")
        | {"backbone": layout_masks.backbone_shown(state)}
        | idle
    )


def unseen(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that they do not show, with the reason."""
    trained = "its tensors are there whether it was on or off"
    return {
        "heads": layout_masks.HEADS_UNSEEN,
        **({} if layout_masks.bottleneck_idle(state) else {"bottleneck": trained}),
        "span": "normalised or orthogonalised masks have no tensors",
        "squash": "nor has the function that bounds them",
        **layout_masks.sizes_unseen(state, "GLE"),
    }


check = layout_masks.check_centred  # the polar view needs cameras in the middle


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
    "cvact": {"whole": True},
    "cvact-plain": {"whole": True, "polar": False, "aerial_px": (256, 256)},
    "vigor": {
        "whole": True,
        "ground_px": (320, 640),
        "aerial_px": (320, 320),
        "polar": False,
        "sampling": "aerial-first",
    },
}
REPRODUCES = {
    "cvusa --data cvusa-cleaned:CVUSA": ("GeoDTR+: polar",),
    "cvusa-plain --data cvusa-cleaned:CVUSA": ("GeoDTR+",),
    "cvact": ("GeoDTR+: polar",),
    "cvact-plain": ("GeoDTR+",),
    "vigor": ("GeoDTR+",),
}
TENSORS = r"GLE_(grd|sat)\."
COST = {
    "source": "Table VII of GeoDTR+, on a V100",
    "parameters_m": 24.7,
    "ms_per_pair": 103.0,
    "macs_g": 11.25,
}
CHECKPOINT = {
    "address": "a cloud drive, linked in its README",
    "format": "pth, a pickle",
    "trained_on": "CVUSA, CVACT or VIGOR, which are for research only; panoramas",
    "code_licence": "",
    "weights_licence": "",
    "trained_on_name": "cvusa, cvact, vigor-same or vigor-cross",
    "notes": "Download it yourself; the file is read without running code.",
}
