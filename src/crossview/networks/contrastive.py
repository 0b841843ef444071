"""What the pages of Sample4Geo, ConGeo and SinGeo say alike, taken from the fields of their Config.

Field names are part of the agreement: a page that has them may use these functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from crossview.arrays import I64
from crossview.errors import InvalidValue, require
from crossview.networks.curriculum import SHAPES, Course
from crossview.networks.encoders import (
    masked_network,
    pair_network,
    refuse_too_small,
    takes_any_width,
    together,
)
from crossview.networks.looks import READINGS
from crossview.networks.losses import AERIAL, AERIAL_2, GROUND, GROUND_2
from crossview.networks.samplers import nearest_places, neighbour_batches, shuffled
from crossview.pairs.batch import Batch, TrainingProgress, Views
from crossview.pairs.table import PairTable
from crossview.views.crops import RANDOM_FOV_DEG, find_least_fov
from crossview.views.spec import ViewSpec

C = TypeVar("C")
MINE_FROM = ("pass", "epoch")
ARCHITECTURES = ("pooled", "geodtr-plus")


def views_of(config: Any, *, headings: str, fov_deg: tuple[float, float]) -> Views:
    """Strips of ``ground_px`` and north-up windows of ``aerial_px``, in the representation asked.

    ``whole`` takes the files as the papers do, squashed without antialiasing: all rows of them,
    also where other papers cut the sky and the street away. What they span, their data set says.
    """
    height, width = config.ground_px
    rows, columns = aerial_size(config)
    as_files: dict[str, Any] = {}
    if config.whole:
        as_files = {"whole": True, "resize": "linear", "all_rows": True}
    return Views(
        ground=ViewSpec(
            side="ground",
            height_px=height,
            width_px=width,
            elevation_deg=None if config.whole else config.elevation_deg,
            representation=config.representation,
            **as_files,
        ),
        aerial=ViewSpec(
            side="aerial",
            height_px=rows,
            width_px=columns,
            footprint_m=None if config.whole else config.footprint_m,
            polar=config.polar,
            **as_files,
        ),
        headings_seen=headings,
        fov_seen_deg=fov_deg,
    )


def aerial_size(config: Any) -> tuple[int, int]:
    """Height and width of the aerial view: a square, or as large as the panorama if unrolled."""
    height, width = config.ground_px if config.polar else (config.aerial_px, config.aerial_px)
    return height, width


def network_of(config: Any, least_fov_deg: float = 360.0) -> nn.Module:
    """The network that ``backbone``, ``weights`` and ``separate`` name, for the Config's sizes.

    ``architecture`` "geodtr-plus" puts GeoDTR+'s masks on two trunks instead. Raises InvalidValue
    where narrow pictures would be fed to a network of fixed width, or one of ``least_fov_deg`` is
    too narrow for it: now, not when a curriculum gets there.
    """
    masked = config.architecture == "geodtr-plus"
    if config.representation == "narrow" and (masked or not takes_any_width(config.backbone)):
        raise InvalidValue(
            f"{config.architecture} {config.backbone} takes pictures of one width only, and narrow "
            "ones differ.\nUse representation=padded (and separate=true for a transformer)."
        )
    if masked:
        return masked_network(
            config.backbone, config.weights, config.ground_px, aerial_size(config)
        )
    network = pair_network(
        config.backbone,
        config.weights,
        separate=config.separate,
        ground_px=config.ground_px,
        aerial_px=aerial_size(config),
    )
    if config.representation == "narrow":
        height, width = config.ground_px
        refuse_too_small(network, (height, max(1, round(width * least_fov_deg / 360.0))))
    return network


def check_fields(config: Any) -> None:
    """Refuse values that no training can use, before anything is read."""
    for name in ("mirror", "turn"):
        value = getattr(config, name)
        require(0 <= value <= 1, f"{name} is a probability, got {value}.")
    require(0 <= config.smoothing < 1, f"smoothing must lie in [0, 1), got {config.smoothing}.")
    _check_theta(config)
    if config.course not in SHAPES or config.course_by not in ("epoch", "batch"):
        raise InvalidValue(
            f"no course {config.course!r} by {config.course_by!r}.\n"
            f"Courses: {', '.join(SHAPES)}; by epoch or batch."
        )
    if config.architecture not in ARCHITECTURES:
        raise InvalidValue(
            f"no architecture {config.architecture!r}; known: {', '.join(ARCHITECTURES)}."
        )
    reading = getattr(config, "reading", READINGS[0])
    require(reading in READINGS, f"reading must be {' or '.join(READINGS)}, got {reading!r}.")
    if config.mine_from not in MINE_FROM:
        raise InvalidValue(f"mine_from must be pass or epoch, got {config.mine_from!r}.")
    require(
        config.steps > 0 or config.epochs > 0,
        f"a schedule needs epochs or steps above 0, got epochs {config.epochs:g}.",
    )


def _check_theta(config: Any) -> None:
    if RANDOM_FOV_DEG not in config.theta_deg:
        for theta in config.theta_deg:
            require(0 < theta <= 360, f"theta must lie in (0, 360] degrees, got {theta:g}.")
        return
    require(
        set(config.theta_deg) == {RANDOM_FOV_DEG} and config.representation == "padded",
        f"theta {RANDOM_FOV_DEG:g} draws a field of view for every picture: it has no course, and "
        "pictures of one batch must be of one width.\n"
        f"Use theta_deg=[{RANDOM_FOV_DEG:g}, {RANDOM_FOV_DEG:g}] with representation=padded.",
    )


def thetas_shown(config: Any) -> tuple[float, float]:
    """The narrowest and the widest field of view that sectors of ``theta_deg`` have in training."""
    ends = config.theta_deg[1:] if config.course == "fixed" else config.theta_deg
    return min(find_least_fov(theta) for theta in ends), min(360.0, max(ends))


def on_course(config: C, moment: TrainingProgress, rng: np.random.Generator, *names: str) -> C:
    """``config`` with ``now_NAME`` of each name moved from the first to the last value of NAME.

    The courses of one Config share their shape; where an end is 0, "log-uniform" is "uniform".
    """
    given: Any = config
    share = moment.by_epoch if given.course_by == "epoch" else moment.by_batch
    values = {}
    for name in names:
        first, last = getattr(given, name)
        shape = "uniform" if given.course == "log-uniform" and not first * last else given.course
        course = Course(shape=shape, first=first, last=last, sharpness=given.sharpness)
        values[f"now_{name}"] = course.at(share, rng)
    moved: C = replace(given, **values)
    return moved


def two_looks_encoded(
    model: nn.Module, batch: Batch, *, ground: bool = True, aerial: bool = True
) -> dict[str, Tensor]:
    """Vectors [B, D] of both looks at both views; pictures of one size share a pass.

    A second look that is not wanted is not encoded.
    """
    vectors: dict[str, Tensor] = {}
    wanted = {(GROUND, GROUND_2): ground, (AERIAL, AERIAL_2): aerial}
    for names, twice in wanted.items():
        stacks = [getattr(look, names[0]) for look in (batch, batch.more[0])[: 1 + twice]]
        vectors |= dict(zip(names, together(getattr(model, names[0]), *stacks), strict=False))
    return vectors


def batches_of(
    table: PairTable, config: Any, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """Batches of similar rows once vectors have been compared; before, of near places or of any."""
    if neighbours is None and not config.gps_sampling:
        return shuffled(table, config.batch, generator)
    near = nearest_places(table, config.neighbour_range) if neighbours is None else neighbours
    return neighbour_batches(table, near, config.batch, generator, config.neighbour_select)
