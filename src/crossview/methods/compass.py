"""Compass: the network that crossview ships, for its embedded world and for places on Earth.

Ours; no paper. It takes from DSM (Shi et al., CVPR 2020) the unrolled aerial view, circular
convolutions and the search over turns, from Sample4Geo (Deuser et al., ICCV 2023) the symmetric
InfoNCE with label smoothing and a learned scale, and from ConGeo (Mi et al., ECCV 2024) the
training on crops of unknown heading. One vector per tile serves every field of view.

Each side has a small encoder of our own, or the middle layers of EfficientNet-Lite0 (ImageNet),
whose features are centred and whitened side by side, or both, block by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crossview.errors import require
from crossview.networks.azimuth import (
    PACKAGE,
    AzimuthEncoder,
    JointEncoder,
    TrunkEncoder,
    fill_trunk,
    whiten,
)
from crossview.networks.losses import at_least_float32, learned_scale, turn_scores, turning_info_nce
from crossview.networks.samplers import draw_mixed_batches
from crossview.networks.weight_files import fill_network, read_weights
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.colour import augment_photometric
from crossview.views.crops import (
    compute_bin_coverage,
    count_spare_px,
    crop_as_photo,
    cut_window,
    turn_quarters,
)
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import mirror_pair

ENCODERS = ("small", "trunk", "both")
MEASURED = 512  # pairs at least, whose pictures the whitening is measured on


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
    weights: str = "none"  # or a run's model.safetensors, or a model folder, to go on from
    encoders: str = "small"  # trunk: the pretrained one instead; both: block by block
    equal_bins: bool = False  # every block of a vector has the same length
    trunk_weights: str = PACKAGE  # or a file of EfficientNet-Lite0, or none
    trunk_rate: float = 0.0  # of ``lr``, for the trunk; 0: frozen
    trunk_blocks: int = 5  # of seven; 3: stride 8, 5: stride 16
    trunk_rows: int = 6  # groups of rows that stay apart
    whitened: int = 128  # numbers per bin of the trunk, centred and uncorrelated
    hidden: int = 256  # channels of the trunk's head; 0: no head, its vector is the whitened one
    panoramas: float = 0.4  # share of training pictures that keep all 360 degrees
    fov_deg: tuple[float, float] = (45.0, 180.0)  # of the others, log-uniform
    pitch_deg: float = 7.0
    move_m: float = 10.0  # how far the tile's centre may lie from the camera, east and north
    rescale: float = 0.0  # how much larger or smaller a tile may seem than it is, as a share
    colour: float = 1.0
    orientation_weight: float = 0.3
    smoothing: float = 0.1
    parts: int = 1  # lists of pairs that share every batch; each is contrasted within itself
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
        require(
            self.encoders in ENCODERS,
            f"encoders must be one of {', '.join(ENCODERS)}, got {self.encoders!r}.",
        )
        require(
            1 <= self.parts <= self.batch // 2 and self.batch % self.parts == 0,
            f"parts must divide batch ({self.batch}) and leave at least 2 pairs, got {self.parts}.",
        )
        require(
            0.0 <= self.trunk_rate <= 1.0, f"trunk_rate must lie in 0..1, got {self.trunk_rate}."
        )

    @property
    def bins(self) -> int:
        """Azimuth bins of a vector; beside a trunk the small encoder sees half the columns."""
        halvings = len(self.widths) + (self.encoders != "small")
        return int(self.width_px // 2**halvings)


class Network(nn.Module):
    """Two encoders of one design: rows mean elevation in one and distance in the other."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ground = make_encoder(config)
        self.aerial = make_encoder(config)
        self.logit_scale = learned_scale()


def make_encoder(config: Config) -> AzimuthEncoder | TrunkEncoder | JointEncoder:
    """One side's encoder with random weights."""
    size, halves = (config.height_px, config.width_px), config.encoders == "both"
    if config.encoders != "trunk":
        seen = (size[0] // 2, size[1] // 2) if halves else size
        small = AzimuthEncoder(seen, config.widths, config.blocks, config.depth, config.equal_bins)
        if not halves:
            return small
    trunk = TrunkEncoder(
        size,
        blocks=config.trunk_blocks,
        rows=config.trunk_rows,
        bins=config.bins,
        whitened=config.whitened,
        hidden=config.hidden,
        depth=config.depth,
        equal_bins=config.equal_bins,
    )
    return JointEncoder(small, trunk, config.bins) if halves else trunk


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
        equal_bins=config.equal_bins,
    )


def build(config: Config) -> nn.Module:
    """Encoders from scratch, from a pretrained trunk, or from an earlier stage."""
    network = Network(config)
    if config.trunk_weights != "none":
        for trunk in list_trunks(network):
            fill_trunk(trunk, config.trunk_weights)
    return network if config.weights == "none" else go_on(network, Path(config.weights))


def list_trunks(network: Network) -> list[TrunkEncoder]:
    """The trunk of the ground side and that of the aerial side; none where there are no trunks."""
    return [part for part in network.modules() if isinstance(part, TrunkEncoder)]


def go_on(network: Network, path: Path) -> nn.Module:
    """The network with the weights of an earlier stage.

    A network of both encoders may go on from small ones; a model folder has no learned scale.
    """
    names = set(read_weights(path).tensors)
    sides: dict[str, nn.Module] = {"ground": network.ground, "aerial": network.aerial}
    if isinstance(network.ground, JointEncoder) and "ground.small.mix.conv.weight" not in names:
        sides = {side: encoder.small for side, encoder in sides.items()}  # type: ignore[misc]
        fill_network(nn.ModuleDict(sides), path)
        return network
    if "logit_scale" not in names:
        fill_network(nn.ModuleDict(sides), path)
        return network
    return fill_network(network, path)


def measure(model: Network, batches: Iterator[Batch]) -> None:
    """Centre and whiten a fresh trunk by the first pictures of a training, as they are."""
    trunks = list_trunks(model)
    if not trunks or trunks[0].whitening.is_measured:
        return
    taken = 0
    pictures = []
    for batch in batches:
        pictures.append((batch.ground, batch.aerial))
        taken += len(batch)
        if taken >= MEASURED:
            break
    model.eval()
    whiten(trunks[0], trunks[1], pictures)
    model.train()


def rate(name: str, config: Config) -> float:
    """The share of the learning rate at which a parameter is trained; 0: frozen."""
    return config.trunk_rate if ".lite." in name else 1.0


def encode(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views; the bins that are seen [B, bins], and headings [B]."""
    seen = visible_bins(batch.fov_deg, config.bins)  # before the device is busy
    return {
        "ground": model.ground(batch.ground),
        "aerial": model.aerial(batch.aerial),
        "seen": seen,
        "heading_deg": batch.heading_deg,
    }


def contrast(model: Network, vectors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Which place, and which turn of it; of pairs of several lists, within each list."""
    ground, aerial = vectors["ground"], vectors["aerial"]
    seen, heading_deg = vectors["seen"].detach(), vectors["heading_deg"].detach()
    with torch.autocast(ground.device.type, enabled=False):
        sums = torch.zeros(2, device=ground.device)
        for part in torch.arange(len(ground)).chunk(config.parts):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            pair = (at_least_float32(ground[rows]), at_least_float32(aerial[rows]))
            scores = turn_scores(*pair, seen[rows].to(pair[0]))
            sums = sums + torch.stack(
                turning_info_nce(scores, heading_deg[rows], model.logit_scale, config.smoothing)
            )
        place, turn = sums / config.parts
    return {"place": place, "turn": config.orientation_weight * turn}


def objective(model: Network, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def visible_bins(fov_deg: Tensor, bins: int) -> Tensor:
    """Share of each bin [B, bins] that a picture of ``fov_deg`` [B] about the middle sees."""
    return torch.from_numpy(compute_bin_coverage(fov_deg.cpu().numpy(), bins)).to(fov_deg.device)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Every batch from one region of each list, because a search happens within one."""
    return draw_mixed_batches(table, config.batch, config.reach_m, config.apart_m, generator)


def check(table: PairTable, config: Config) -> None:
    """As many lists of pairs as ``parts`` says."""
    count = len(table.list_parts())
    require(
        count == config.parts,
        f"the training pairs come from {count} lists, but parts is {config.parts}.\n"
        f"Give --config parts={count}, or another number of --data.",
    )


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Mirror both; turn the panorama, perhaps keep a photo's part of it; move the tile.

    A photo is neither turned nor cut. Where the heading is unknown it stays unknown.
    """
    ground, aerial, photo = pair.ground, pair.aerial, pair.fov_deg < 360.0
    mirror = rng.random() < 0.5
    if mirror:
        ground, aerial = mirror_pair(ground, aerial)
    aerial = turn_quarters(aerial, turn := int(rng.integers(4)))
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
    scale = pair.metres_per_px
    if config.rescale:
        low = config.footprint_m / (min(aerial.shape[:2]) * scale)  # of the whole tile
        scale *= max(float(np.exp(rng.uniform(-1, 1) * np.log1p(config.rescale))), min(low, 1.0))
    room = count_spare_px(aerial, scale, config.footprint_m)
    reach = np.minimum(room / 2, config.move_m / scale)
    aerial = augment_photometric(
        cut_window(aerial, room, rng.uniform(-reach, reach)), rng, config.colour
    )
    return replace(
        pair, ground=ground, aerial=aerial, fov_deg=fov, heading_deg=heading, metres_per_px=scale
    )


RECIPES = {
    "earth": {
        "encoders": "both",
        "equal_bins": True,
        "height_px": 96,
        "width_px": 480,
        "trunk_rate": 0.1,
        "parts": 2,
        "batch": 128,
        "steps": 3000,
        "lr": 0.0006,
        "warmup_steps": 60,
        "ema_decay": 0.995,
        "smoothing": 0.05,
        "panoramas": 0.3,
        "fov_deg": (45, 180),
        "move_m": 6.0,
        "colour": 1.5,
    },
}
