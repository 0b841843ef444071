"""ConGeo as the studies vary it: other networks, unrolled aerial pictures, a course of theta.

The authors' random width, one of a batch, is the course "uniform".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from crossview.methods import _contrastive
from crossview.methods import congeo as paper
from crossview.pairs.batch import PairPixels, TrainingProgress, Views
from crossview.studies import variants
from crossview.views.spec import Representation

PAPER = "congeo"


@dataclass(frozen=True, kw_only=True)
class Config(paper.Config, variants.Switches):
    """The paper's settings, and what is varied."""

    separate: bool = False  # an encoder for each view: vision transformers
    representation: Representation = "narrow"  # "padded" for networks of one width
    course: str = "fixed"  # of theta, see networks.curriculum
    theta_deg: tuple[float, float] = (360.0, 180.0)  # type: ignore[assignment]
    # "fixed" is the second; (361, 361): every picture draws its own

    def check_theta(self) -> None:
        """The fields of view of a course."""
        object.__setattr__(self, "theta_deg", tuple(self.theta_deg))
        _contrastive.check_theta(self.theta_deg, self.representation)

    def __post_init__(self) -> None:
        super().__post_init__()
        variants.check_switches(self)


def views(config: Config) -> Views:
    """The paper's, with the fields of view that the course passes."""
    fov_deg = (variants.find_theta_range(config)[0], 360.0)
    return variants.build_views(config, headings="unknown", fov_deg=fov_deg)


def build(config: Config) -> nn.Module:
    """The paper's encoder, or another network."""
    return variants.build_network(config, variants.find_theta_range(config)[0])


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """One field of view for all sectors of a batch."""
    return variants.follow_course(config, moment, rng, "theta_deg")


def query_fov_deg(config: Config) -> float:
    """Queries are cut as in training while similar places are sought."""
    return config.theta_deg[1]


def augment(
    pair: PairPixels, config: Config, rng: np.random.Generator
) -> tuple[PairPixels, PairPixels]:
    """As in the paper, with the field of view of the batch."""
    positives = _contrastive.Positives(
        theta_deg=config.theta_deg[1], change_aerial=paper.keep_aerial, reading=config.reading
    )
    return _contrastive.make_positives(pair, positives, config, views(config), rng)


def published(config: Config) -> dict[str, Any] | None:
    """The settings of the paper's page that come to the same; None where there are none."""
    if config.course != "fixed":
        return None
    idle = ("course", "course_by", "sharpness")
    settings = variants.settings_of_paper(config, paper.Config(), idle)
    return settings and {**settings, "theta_deg": config.theta_deg[1]}


encode, contrast, objective = paper.encode, paper.contrast, paper.objective
batches, check = paper.batches, variants.check_pairs
imported, shown, unseen = paper.imported, paper.shown, paper.unseen
