"""OriCNN: lending orientation to neural networks, pixel by pixel (Liu and Li, CVPR 2019).

arXiv 1903.12351: two channels beside a picture's colours say in which direction each pixel looks.
Written from what is known of the paper and from facts of the released code (Liumouliu/OriCNN,
TensorFlow 1, MIT), of which no line was taken over. [C]: a constant of that code.

Not found, and so a setting: at which distance the radius of the aerial map is 1 (``radius``; the
released maps are MATLAB files), and how scheme II, which is not in the code, brings the maps to
every layer (here anew at the layer's grid). Sign and zero of the angles are ours. Deviations: batch
norms use running statistics at test time (theirs those of the test batch); no black line where a
window is turned; the rate ends in half a cosine (theirs is constant); bfloat16 where it is fast;
the last step's weights are kept. Numbers are not checked against the original network; more in
``docs/methods/oricnn.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.networks import layout_masks
from crossview.networks.losses import (
    at_least_float32,
    find_negatives,
    soft_margin_triplet,
    without_autocast,
)
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.aerial import draw_middle, make_turned_view
from crossview.views.spec import HALF
from crossview.views.symmetry import roll_ground

MAPS = 2  # channels of a view's orientation
LEVELS = 3  # of the pooling: the last layers [C]
SLOPE = 0.2  # of the leaky ReLU [C]
NORM_EPS, INITIAL_STD = 1e-5, 0.02  # [C]
LEAST = 1e-6  # of what is raised to a power [C]
MakeMaps = Callable[[int, int], Tensor]  # rows, columns -> [B, MAPS, rows, columns]


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA; ``--recipe`` has CVACT, too."""

    scheme: int = 1  # the maps reach the first layer alone [C]; 2: every layer, as in the paper
    orientation: bool = True  # False: colours alone, the paper's baseline
    radius: str = "corner"  # of the window, where its map is 1; or edge
    widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)  # [C]
    power: float = 3.0  # of the generalised mean, not learned [C]
    ground_px: tuple[int, int] = (224, 1232)  # height, width [C]
    aerial_px: tuple[int, int] = (512, 512)  # [C]
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    mapped_deg: tuple[float, float] = (-32.7, 32.7)  # of their maps, if whole; CVACT -45, 45 [C]
    footprint_m: float = 176.0  # of aerial windows, unless whole: CVUSA's
    alpha: float = 10.0  # of the triplet loss [C]
    negatives_from_m: float = 0.0  # nearer places are no negatives; CVACT 25 [C]
    shift: bool = True  # panoramas, with their maps, at random [C]
    crop: float = 512 / 750  # least share of the window's side that is shown [C]; 1: all of it
    turn: float = 0.6  # how often a window is turned by one of three quarters [C]
    batch: int = 12  # [C]
    epochs: float = 100.0  # [C]
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-5  # Adam [C]
    weight_decay: float = 0.0
    amp: bool = True
    seed: int = 1

    polar = False  # no setting: the aerial map holds the polar coordinates

    def __post_init__(self) -> None:
        for name in ("widths", "ground_px", "aerial_px", "elevation_deg", "mapped_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        require(self.scheme in (1, 2), f"scheme must be 1 or 2, got {self.scheme}.")
        require(
            self.radius in ("corner", "edge"),
            f"radius must be corner or edge, got {self.radius!r}.",
        )
        require(
            len(self.widths) >= LEVELS,
            f"widths needs at least {LEVELS} layers, which are pooled, got {self.widths}.",
        )
        require(self.power > 0.0, f"power must be above 0, got {self.power}.")
        require(
            self.negatives_from_m >= 0.0,
            f"negatives_from_m must be at least 0, got {self.negatives_from_m}.",
        )
        require(0.0 < self.crop <= 1.0, f"crop is a share in (0, 1], got {self.crop}.")
        require(0.0 <= self.turn <= 1.0, f"turn is a probability, got {self.turn}.")


def make_ground_maps(
    size: tuple[int, int], elevation_deg: tuple[float, float], ahead_deg: Tensor
) -> Tensor:
    """[B, 2, rows, columns]: azimuth / 180 in [-1, 1) and elevation / 180 of each pixel's middle.

    ``ahead_deg`` [B]: azimuth of the middle column, clockwise from north. Up is positive.
    """
    (rows, columns), (bottom, top) = size, elevation_deg
    along, down = (_middles(count, ahead_deg) for count in (columns, rows))
    azimuth = ahead_deg[:, None, None] / 180.0 + along
    elevation = ((top + bottom) - (top - bottom) * down) / 360.0
    return _stack(_wrap(azimuth), elevation[:, None], (len(ahead_deg), rows, columns))


def make_aerial_maps(size: tuple[int, int], reach: float, up_deg: Tensor, share: Tensor) -> Tensor:
    """[B, 2, rows, columns]: azimuth / 180 in [-1, 1) about the middle, and radius in [-1, 1].

    ``up_deg`` [B]: what bearing is up in the window, of which the middle ``share`` [B] is shown.
    ``reach``: the radius, in halves of the whole window's side, that is 1; the middle is -1.
    """
    rows, columns = size
    right = _middles(columns, up_deg) * share[:, None]
    down = _middles(rows, up_deg) * share[:, None]
    right, down = right[:, None, :].expand(-1, rows, -1), down[:, :, None].expand(-1, -1, columns)
    azimuth = torch.atan2(right, -down) / torch.pi + up_deg[:, None, None] / 180.0
    radius = 2.0 * (right.square() + down.square()).sqrt() / reach - 1.0
    return torch.stack([_wrap(azimuth), radius], dim=1)


def _middles(count: int, like: Tensor) -> Tensor:
    """Middles of ``count`` pixels between -1 and 1."""
    return (2.0 * torch.arange(count, dtype=like.dtype, device=like.device) + 1.0) / count - 1.0


def _wrap(halves: Tensor) -> Tensor:
    """Half turns in [-1, 1)."""
    return torch.remainder(halves + 1.0, 2.0) - 1.0


def _stack(one: Tensor, other: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.stack([one.expand(size), other.expand(size)], dim=1)


class OrientedEncoder(nn.Module):
    """[B, 3, H, W] and maps -> unit [B, sum of the last widths]: layers of stride 2, then pooled.

    Padding is TensorFlow's SAME: a layer's map has half the rows and columns, rounded up.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.power = config.power
        told = MAPS if config.orientation else 0
        self.told = [told] + [told if config.scheme == 2 else 0] * (len(config.widths) - 1)
        given = [n + more for n, more in zip((3, *config.widths), self.told, strict=False)]
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for number, width in enumerate(config.widths):
            conv = nn.Conv2d(given[number], width, 4, stride=2)
            nn.init.normal_(conv.weight, std=INITIAL_STD)
            self.convs.append(conv)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            if number:
                norm = nn.BatchNorm2d(width, eps=NORM_EPS)
                nn.init.normal_(norm.weight, mean=1.0, std=INITIAL_STD)
                self.norms.append(norm)

    def forward(self, images: Tensor, make_maps: MakeMaps) -> Tensor:
        """See the class."""
        levels, values = [], images
        for number, (conv, told) in enumerate(zip(self.convs, self.told, strict=True)):
            rows, columns = values.shape[2:]
            if told:
                values = torch.cat([values, make_maps(rows, columns).to(values.dtype)], dim=1)
            values = conv(F.pad(values, (1, 1 + columns % 2, 1, 1 + rows % 2)))
            values = self.norms[number - 1](values) if number else values
            levels.append(values)
            values = F.leaky_relu(values, SLOPE)
        return pool_levels(levels[-LEVELS:], self.power)


def pool_levels(levels: list[Tensor], power: float) -> Tensor:
    """Maps [B, C, h, w], the last the smallest -> unit [B, sum of C]: generalised means (GeM).

    All are sampled at the middles of the last map's pixels, linearly, and cut off below at LEAST.
    (mean of x^p)^(1/p) over positions; p = 1 is the mean, a large p the maximum (Radenović et al.,
    TPAMI 2019).
    """
    with without_autocast(levels[-1]):
        size = (int(levels[-1].shape[2]), int(levels[-1].shape[3]))
        sampled = [
            F.interpolate(at_least_float32(level), size=size, mode="bilinear", align_corners=False)
            for level in levels
        ]
        raised = torch.cat(sampled, dim=1).clamp_min(LEAST) ** power
        return F.normalize(raised.mean(dim=(2, 3)) ** (1.0 / power), dim=1)


class GroundBranch(nn.Module):
    """Panoramas with their maps; north is in the middle unless something else is told."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = OrientedEncoder(config)
        self.elevation_deg = config.mapped_deg if config.whole else config.elevation_deg

    def forward(self, images: Tensor, ahead_deg: Tensor | None = None) -> Tensor:
        """[B, 3, H, W], and [B] azimuths of the middle columns -> unit [B, D]."""
        ahead = images.new_zeros(1) if ahead_deg is None else ahead_deg

        def maps(rows: int, columns: int) -> Tensor:
            made = make_ground_maps((rows, columns), self.elevation_deg, ahead)
            return made.expand(images.shape[0], -1, -1, -1)

        vectors: Tensor = self.encoder(images, maps)
        return vectors


class AerialBranch(nn.Module):
    """Windows with their maps; whole and north up unless something else is told."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = OrientedEncoder(config)
        self.reach = 2.0**0.5 if config.radius == "corner" else 1.0

    def forward(
        self, images: Tensor, up_deg: Tensor | None = None, share: Tensor | None = None
    ) -> Tensor:
        """[B, 3, H, W], [B] bearings of up and [B] shares of the window -> unit [B, D]."""
        up = images.new_zeros(1) if up_deg is None else up_deg
        shown = torch.ones_like(up) if share is None else share

        def maps(rows: int, columns: int) -> Tensor:
            made = make_aerial_maps((rows, columns), self.reach, up, shown)
            return made.expand(images.shape[0], -1, -1, -1)

        vectors: Tensor = self.encoder(images, maps)
        return vectors


class OrientedNetwork(nn.Module):
    """Two branches that share nothing."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ground, self.aerial = GroundBranch(config), AerialBranch(config)


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows, north up; pixels between -1 and 1 [C]."""
    return layout_masks.make_aligned_views(config, mean=HALF, std=HALF)


def build(config: Config) -> OrientedNetwork:
    """The network, from random numbers: nothing of it is pretrained [C]."""
    return OrientedNetwork(config)


def encode(model: OrientedNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views, whose maps follow what ``augment`` did; distances of places."""
    told = batch.heading_deg.new_tensor([0.0, 1.0]) if batch.told is None else batch.told
    up_deg, share = told.expand(len(batch), 2).unbind(dim=1)
    encoded = {
        "ground": model.ground(batch.ground, batch.heading_deg + up_deg),
        "aerial": model.aerial(batch.aerial, up_deg, share),
    }
    if batch.apart_m is not None:
        encoded["apart_m"] = batch.apart_m
    return encoded


def contrast(
    model: OrientedNetwork, vectors: dict[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """All triplets of the batch, but for negatives nearer than ``negatives_from_m``.

    Places whose distance is not known are negatives.
    """
    wrong = find_negatives(vectors.get("apart_m"), config.negatives_from_m)
    pair = (vectors["ground"], vectors["aerial"])
    return {"triplet": soft_margin_triplet(*pair, config.alpha, wrong=wrong)}


def objective(model: OrientedNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Each view alone, its maps with it: the panorama shifted, the window cropped and turned [C].

    The objective is told what bearing is up then, and the share of the side that is shown.
    """
    width = pair.ground.shape[1]
    by_deg = float(rng.integers(width)) * 360.0 / width if config.shift else 0.0
    share = draw_middle(config.crop, rng)
    quarters = int(rng.integers(1, 4)) if rng.uniform() < config.turn else 0
    spec = views(config).aerial
    view = make_turned_view(pair.aerial, pair.metres_per_px, spec, quarters=quarters, share=share)
    return replace(
        pair,
        ground=roll_ground(pair.ground, by_deg),
        aerial=view,
        viewed=True,
        heading_deg=pair.heading_deg + by_deg - 90.0 * quarters,
        told=(90.0 * quarters, share),
    )


def check(table: PairTable, config: Config) -> None:
    """InvalidValue for pairs that cannot say which way a pixel looks.

    That takes the headings of all panoramas, and cameras in the middle of their windows.
    """
    if not config.orientation:
        return
    unknown = int((~np.isfinite(table.heading_deg)).sum())
    if unknown:
        raise InvalidValue(
            f"{unknown} of {len(table.heading_deg)} ground pictures have no heading, and their "
            "orientation maps cannot be made without.\n"
            "Leave them out, train without maps (--config orientation=false), or train dsm, which "
            "seeks the heading."
        )
    framed_m = table.framing.footprint_m if config.whole else None
    layout_masks.require_centred(
        table,
        framed_m or config.footprint_m,
        "the aerial map holds azimuths about the camera",
        "Train without maps (--config orientation=false), or vigor-offset, made for such tiles.",
    )


RECIPES = {
    "cvusa": {"whole": True},
    "cvusa-scheme2": {"whole": True, "scheme": 2},
    "cvact": {"whole": True, "mapped_deg": (-45.0, 45.0), "crop": 0.4267, "negatives_from_m": 25.0},
    "cvact-scheme2": {
        "whole": True,
        "mapped_deg": (-45.0, 45.0),
        "crop": 0.4267,
        "negatives_from_m": 25.0,
        "scheme": 2,
    },
}
REPRODUCES = {"cvusa": ("Liu & Li",), "cvact": ("Liu & Li",)}
