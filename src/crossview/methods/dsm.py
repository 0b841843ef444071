"""DSM: joint location and orientation estimation by cross-view matching (Shi et al., CVPR 2020).

arXiv 2005.03860. Written from the paper and figures; the authors' code
(shiyujiao/cross_view_localization_DSM, TensorFlow 1) has no licence and was not used, and no list
of its tensors is known, so nothing of it can be imported. [C]: a constant of that code. Deviations,
all listed with what they change in ``docs/methods/dsm.md``: torchvision's VGG16 weights with their
normalisation; the rate ends in half a cosine (theirs is constant); the diagonal does not count in
the loss; a view that is no whole number of bins is compared by shares of its outer bins; the index
takes the turn of the highest cosine, where the paper takes that of the highest correlation and
computes the cosine there. Numbers are not checked against the original network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.networks import azimuth, backbones, layout_masks, losses, weight_files
from crossview.networks.samplers import draw_batches, draw_regional_batches
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.crops import compute_bin_coverage, crop_view
from crossview.views.spec import ViewSpec

VGG = "vgg16.tv_in1k"  # timm's name
CONVS = (2, 2, 3, 3)  # of VGG16's first four blocks; between blocks there is a pooling
DROPPED = sum(CONVS[:3])  # convolutions from here on, conv4, have dropout [C]
POOLED = (2, 4, 7)  # convolutions with a pooling behind them
STRIDE = 8  # columns of a bin: three poolings
ROWS = 4 * STRIDE  # of a row of the map: the head halves twice more, rows only
MEASURED = 2  # batches that a random start is scaled by
APART_M = 25.0  # as compass: nearer places are no negatives, in batches of one region
TURNS = ("correlation", "cosine")


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA with unknown headings and all 360 degrees; ``--recipe`` has those of the field."""

    weights: str = "hub"  # ImageNet-1k; "none", a file of VGG16, or an earlier run's to go on from
    widths: tuple[int, ...] = (64, 128, 256, 512)  # channels of VGG16's first four blocks
    head: tuple[int, ...] = (256, 64, 16)  # of the three convolutions after conv4_3 [C]
    frozen: int = 7  # first convolutions that keep their pretrained weights [C]
    dropout: float = 0.2  # after each convolution of conv4 [C]
    ground_px: tuple[int, int] = (128, 512)  # height, width of 360 degrees [C]
    aerial_px: tuple[int, int] = (128, 512)  # unrolled [C]
    fov_deg: float = 360.0  # that pictures show: the paper trains 360, 180, 90 and 70 each alone
    headings: str = "unknown"  # or aligned: north in the middle, as the table of panoramas
    turn: str = "correlation"  # whose highest chooses the turn (section 3.3); ours: cosine
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole; not in the paper
    alpha: float = 10.0  # of the triplet loss [C]
    batch: int = 32  # [C]
    reach_m: float = 0.0  # ours: all of a batch lie within so far; 0: random places, as [C]
    epochs: float = 100.0  # [C]
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-5  # Adam [C]
    weight_decay: float = 0.0
    amp: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("widths", "head", "ground_px", "aerial_px", "elevation_deg"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        height, width = self.ground_px
        require(
            self.ground_px == self.aerial_px and height % ROWS == 0 and width % (2 * STRIDE) == 0,
            f"ground_px and aerial_px must be equal, multiples of {ROWS} high and of {2 * STRIDE} "
            f"wide, got {self.ground_px} and {self.aerial_px}.",
        )
        require(0.0 < self.fov_deg <= 360.0, f"fov_deg must lie in (0, 360], got {self.fov_deg}.")
        require(
            self.headings in ("unknown", "aligned"),
            f"headings must be unknown or aligned, got {self.headings!r}.",
        )
        require(self.turn in TURNS, f"turn must be correlation or cosine, got {self.turn!r}.")
        require(
            len(self.widths) == len(CONVS) and len(self.head) == 3,
            f"widths needs {len(CONVS)} numbers and head 3, got {self.widths} and {self.head}.",
        )

    @property
    def bins(self) -> int:
        """Azimuth bins of 360 degrees."""
        return self.ground_px[1] // STRIDE


class Conv(nn.Conv2d):
    """3 x 3, rows padded as TensorFlow's SAME, columns by the other end of the ring or by zeros."""

    def __init__(self, inputs: int, outputs: int, *, rows: int = 1, ring: bool = False) -> None:
        super().__init__(inputs, outputs, 3, stride=(rows, 1))
        self.ring = ring

    def reset_parameters(self) -> None:
        """He's numbers: without norms, PyTorch's own would fade over thirteen layers."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """[B, C, H, W] -> [B, C', H / rows, W]; H is a multiple of rows."""
        around = azimuth.wrap_columns(input) if self.ring else F.pad(input, (1, 1))
        before = 1 if self.stride[0] == 1 else 0
        return super().forward(F.pad(around, (0, 0, before, 1)))


class Branch(nn.Module):
    """[B, 3, H, W] -> unit [B, bins * depth]: VGG16 up to conv4_3, and three convolutions more.

    ``ring``: all 360 degrees, whose columns go on at the other end (the unrolled aerial view [C]).
    Else the columns of a field of view, which go into the middle bins; the others are zero.
    """

    def __init__(self, config: Config, *, ring: bool) -> None:
        super().__init__()
        self.ring, self.bins, self.width = ring, config.bins, config.ground_px[1]
        outputs = [w for w, count in zip(config.widths, CONVS, strict=True) for _ in range(count)]
        inputs = [3, *outputs[:-1]]
        self.convs = nn.ModuleList(
            Conv(one, other, ring=ring) for one, other in zip(inputs, outputs, strict=True)
        )
        channels = (outputs[-1], *config.head)
        self.head = nn.ModuleList(
            Conv(channels[n], channels[n + 1], rows=rows, ring=ring)
            for n, rows in enumerate((2, 2, 1))
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors, block j of bin j."""
        half, columns = self.bins // 2, images.shape[3]
        if not self.ring:
            left, right = (columns + 1) // 2, columns // 2  # of the middle of the canvas
            half = (left + STRIDE - 1) // STRIDE
            images = F.pad(images, (half * STRIDE - left, half * STRIDE - right))
        maps = images
        for n, conv in enumerate(self.convs):
            maps = self._finish(n, conv(maps))
        for n, conv in enumerate(self.head):
            maps = conv(maps) if n == len(self.head) - 1 else F.relu(conv(maps))
        blocks = maps.flatten(1, 2)  # [B, channels * rows, columns / 8]
        if not self.ring:
            blocks = F.pad(blocks, (self.bins // 2 - half, self.bins // 2 - half))
            blocks = blocks.reshape(blocks.shape[0], blocks.shape[1], self.bins)
        return azimuth.as_unit_vectors(blocks, equal=False)

    def _finish(self, number: int, maps: Tensor) -> Tensor:
        """What follows a convolution of VGG: ReLU, and dropout or a pooling."""
        maps = F.relu(maps)
        if number >= DROPPED:
            maps = self.dropout(maps)
        return F.max_pool2d(maps, 2) if number + 1 in POOLED else maps

    def measure(self, images: Tensor) -> None:
        """Give every channel of every layer mean 0 and deviation 1 over ``images``, in order."""
        maps = images
        for n, conv in enumerate([*self.convs, *self.head]):
            given = conv(maps)
            deviation = given.std(dim=(0, 2, 3)).clamp_min(1e-6)
            conv.weight.div_(deviation[:, None, None, None])
            conv.bias.copy_((conv.bias - given.mean(dim=(0, 2, 3))) / deviation)
            maps = conv(maps)
            maps = self._finish(n, maps) if n < len(self.convs) else F.relu(maps)


class SlidingNetwork(nn.Module):
    """Two branches that share nothing."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ground, self.aerial = Branch(config, ring=False), Branch(config, ring=True)


def views(config: Config) -> Views:
    """A sector of ``fov_deg``, and the aerial window unrolled about its centre."""
    strip = ViewSpec(
        side="ground",
        height_px=config.ground_px[0],
        width_px=config.ground_px[1],
        elevation_deg=None if config.whole else config.elevation_deg,
        resize="linear-antialias",
        whole=config.whole,
    )
    footprint_m = None if config.whole else config.footprint_m
    return Views(
        ground=strip,
        aerial=replace(strip, side="aerial", footprint_m=footprint_m, polar=True),
        azimuth_bins=config.bins,
        headings_seen=config.headings,
        fov_seen_deg=(config.fov_deg, config.fov_deg),
    )


def build(config: Config) -> SlidingNetwork:
    """The network; the first ten convolutions of both branches start as VGG16's.

    From an earlier run of this page, all of it.
    """
    network = SlidingNetwork(config)
    if config.weights == backbones.RANDOM:
        return network
    if config.weights != backbones.PRETRAINED:
        path = Path(config.weights)
        if set(network.state_dict()) <= set(weight_files.read_weights(path).tensors):
            weight_files.fill_network(network, path)
            return network
    require(
        config.widths == Config.widths,
        f"weights of VGG16 have the widths {Config.widths}, got {config.widths}.\n"
        "Give --no-pretrained to start a smaller network from random numbers.",
    )
    trained: Any = backbones.backbone(VGG, config.weights)
    layers = [layer for layer in trained.features if isinstance(layer, nn.Conv2d)]
    for branch in (network.ground, network.aerial):
        for conv, layer in zip(branch.convs, layers, strict=False):
            conv.load_state_dict(layer.state_dict())
    return network


def measure(model: SlidingNetwork, batches: Iterator[Batch]) -> None:
    """Let a network of random numbers alone begin with channels of mean 0 and deviation 1.

    Ours, because without it all pictures look alike to a VGG without norms, and the loss stays at
    ln 2 (data-dependent initialisation: Krähenbühl et al., ICLR 2016). Pretrained biases are not 0.
    """
    biases = (value for name, value in model.named_parameters() if name.endswith("bias"))
    if any(bool(bias.any()) for bias in biases):
        return
    seen = list(itertools.islice(batches, MEASURED))
    model.eval()
    with torch.no_grad():
        model.ground.measure(torch.cat([batch.ground for batch in seen]))
        model.aerial.measure(torch.cat([batch.aerial for batch in seen]))
    model.train()


def rate(name: str, config: Config) -> float:
    """The share of the learning rate of a parameter: 0 of the frozen ones, if pretrained."""
    _, kind, number, *_ = name.split(".")
    keeps = config.weights != backbones.RANDOM and kind == "convs" and int(number) < config.frozen
    return 0.0 if keeps else 1.0


def encode(model: SlidingNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """Vectors [B, D] of both views, and the bins that the ground pictures show [B, bins]."""
    seen = compute_bin_coverage(batch.fov_deg.cpu().numpy(), config.bins)
    return {
        "ground": model.ground(batch.ground),
        "aerial": model.aerial(batch.aerial),
        "seen": torch.from_numpy(seen).to(batch.ground.device),
    }


def contrast(
    model: SlidingNetwork, vectors: dict[str, Tensor], config: Config
) -> dict[str, Tensor]:
    """All triplets of the batch, each pair at its own turn (section 3.4)."""
    pair, seen = (vectors["ground"], vectors["aerial"]), vectors["seen"].detach()
    distance, _ = measure_turned_distances(*pair, seen, config.turn)
    return {"triplet": losses.soft_margin_of_distances(distance.T, config.alpha)}


def objective(model: SlidingNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of :func:`contrast` over the vectors of :func:`encode`."""
    return contrast(model, encode(model, batch, config), config)


def measure_turned_distances(
    ground: Tensor, aerial: Tensor, seen: Tensor, turn: str = "correlation"
) -> tuple[Tensor, Tensor]:
    """Distances [B, C] in [0, 4] of all pairs, and the turns [B, C] that they were measured at.

    ``ground`` [B, D], ``aerial`` [C, D], ``seen`` [B, bins] the share of each bin that a ground
    picture shows. The turn of a pair is that of the highest correlation; there the aerial map is
    cropped to the seen bins and brought to length 1, and d = 2 - 2 cosine (section 3.3). No
    gradient goes through the choice. ``turn`` "cosine": the turn of the highest cosine instead,
    which is the score of an index (``index.similarity``).
    """
    with losses.without_autocast(ground):
        ground, aerial, seen = (losses.at_least_float32(v) for v in (ground, aerial, seen))
        blocks, others = (v.reshape(len(v), seen.shape[1], -1) for v in (ground, aerial))
        shown = seen.to(blocks.dtype)[..., None]
        products = azimuth.correlate_turns(shown * blocks, others)
        own = (shown * blocks.square()).sum(dim=(1, 2))
        energy = azimuth.correlate_turns(shown, others.square().sum(dim=2, keepdim=True))
        cosines = products / (own[:, None, None] * energy).clamp_min(1e-12).sqrt()
        ruling = products if turn == "correlation" else cosines
        turns = ruling.detach().argmax(dim=2)
        chosen = cosines.gather(2, turns[..., None]).squeeze(2)
        return 2.0 - 2.0 * chosen, turns


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places; of one region each where the Config says how far it reaches."""
    if config.reach_m > 0.0:
        return draw_regional_batches(table, config.batch, config.reach_m, APART_M, generator)
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """A sector of ``fov_deg``, at a random heading where headings are unknown (section 4).

    A photo keeps its middle, and is not turned.
    """
    ahead = float(rng.uniform(-180.0, 180.0)) if config.headings == "unknown" else 0.0
    seen = crop_view(pair.ground, views(config).ground, config.fov_deg, ahead, has_deg=pair.fov_deg)
    heading = pair.heading_deg + seen.heading_deg
    return replace(pair, ground=seen.pixels, fov_deg=seen.fov_deg, heading_deg=heading)


def check(table: PairTable, config: Config) -> None:
    """Cameras in the middle of their aerial pictures, and no photo that shows less than asked."""
    framed_m = table.framing.footprint_m if config.whole else None
    layout_masks.require_centred(
        table,
        framed_m or config.footprint_m,
        "dsm unrolls aerial pictures about the camera",
        "Train vigor-offset, which is made for such tiles.",
    )
    shown = table.fov_deg[table.perspective]
    if (shown < config.fov_deg).any():
        raise InvalidValue(
            f"dsm is trained at one field of view, fov_deg={config.fov_deg:g}, and photos of this "
            f"data show {np.nanmin(shown):g} degrees.\n"
            "Give --config fov_deg= that of the narrowest, or leave these photos out."
        )


RECIPES = {
    "cvusa": {"whole": True, "headings": "aligned"},
    "cvusa-360": {"whole": True},
    "cvusa-180": {"whole": True, "fov_deg": 180.0},
    "cvusa-90": {"whole": True, "fov_deg": 90.0},
    "cvusa-70": {"whole": True, "fov_deg": 70.0},
    "cvact": {"whole": True, "headings": "aligned"},
    "cvact-360": {"whole": True},
    "cvact-180": {"whole": True, "fov_deg": 180.0},
    "cvact-90": {"whole": True, "fov_deg": 90.0},
    "cvact-70": {"whole": True, "fov_deg": 70.0},
}
REPRODUCES = {
    "cvusa": ("DSM: polar",),
    "cvact": ("DSM: polar",),
    "cvusa-360": ("DSM @360",),
    "cvusa-180": ("DSM @180",),
    "cvusa-90": ("DSM @90",),
    "cvusa-70": ("DSM @70",),
}
