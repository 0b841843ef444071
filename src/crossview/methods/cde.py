"""CDE: coming down to Earth, satellite-to-street view synthesis (Toker et al., CVPR 2021).

A generator draws the street view from the unrolled aerial picture. What is compared with the real
street view is not the drawn one but the features in the generator's middle (arXiv 2103.06818).
Written from the paper's abstract and overview and from facts about the authors' released code
(aysim/comingdowntoearth, MIT), none of which is here. [C]: a constant of that code.

Not found: the paper's text and what it may say beyond the code, such as why the weights of losses
are what they are; they are settings. Deviations, all in ``docs/methods/cde.md``: files are resized
with antialiasing (theirs: cubic, or by area); the rate ends in half a cosine (theirs is constant);
CVACT's pairs nearer than 25 m take no places among the hardest triplets; bfloat16 where it is fast;
the last step's weights are kept (theirs: the best on the test pictures). Numbers are not checked
against the original network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.errors import InvalidValue, require
from crossview.networks import backbones, layout_masks
from crossview.networks.losses import at_least_float32, find_negatives, without_autocast
from crossview.networks.samplers import draw_batches
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.pairs.table import PairTable
from crossview.views.symmetry import mirror_pair

STRIDE = 8  # of both maps that are compared: three halvings
LEAST_PX = 32  # of a side, for the discriminator's last two layers
MIDDLE = (0.5, 0.5, 0.5)  # mean and deviation of pictures: from -1 to 1, as the drawn ones [C]
INITIAL_STD = 0.02  # of the generator's and discriminator's weights [C]
SETTLING = 15  # power iterations of a fresh convolution
LEAK = 0.1  # of the discriminator's leaky ReLU [C]
JUDGED = (1, 2, 4, 8)  # widths of its layers, in those of the first [C]


@dataclass(frozen=True, kw_only=True)
class Config:
    """CVUSA; ``--recipe`` has the published settings."""

    backbone: str = "resnet34.tv_in1k"  # of the street's branch: to layer3, without max-pool [C]
    weights: str = "hub"  # ImageNet-1k; "none" or a file
    widths: tuple[int, ...] = (32, 64, 128, 256)  # of the generator at 1, 1/2, 1/4, 1/8 size [C]
    blocks: int = 6  # residual blocks in its middle [C]
    judge: int = 64  # channels of the discriminator's first layer [C]
    ground_px: tuple[int, int] = (112, 616)  # height, width [C]
    aerial_px: tuple[int, int] = (112, 616)  # unrolled [C]
    whole: bool = False  # the files squashed to these sizes, as the authors do
    elevation_deg: tuple[float, float] = (-32.7, 32.7)  # of panoramas, unless whole
    footprint_m: float = 70.0  # of aerial windows, unless whole
    masks: int = 8  # of each side [C]
    reduce: str = "max"  # over channels [C]
    alpha: float = 10.0  # of the triplet loss [C]
    hard_shares: tuple[float, ...] = (1.0, 0.1, 0.05, 0.01)  # of all triplets: the hardest [C]
    hard_until: tuple[int, ...] = (20, 40, 60)  # last epoch, from 0, of each share but the last [C]
    negatives_from_m: float = 0.0  # nearer places are no negatives; CVACT 25 [C]
    real: float = 0.9  # what the discriminator is to say of real street views [C]
    reconstruction: float = 100.0  # weight of L1 between drawn and real [C]
    retrieval: float = 1000.0  # weight of the triplets in the generator's turn [C]
    mirror: float = 0.5  # probability [C]
    batch: int = 32  # [C]
    epochs: float = 200.0  # [C]
    steps: int = 0  # 0: epochs decide
    lr: float = 1e-4  # of all three optimisers, Adam [C]
    beta1: float = 0.5  # [C]
    weight_decay: float = 0.0  # [C]
    amp: bool = True
    seed: int = 1

    polar = True  # no setting: the drawn picture has the aerial one's columns

    def __post_init__(self) -> None:
        for name in ("widths", "ground_px", "aerial_px", "elevation_deg", "hard_shares"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "hard_until", tuple(self.hard_until))
        layout_masks.check_bank(self.masks, self.reduce)
        require(
            self.ground_px == self.aerial_px
            and all(side % STRIDE == 0 and side >= LEAST_PX for side in self.ground_px),
            f"ground_px and aerial_px must be equal, multiples of {STRIDE} and at least "
            f"{LEAST_PX}, because one is drawn from the other; got {self.ground_px} and "
            f"{self.aerial_px}.",
        )
        require(
            len(self.widths) == 4 and min(self.widths) >= 4,
            f"widths are 4 numbers of at least 4, got {self.widths}.",
        )
        require(self.blocks >= 1, f"blocks must be at least 1, got {self.blocks}.")
        require(self.judge >= 4, f"judge must be at least 4, got {self.judge}.")
        require(
            len(self.hard_shares) == len(self.hard_until) + 1
            and all(0.0 < share <= 1.0 for share in self.hard_shares)
            and list(self.hard_until) == sorted(self.hard_until),
            "hard_shares lie in (0, 1] and need one rising epoch fewer in hard_until, got "
            f"{self.hard_shares} and {self.hard_until}.",
        )
        require(0.0 < self.real <= 1.0, f"real must lie in (0, 1], got {self.real}.")
        require(0.0 <= self.mirror <= 1.0, f"mirror is a probability, got {self.mirror}.")
        for name in ("reconstruction", "retrieval", "negatives_from_m"):
            value = getattr(self, name)
            require(value >= 0.0, f"{name} must be at least 0, got {value}.")


def views(config: Config) -> Views:
    """Panoramas, north in the middle, and windows unrolled about the camera."""
    return layout_masks.make_aligned_views(config, mean=MIDDLE, std=MIDDLE)


class SpectralConv(nn.Conv2d):
    """A convolution whose weights [out, in * k * k] are divided by their largest singular value.

    Spectral normalisation (Miyato et al., ICLR 2018): the value is u W v, with u and v from one
    power iteration a call; in training the next call goes on from there. No gradient goes through
    u and v. ``reflects``: the picture is mirrored at its edges; else zeros, 1 wide for 4 x 4.
    """

    left: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        reflects: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(
            inputs,
            outputs,
            size,
            stride=stride,
            padding=(size - 1) // 2,
            padding_mode="reflect" if reflects and size > 1 else "zeros",
            bias=bias,
        )
        self.register_buffer("left", F.normalize(torch.randn(outputs), dim=0))
        with torch.no_grad():
            for _ in range(SETTLING):
                self.left.copy_(self._iterate(self.weight.flatten(1))[0])

    def reset_parameters(self) -> None:
        """Normal numbers [C]."""
        _draw_weights(self)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """[B, C, H, W] -> [B, C', H / stride, W / stride], rounded down."""
        with without_autocast(self.weight):
            matrix = at_least_float32(self.weight.flatten(1))
            with torch.no_grad():
                left, right = self._iterate(matrix)
                if self.training:
                    self.left.copy_(left)
            weight = self.weight / (left @ matrix @ right)
        maps: Tensor = self._conv_forward(input, weight, self.bias)
        return maps

    def _iterate(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        right = F.normalize(self.left.to(matrix.dtype) @ matrix, dim=0)
        return F.normalize(matrix @ right, dim=0), right


def _draw_weights(conv: nn.Conv2d) -> None:
    nn.init.normal_(conv.weight, std=INITIAL_STD)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


class Attention(nn.Module):
    """Every position takes from all others, at half their size, as much as it is told to [C].

    The non-local block of BigGAN (Brock et al., ICLR 2019): x + gain o(softmax(q k) v), 1 x 1
    convolutions to an eighth (q, k) and a half (v) of the channels; the gain starts at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query, self.key = (SpectralConv(channels, narrow, 1, bias=False) for _ in range(2))
        self.value = SpectralConv(channels, half, 1, bias=False)
        self.out = SpectralConv(half, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        key, value = (F.max_pool2d(part(maps), 2) for part in (self.key, self.value))
        query, key, value = (
            part.flatten(2).transpose(1, 2) for part in (self.query(maps), key, value)
        )
        taken = F.scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2)
        batch, _, height, width = maps.shape
        result: Tensor = maps + self.gain * self.out(taken.reshape(batch, -1, height, width))
        return result


class Down(nn.Module):
    """Half the size: two 3 x 3 convolutions, each after a ReLU, beside one of 1 x 1 [C]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = SpectralConv(inputs, outputs, 3, reflects=True)
        self.second = SpectralConv(outputs, outputs, 3, reflects=True)
        self.beside = SpectralConv(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / 2, W / 2]."""
        inner = self.second(F.relu(self.first(F.relu(maps))))
        return F.avg_pool2d(inner + self.beside(maps), 2)


class Up(nn.Module):
    """Twice the size: the same after instance norms, pixels doubled before the convolutions [C]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([_norm(inputs), _norm(outputs)])
        self.first = SpectralConv(inputs, outputs, 3, reflects=True)
        self.second = SpectralConv(outputs, outputs, 3, reflects=True)
        self.beside = SpectralConv(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', 2 H, 2 W]."""
        inner = self.first(_double(F.relu(self.norms[0](maps))))
        inner = self.second(F.relu(self.norms[1](inner)))
        result: Tensor = inner + self.beside(_double(maps))
        return result


def _double(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="nearest")


class MiddleBlock(nn.Module):
    """Two 3 x 3 convolutions with instance norms, added to what came [C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (
            SpectralConv(channels, channels, 3, reflects=True) for _ in range(2)
        )
        self.norms = nn.ModuleList([_norm(channels), _norm(channels)])

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        inner = self.norms[1](self.second(F.relu(self.norms[0](self.first(maps)))))
        result: Tensor = maps + inner
        return result


def make_encoder(config: Config) -> backbones.Trunk:
    """The generator's first half: an aerial picture to the features that retrieval compares."""
    first, *rest = config.widths
    stages = OrderedDict[str, nn.Module](
        start=nn.Sequential(SpectralConv(3, first, 7, reflects=True), _norm(first))
    )
    for number, (inputs, outputs) in enumerate(zip(config.widths, rest, strict=False)):
        stages[f"down{number + 1}"] = nn.Sequential(Down(inputs, outputs), _norm(outputs))
    last = config.widths[-1]
    stages["middle"] = nn.Sequential(*(MiddleBlock(last) for _ in range(config.blocks)))
    return backbones.Trunk(stages, last)


class Decoder(nn.Module):
    """The generator's second half: back up to a picture, beside what was on the way down [C]."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        _, half, quarter, eighth = widths
        self.up3 = nn.Sequential(Up(2 * eighth, quarter), _norm(quarter))
        self.attention = Attention(2 * quarter)
        self.up2 = nn.Sequential(Up(2 * quarter, half), _norm(half))
        self.up1 = nn.Sequential(Up(2 * half, half), _norm(half))
        self.end = nn.Conv2d(half, 3, 3, padding=1)
        _draw_weights(self.end)

    def forward(self, half: Tensor, quarter: Tensor, eighth: Tensor, middle: Tensor) -> Tensor:
        """Maps at 1/2, 1/4, 1/8 and 1/8 of the size -> [B, 3, H, W] in [-1, 1]."""
        maps = self.up3(torch.cat([middle, eighth], dim=1))
        maps = self.up2(self.attention(torch.cat([maps, quarter], dim=1)))
        return torch.tanh(self.end(self.up1(torch.cat([maps, half], dim=1))))


def make_discriminator(first: int) -> nn.Sequential:
    """Aerial picture and street view [B, 6, H, W] -> logits [B, 1, h, w], patch by patch [C]."""
    one, two, four, eight = (first * times for times in JUDGED)
    start, end = nn.Conv2d(6, one, 4, stride=2, padding=1), nn.Conv2d(eight, 1, 4, padding=1)
    for conv in (start, end):
        _draw_weights(conv)
    layers = [start, nn.LeakyReLU(LEAK), SpectralConv(one, two, 4, stride=2), nn.LeakyReLU(LEAK)]
    layers += [Attention(two), SpectralConv(two, four, 4, stride=2), nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers, SpectralConv(four, eight, 4), nn.LeakyReLU(LEAK), end)


class SynthesisNetwork(layout_masks.LayoutNetwork):
    """Two branches to compare by; the aerial one is the first half of a generator, and its judge.

    ``ground``: ResNet and masks. ``aerial``: the generator's encoder and masks. Both are all that
    retrieval needs; ``decoder`` and ``discriminator`` serve training and pictures.
    """

    def __init__(
        self,
        ground: layout_masks.LayoutBranch,
        aerial: layout_masks.LayoutBranch,
        config: Config,
    ) -> None:
        super().__init__(ground, aerial)
        self.decoder = Decoder(config.widths)
        self.discriminator = make_discriminator(config.judge)

    def draw(self, aerial: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> street views [B, 3, H, W] in [-1, 1]; features [B, C, H / 8, W / 8]."""
        maps, kept = aerial, []
        for stage in self.aerial.trunk.stages:
            maps = stage(maps)
            kept.append(maps)
        drawn: Tensor = self.decoder(*kept[1:])
        return drawn, maps

    def assess(self, aerial: Tensor, street: Tensor) -> Tensor:
        """Logits that ``street`` is no drawing, patch by patch."""
        logits: Tensor = self.discriminator(torch.cat([aerial, street], dim=1))
        return logits


def build(config: Config) -> SynthesisNetwork:
    """The network; only the street's ResNet starts from pretrained weights [C]."""
    street = backbones.cut_after(backbones.trunk(config.backbone, config.weights), "layer3")
    require(
        street.channels == config.widths[-1],
        f"{config.backbone} gives {street.channels} channels, to which the last of widths must be "
        f"equal, got {config.widths}.",
    )

    def masks(channels: int, positions: int) -> nn.Module:
        reduce: Any = config.reduce
        return layout_masks.MaskBank(positions, config.masks, reduce)

    ground = layout_masks.LayoutBranch(street, config.ground_px, masks)
    aerial = layout_masks.LayoutBranch(make_encoder(config), config.aerial_px, masks)
    return SynthesisNetwork(ground, aerial, config)


def play(
    model: SynthesisNetwork, batch: Batch, config: Config
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Discriminator, retrieval, generator: each moves by its own losses, in this order [C]."""
    drawn, features = model.draw(batch.aerial)
    false = cross_entropy(model.assess(batch.aerial, drawn.detach()), 0.0)
    true = cross_entropy(model.assess(batch.aerial, batch.ground), config.real)
    yield "discriminator", {"discriminator": (true + false) / 2}

    yield "retrieval", {"triplet": _match(model, features.detach(), batch, config)}

    believed = cross_entropy(model.assess(batch.aerial, drawn), config.real)
    apart = (at_least_float32(drawn) - batch.ground).abs().mean()
    yield (
        "generator",
        {
            "generator": believed,
            "reconstruction": config.reconstruction * apart,
            "retrieval": config.retrieval * _match(model, features, batch, config),
        },
    )


def player(name: str, config: Config) -> str:
    """Whose a parameter is; the masks of both sides are the retrieval's [C]."""
    if name.startswith("discriminator."):
        return "discriminator"
    return "generator" if name.startswith(("aerial.trunk.", "decoder.")) else "retrieval"


def _match(model: SynthesisNetwork, features: Tensor, batch: Batch, config: Config) -> Tensor:
    vectors = model.ground(batch.ground), model.aerial.describe(features).vector
    far = find_negatives(batch.apart_m, config.negatives_from_m)
    return hardest_triplets(*vectors, config.alpha, config.hard_shares[0], far)


def cross_entropy(logits: Tensor, label: float) -> Tensor:
    """Mean binary cross-entropy of logits of any shape against one ``label`` in [0, 1]."""
    with without_autocast(logits):
        logits = at_least_float32(logits)
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def hardest_triplets(
    ground: Tensor, aerial: Tensor, alpha: float, share: float, wrong: Tensor | None = None
) -> Tensor:
    """Mean of log(1 + exp(alpha (d_true - d_wrong))) over the hardest ``share`` of all triplets.

    ``ground``, ``aerial``: unit [n, D], row i of both the same place; d = 2 - 2 cosine. Of the n (n
    - 1) triplets with an aerial anchor, the costliest int(share n (n - 1)), at least one, whichever
    anchors they belong to; as many with a ground anchor; the mean of both means [C]. ``wrong`` bool
    [n, n], symmetric: the pairs that may be negatives; None: all others.
    """
    with without_autocast(ground):
        distance = 2.0 - 2.0 * at_least_float32(aerial) @ at_least_float32(ground).T
        true, count = distance.diagonal(), len(distance) * (len(distance) - 1)
        other = ~torch.eye(len(distance), dtype=torch.bool, device=distance.device)
        other = other if wrong is None else other & wrong
        means = []
        for own in (true[:, None], true[None, :]):
            costs = F.softplus(alpha * (own - distance))[other]
            hardest = costs.topk(min(len(costs), max(1, int(share * count)))).values
            means.append(hardest.sum() / max(1, len(hardest)))
        return (means[0] + means[1]) / 2.0


def objective(model: SynthesisNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The losses of all turns, at the same weights; training goes by :func:`play`."""
    turns = play(model, batch, config)
    return {name: value for _, losses in turns for name, value in losses.items()}


def staged(config: Config, moment: TrainingProgress, rng: np.random.Generator) -> Config:
    """The share of triplets of an epoch, and those to come."""
    past = sum(moment.epoch > last for last in config.hard_until)
    return replace(
        config, hard_shares=config.hard_shares[past:], hard_until=config.hard_until[past:]
    )


def batches(
    table: PairTable, config: Config, generator: torch.Generator, neighbours: object
) -> Iterator[list[int]]:
    """Random places."""
    return draw_batches(table, config.batch, generator)


def augment(pair: PairPixels, config: Config, rng: np.random.Generator) -> PairPixels:
    """Both views mirrored, or neither."""
    if rng.random() >= config.mirror:
        return pair
    ground, aerial = mirror_pair(pair.ground, pair.aerial)
    return replace(pair, ground=ground, aerial=aerial, heading_deg=-pair.heading_deg)


def pictures(model: SynthesisNetwork, batch: Batch, config: Config) -> dict[str, Tensor]:
    """The street views that the generator draws, [B, 3, H, W] in [0, 1]."""
    return {"drawn from above": (model.draw(batch.aerial)[0].float() + 1.0) / 2.0}


def check(table: PairTable, config: Config) -> None:
    """InvalidValue for cameras beside the middle, and for photos: all of a panorama is drawn."""
    layout_masks.check_centred(table, config)
    photos = int(table.perspective[table.pairs[:, 0]].sum())
    if photos:
        raise InvalidValue(
            f"cde draws whole panoramas, and {photos} of these {len(table)} pairs have photos.\n"
            "Leave them out, or train safa or compass."
        )


RECIPES = {"cvusa": {"whole": True}, "cvact": {"whole": True, "negatives_from_m": 25.0}}
REPRODUCES = {"cvusa": ("CDE: polar",), "cvact": ("CDE: polar",)}
