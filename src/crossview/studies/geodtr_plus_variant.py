"""GeoDTR+ as the studies vary it: Tables IV and VIII, batches of one town, masks for small maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from crossview.errors import require
from crossview.methods import geodtr_plus as paper
from crossview.networks import augmentations as ls
from crossview.networks.layout_masks import DescriptorTokens, EncoderSpec, LayoutNetwork, MakeMasks
from crossview.networks.samplers import draw_regional_batches
from crossview.pairs.batch import Batch, PairPixels
from crossview.pairs.table import PairTable
from crossview.studies.variants import scale_masks, settings_of_paper

PAPER = "geodtr_plus"
SAME_OR_OTHER = ("other", "same")


@dataclass(frozen=True, kw_only=True)
class Config(paper.Config):
    """The paper's settings, and what the studies vary."""

    gle: str = "v2"  # "v1" is GeoDTR's, Table IV
    scaled_masks: bool = False  # for small pictures: masks that differ from the first step
    copies_layout: Literal["other", "same"] = "other"  # "same" is "S + same L" of Table VIII
    copies_semantic: Literal["other", "same"] = "other"  # "same" is "same S + L" of Table VIII
    sampling: str = "pairs"  # or "aerial-first"; ours: "regional", one town a batch
    reach_m: float = 900.0  # of a batch that is regional

    def check_sampling(self) -> None:
        """Regional batches are ours."""
        allowed = ("pairs", "aerial-first", "regional")
        require(
            self.sampling in allowed,
            f"sampling must be pairs, aerial-first or regional: {self.sampling!r}.",
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("copies_layout", "copies_semantic"):
            value = getattr(self, name)
            require(value in SAME_OR_OTHER, f"{name} must be other or same, got {value!r}.")


def build(config: Config) -> LayoutNetwork:
    """The paper's branches, with GLE v1 or with masks that begin scaled to the map."""
    return paper.build_branches(config, _make_masks(config))


def _make_masks(config: Config) -> MakeMasks:
    require(config.gle in ("v1", "v2"), f"gle must be v1 or v2, got {config.gle!r}.")
    masks_of_paper = paper.make_masks(config)
    spec = EncoderSpec(
        heads=config.heads, layers=config.layers, hidden=config.hidden, dropout=config.dropout
    )

    def masks(channels: int, positions: int) -> nn.Module:
        generator: nn.Module
        if config.gle == "v1":
            generator = DescriptorTokens(positions, config.descriptors, spec)
        else:
            generator = masks_of_paper(channels, positions)
        return scale_masks(generator) if config.scaled_masks else generator

    return masks


def encode(model: LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """As in the paper; the masks of GLE v1 lie in [-1, 1]."""
    signed = config.gle == "v1" or config.squash == "hardtanh"
    return paper.encode_copies(model, batch, config, -1.0 if signed else 0.0)


def objective(model: LayoutNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The paper's losses over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """As in the paper; regional: places of one neighbourhood."""
    if config.sampling == "regional":
        return draw_regional_batches(table, config.batch, config.reach_m, 0.0, generator)
    return paper.batches(table, config, generator, neighbours)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> tuple[PairPixels, ...]:
    """CHSG whose copies may share their layout or their colours (Table VIII)."""
    if not config.chsg or (config.copies_layout, config.copies_semantic) == ("other", "other"):
        return paper.augment(pair, config, rng)
    pair = ls.finish_aerial(pair, views(config).aerial)
    layouts = ls.list_layouts(pair, config.layout)
    layout = ls.draw_layout(layouts, rng)
    first = second = ls.change_colours(pair, config.semantic, rng)
    if config.copies_semantic == "other":
        second = ls.change_colours(pair, config.semantic, rng)
    second = ls.change_layout(second, layout, polar=config.polar)
    if config.copies_layout == "other" and len(layouts) > 1:
        other = ls.draw_layout(layouts[1:], rng)
        second = ls.change_layout(second, other, polar=config.polar)
    return ls.change_layout(first, layout, polar=config.polar), second


def published(config: Config) -> dict[str, Any] | None:
    """The settings of the paper's page that come to the same; None where there are none."""
    if config.sampling == "regional":
        return None
    idle = ("reach_m",) if config.chsg else ("reach_m", "copies_layout", "copies_semantic")
    return settings_of_paper(config, paper.Config(), idle)


contrast, views, check = paper.contrast, paper.views, paper.check
imported, shown, unseen = paper.imported, paper.shown, paper.unseen
