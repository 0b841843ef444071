"""SinGeo as its paper ablates it and as the studies vary it.

The paper's other positives from above (T_s1, T_s2, half turns), one positive only, the orders of
its curriculum (f1 to f3) and none; ours are other networks and unrolled aerial pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from crossview.arrays import U8
from crossview.errors import require
from crossview.methods import _contrastive
from crossview.methods import singeo as paper
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.studies import variants
from crossview.views.crops import choose_quarter_turns, turn_circle, turn_image, turn_quarters

PAPER = "singeo"
FROM_ABOVE = ("quarters", "circle", "turned", "photometric")


@dataclass(frozen=True, kw_only=True)
class Config(paper.Config, variants.Switches):
    """The paper's settings, and what is varied."""

    ground_positive: bool = True  # g*
    aerial_positive: bool = True  # s*
    from_above: str = "quarters"  # T_s3; "circle" T_s1, "turned" T_s2, "photometric": colours only
    half_turns: bool = False  # T_s3 of the paper, with keep (0.75, 0); the code: 90 degrees only
    phi_deg: tuple[float, float] = (0.0, 270.0)  # of T_s1 and T_s2
    course: str = "linear"  # f1; see networks.curriculum

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "phi_deg", tuple(self.phi_deg))
        variants.check_switches(self)
        require(
            self.from_above in FROM_ABOVE,
            f"from_above must be one of {', '.join(FROM_ABOVE)}, got {self.from_above!r}.",
        )


def views(config: Config) -> Views:
    """The paper's, with the fields of view that the course passes."""
    fov_deg = (variants.find_theta_range(config)[0], 360.0)
    return variants.build_views(config, headings="unknown", fov_deg=fov_deg)


def build(config: Config) -> nn.Module:
    """The paper's encoders, or another network."""
    return variants.build_network(config, variants.find_theta_range(config)[0])


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """The difficulties of a batch, by the course."""
    return variants.follow_course(config, moment, rng, "theta_deg", "keep", "phi_deg")


def encode(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of the pictures and of those positives that are wanted."""
    return _contrastive.encode_with_positives(
        model, batch, ground=config.ground_positive, aerial=config.aerial_positive
    )


def objective(model: nn.Module, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The paper's terms, without those of a positive that is left out."""
    return contrast(model, encode(model, batch, config), config)


def augment(
    pair: PairPixels, config: Config, rng: np.random.Generator
) -> tuple[PairPixels, PairPixels]:
    """The pair, then its positives: T_g of the panorama, one of T_s1 to T_s3 from above."""

    def change_aerial(aerial: U8, side_px: float, rng: np.random.Generator) -> U8:
        if config.from_above == "quarters":
            quarters = choose_quarter_turns(config.keep[1], float(rng.random()), config.half_turns)
            return turn_quarters(aerial, quarters)
        if config.from_above == "circle":
            return turn_circle(aerial, config.phi_deg[1], side_px)
        return turn_image(aerial, config.phi_deg[1]) if config.from_above == "turned" else aerial

    positives = _contrastive.Positives(
        theta_deg=config.theta_deg[1], change_aerial=change_aerial, reading=config.reading
    )
    return _contrastive.make_positives(pair, positives, config, views(config), rng)


def published(config: Config) -> dict[str, Any] | None:
    """The settings of the paper's page that come to the same; None where there are none."""
    idle = ("phi_deg", "sharpness")  # at work only with other settings beyond the paper's
    return variants.settings_of_paper(config, paper.Config(), idle)


contrast, query_fov_deg = paper.contrast, paper.query_fov_deg
batches, check = paper.batches, variants.check_pairs
imported, shown, unseen = paper.imported, paper.shown, paper.unseen
