"""What the studies vary of Sample4Geo, ConGeo and SinGeo alike, and when that is the paper's own.

A study composes its variants from the functions of the papers' pages. Each variant is a page of its
own, with the paper's settings and some more; ``catalogue.configure`` chooses it where settings are
beyond the paper's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from torch import nn

from crossview.errors import InvalidValue
from crossview.methods import _contrastive
from crossview.networks import layout_masks
from crossview.networks.backbones import trunk
from crossview.networks.curriculum import SHAPES, Course
from crossview.networks.losses import learned_scale
from crossview.pairs.batch import TrainingProgress, Views
from crossview.pairs.table import PairTable

C = TypeVar("C")
ARCHITECTURES = ("pooled", "geodtr-plus")
MASKS = 8  # of GeoDTR+


@dataclass(frozen=True, kw_only=True)
class Switches:
    """Settings beyond those of the three papers."""

    architecture: str = "pooled"  # "geodtr-plus": its masks on two trunks (fixed sizes)
    polar: bool = False  # aerial pictures unrolled to the size of the panoramas
    sharpness: float = 5.0  # of a course, see networks.curriculum
    course_by: str = "epoch"  # or "batch"
    mine_from: str = "pass"  # or "epoch": the epoch's own vectors, no second pass


def check_switches(config: Any) -> None:
    """Refuse values that no training can use, before anything is read."""
    if config.course not in SHAPES or config.course_by not in ("epoch", "batch"):
        raise InvalidValue(
            f"no course {config.course!r} by {config.course_by!r}.\n"
            f"Courses: {', '.join(SHAPES)}; by epoch or batch."
        )
    if config.architecture not in ARCHITECTURES:
        raise InvalidValue(
            f"no architecture {config.architecture!r}; allowed: {', '.join(ARCHITECTURES)}."
        )
    if config.mine_from not in ("pass", "epoch"):
        raise InvalidValue(f"mine_from must be pass or epoch, got {config.mine_from!r}.")


def build_views(config: Any, *, headings: str, fov_deg: tuple[float, float]) -> Views:
    """The papers' views; with ``polar`` the aerial one unrolled to the size of the panorama."""
    views = _contrastive.build_views(
        config, headings=headings, fov_deg=fov_deg, representation=config.representation
    )
    if not config.polar:
        return views
    height, width = config.ground_px
    aerial = replace(views.aerial, height_px=height, width_px=width, polar=True)
    return replace(views, aerial=aerial)


def build_network(config: Any, least_fov_deg: float) -> nn.Module:
    """The papers' network, or GeoDTR+'s masks; InvalidValue where pictures do not fit it."""
    aerial_px = config.ground_px if config.polar else (config.aerial_px, config.aerial_px)
    if config.architecture == "pooled":
        return _contrastive.build_network(
            config,
            least_fov_deg,
            separate=config.separate,
            representation=config.representation,
            aerial_px=aerial_px,
        )
    if config.representation == "narrow":
        _contrastive.refuse_narrow(f"{config.architecture} {config.backbone}")
    return _masked_network(config.backbone, config.weights, config.ground_px, aerial_px)


def _masked_network(
    name: str, weights: str, ground_px: tuple[int, int], aerial_px: tuple[int, int]
) -> nn.Module:
    """GeoDTR+'s two branches (its published settings) with the learned scale beside them.

    Its masks begin scaled to the map, so that small pictures get masks of their own, too.
    """
    spec = layout_masks.EncoderSpec(hidden=512, dropout=0.3)

    def masks(channels: int, positions: int) -> nn.Module:
        return scale_masks(layout_masks.PositionTokens((channels, positions), MASKS, spec))

    ground, aerial = (
        layout_masks.LayoutBranch(trunk(name, weights), size, masks)
        for size in (ground_px, aerial_px)
    )
    network = layout_masks.LayoutNetwork(ground, aerial)
    network.logit_scale = learned_scale()
    return network


def scale_masks(masks: nn.Module) -> nn.Module:
    """Keep the variance from input to output, whatever the number of positions.

    The published start, 0.005, is of maps of several hundred positions. Over the 16 of a small
    picture two layers of it shrink all that differs between pictures to a thousandth: the masks
    begin, and for long stay, the same for every picture.
    """
    for part in masks.modules():
        if isinstance(part, layout_masks.PerMask):
            nn.init.normal_(part.weight, std=part.weight.shape[1] ** -0.5)
    return masks


def find_theta_range(config: Any) -> tuple[float, float]:
    """The narrowest and the widest field of view that sectors have in training."""
    ends = config.theta_deg[1:] if config.course == "fixed" else config.theta_deg
    return _contrastive.find_theta_range(ends)


def follow_course(config: C, moment: TrainingProgress, rng: np.random.Generator, *names: str) -> C:
    """``config`` with both ends of each name where its course from first to last is.

    The courses of one Config share their shape; where an end is 0, "log-uniform" is "uniform".
    """
    whole: Any = config
    share = moment.by_epoch if whole.course_by == "epoch" else moment.by_batch
    values = {}
    for name in names:
        first, last = getattr(whole, name)
        shape = "uniform" if whole.course == "log-uniform" and not first * last else whole.course
        course = Course(shape=shape, first=first, last=last, sharpness=whole.sharpness)
        now = course.at(share, rng)
        values[name] = (now, now)
    moved: C = replace(whole, **values)
    return moved


def check_pairs(table: PairTable, config: Any) -> None:
    """InvalidValue for cameras off the centre of pictures that are to be unrolled."""
    layout_masks.check_centred(table, config)


def settings_of_paper(config: Any, paper: Any, idle: Collection[str] = ()) -> dict[str, Any] | None:
    """The settings of ``config`` that the Config ``paper`` has, if no other one is at work.

    ``idle``: settings that change nothing beside the others of ``config``. None: one does.
    """
    shared = {field.name for field in fields(paper)}
    defaults = type(config)()
    for field in fields(config):
        name = field.name
        same = getattr(config, name) == getattr(defaults, name)
        if name not in shared and name not in idle and not same:
            return None
    return {name: getattr(config, name) for name in shared}
