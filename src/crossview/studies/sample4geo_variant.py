"""Sample4Geo as ConGeo and SinGeo compare it, and as the studies vary it.

ConGeo's authors train it on panoramas of random heading, cut to a field of view (``shifted``): the
recipes of one field of view, ``cvusa-shifted`` and ``cvusa-shifted-cropped``. On towns its aerial
pictures are unrolled, and it is the start of the rows of SinGeo's studies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from crossview.methods import _contrastive
from crossview.methods import sample4geo as paper
from crossview.pairs.batch import PairPixels, TrainingProgress, Views
from crossview.studies import variants
from crossview.views.spec import Representation

PAPER = "sample4geo"


@dataclass(frozen=True, kw_only=True)
class Config(paper.Config, variants.Switches):
    """The paper's settings, and what is varied."""

    separate: bool = False  # an encoder for each view: vision transformers
    representation: Representation = "narrow"  # "padded" for networks of one width
    shifted: bool = False  # data augmentation as ConGeo compares it: random heading, cut to theta
    course: str = "uniform"  # of theta, one value a batch; see networks.curriculum
    theta_deg: tuple[float, float] = (360.0, 70.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "theta_deg", tuple(self.theta_deg))
        variants.check_switches(self)
        _contrastive.check_theta(self.theta_deg, self.representation)


def views(config: Config) -> Views:
    """The paper's, of unknown heading where panoramas are shifted."""
    if config.shifted:
        thetas = variants.find_theta_range(config)
        return variants.build_views(config, headings="unknown", fov_deg=thetas)
    headings = "unknown" if config.turn_aerial else "aligned"
    return variants.build_views(config, headings=headings, fov_deg=(360.0, 360.0))


def build(config: Config) -> nn.Module:
    """The paper's encoder, or another network."""
    least_fov_deg = variants.find_theta_range(config)[0] if config.shifted else 360.0
    return variants.build_network(config, least_fov_deg)


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """One field of view for a batch, where panoramas are cut."""
    return variants.follow_course(config, moment, rng, "theta_deg") if config.shifted else config


def query_fov_deg(config: Config) -> float:
    """Queries are cut as in training while similar places are sought."""
    return config.theta_deg[1] if config.shifted else 360.0


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """As in the paper; then a sector of the panorama at a random heading."""
    pair = paper.augment(pair, config, rng)
    if config.shifted and pair.fov_deg >= 360.0:
        spec = views(config).ground
        pair = _contrastive.crop_sector(pair, config.theta_deg[1], spec, rng)
    return pair


def published(config: Config) -> dict[str, Any] | None:
    """The settings of the paper's page that come to the same; None where there are none."""
    idle = () if config.shifted else ("course", "course_by", "sharpness", "theta_deg")
    return variants.settings_of_paper(config, paper.Config(), idle)


encode, contrast, objective = paper.encode, paper.contrast, paper.objective
batches, check = paper.batches, variants.check_pairs
imported, shown, unseen = paper.imported, paper.shown, paper.unseen
