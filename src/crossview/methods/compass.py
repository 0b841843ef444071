"""Compass: the small network that crossview ships for its embedded world.

Ours; no paper. It takes from DSM (Shi et al., CVPR 2020) the unrolled aerial view, circular
convolutions and the search over turns, from Sample4Geo (Deuser et al., ICCV 2023) the symmetric
InfoNCE with label smoothing and a learned scale, and from ConGeo (Mi et al., ECCV 2024) the
training on crops of unknown heading. One vector per tile serves every field of view.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crossview.networks.azimuth import AzimuthEncoder
from crossview.networks.losses import learned_scale, turn_scores, turning_info_nce
from crossview.networks.samplers import draw_regional_batches
from crossview.networks.weight_files import fill_network
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.colour import augment_photometric
from crossview.views.crops import compute_bin_coverage
from crossview.views.ground import count_spare_px, crop_as_photo, cut_window
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import mirror_pair


@dataclass(frozen=True, kw_only=True)
class Config:
    """Chosen on the validation towns; see ``docs/model-card.md`` for what was tried."""

    height_px: int = 48
    width_px: int = 240
    elevation_deg: tuple[float, float] = (-27.0, 45.0)
    footprint_m: float = 80.0
    widths: tuple[int, ...] = (16, 64, 128)
    blocks: tuple[int, ...] = (0, 1, 4)
    depth: int = 16  # numbers per azimuth bin
    weights: str = "none"  # or a run's model.safetensors to go on from
    panoramas: float = 0.4  # share of training pictures that keep all 360 degrees
    fov_deg: tuple[float, float] = (45.0, 180.0)  # of the others, log-uniform
    pitch_deg: float = 7.0
    move_m: float = 10.0  # how far the tile's centre may lie from the camera, east and north
    colour: float = 1.0
    orientation_weight: float = 0.3
    smoothing: float = 0.1
    reach_m: float = 900.0  # a town is smaller, the next one farther
    apart_m: float = 25.0
    batch: int = 96
    steps: int = 2400
    lr: float = 2e-3
    weight_decay: float = 0.02
    warmup_steps: int = 150
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("elevation_deg", "widths", "blocks", "fov_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def bins(self) -> int:
        """Azimuth bins of a vector."""
        return int(self.width_px // 2 ** len(self.widths))


class Network(nn.Module):
    """Two encoders of one design: rows mean elevation in one and distance in the other."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        size = (config.height_px, config.width_px)
        self.ground = AzimuthEncoder(size, config.widths, config.blocks, config.depth)
        self.aerial = AzimuthEncoder(size, config.widths, config.blocks, config.depth)
        self.logit_scale = learned_scale()


def views(config: Config) -> Views:
    """A padded strip of equal angles, and the aerial window unrolled about its centre."""
    strip = ViewSpec(
        side="ground",
        height_px=config.height_px,
        width_px=config.width_px,
        elevation_deg=config.elevation_deg,
        representation="padded",
    )
    return Views(
        ground=strip,
        aerial=replace(strip, side="aerial", footprint_m=config.footprint_m, polar=True),
        azimuth_bins=config.bins,
        headings_seen="unknown",
        fov_seen_deg=(config.fov_deg[0], 360.0),
    )


def build(config: Config) -> nn.Module:
    """Both encoders from scratch, or from an earlier stage; never from pictures of Earth."""
    network = Network(config)
    return network if config.weights == "none" else fill_network(network, Path(config.weights))


def objective(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Which place, and which turn of it."""
    ground, aerial = model.ground(batch.ground), model.aerial(batch.aerial)
    with torch.autocast(ground.device.type, enabled=False):
        seen = visible_bins(batch.fov_deg, config.bins)
        scores = turn_scores(ground.float(), aerial.float(), seen)
        place, turn = turning_info_nce(
            scores, batch.heading_deg, model.logit_scale, config.smoothing
        )
    return {"place": place, "turn": config.orientation_weight * turn}


def visible_bins(fov_deg: Tensor, bins: int) -> Tensor:
    """Share of each bin [B, bins] that a picture of ``fov_deg`` [B] about the middle sees."""
    return torch.from_numpy(compute_bin_coverage(fov_deg.cpu().numpy(), bins)).to(fov_deg.device)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Every batch from one town, because a search happens within one."""
    return draw_regional_batches(table, config.batch, config.reach_m, config.apart_m, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Mirror both; turn the panorama, perhaps keep a photo's part of it; move the tile.

    A photo is neither turned nor cut. Where the heading is unknown it stays unknown.
    """
    ground, aerial, photo = pair.ground, pair.aerial, pair.fov_deg < 360.0
    mirror = rng.random() < 0.5
    if mirror:
        ground, aerial = mirror_pair(ground, aerial)
    aerial = np.ascontiguousarray(np.rot90(aerial, turn := int(rng.integers(4))))
    columns = 0 if photo else int(rng.integers(config.width_px))
    ground = np.roll(ground, -columns, axis=1)
    heading = pair.heading_deg * (-1.0 if mirror else 1.0) if photo else 0.0 * pair.heading_deg
    heading += 360.0 * columns / config.width_px - 90.0 * turn  # the tile's turn turns every one
    ground, fov = augment_photometric(ground, rng, config.colour), pair.fov_deg
    if not photo and rng.random() >= config.panoramas:
        fov = float(np.exp(rng.uniform(*np.log(config.fov_deg))))
        pitch = float(rng.uniform(-config.pitch_deg, config.pitch_deg))
        aspect = float(rng.choice((4 / 3, 3 / 2, 16 / 9, 3 / 4, 1.0)))
        told = bool(rng.random() >= 0.5)
        spec = views(config).ground
        ground = crop_as_photo(ground, spec, fov, aspect, pitch_deg=pitch, horizon_known=told)
    room = count_spare_px(aerial, pair.metres_per_px, config.footprint_m)
    reach = np.minimum(room / 2, config.move_m / pair.metres_per_px)
    aerial = augment_photometric(
        cut_window(aerial, room, rng.uniform(-reach, reach)), rng, config.colour
    )
    return replace(pair, ground=ground, aerial=aerial, fov_deg=fov, heading_deg=heading)
