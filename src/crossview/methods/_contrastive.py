"""What Sample4Geo, ConGeo and SinGeo share: one encoder for both views, and how pairs reach it.

Deuser et al., ICCV 2023; Mi et al., ECCV 2024; Chen et al., CVPR 2026: north-up windows beside
panoramas, a ConvNeXt for both without a projection, batches of near and then of similar places,
views mirrored and turned alike. ConGeo and SinGeo contrast each pair with its positives, too: a
sector of the panorama, and another picture from above.

Names of parameters are those of the authors' checkpoints: ``model.*`` where the encoder is shared
(convolutional networks), ``model_q.*`` and ``model_r.*`` where it is not (vision transformers,
whose position tables belong to one size), ``logit_scale`` beside them. Functions that take a
``config`` use fields that the Configs of these pages have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn
from torch.func import functional_call

from crossview.arrays import I64, U8
from crossview.errors import InvalidValue, require
from crossview.networks import losses
from crossview.networks.backbones import backbone, list_sizes
from crossview.networks.samplers import draw_batches, draw_neighbour_batches, nearest_places
from crossview.pairs.batch import Batch, PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views import crops
from crossview.views.colour import augment_photometric
from crossview.views.spec import Representation, ViewSpec
from crossview.views.symmetry import mirror_pair, turn_pair

Size = tuple[int, int]  # height, width in pixels
READINGS = ("intent", "release")
TENSORS = r"model(_q|_r)?\.(stem\.0|stem_0|conv1|patch_embed\.proj)\.weight$"  # alike in all three
AERIAL_GRID = 0.4  # share of holes of a grid dropout from above; on the ground 0.5
CONVOLUTIONAL = {  # channels of the stem, blocks of the third stage
    (96, 9): "convnext_tiny",
    (96, 27): "convnext_small",
    (128, 27): "convnext_base.fb_in22k_ft_in1k_384",
    (192, 27): "convnext_large",
    (256, 27): "convnext_xlarge",
}
TRANSFORMERS = {  # numbers a token has, blocks
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1280, 32): "huge",
}


def build_views(
    config: Any,
    *,
    headings: str,
    fov_deg: tuple[float, float],
    representation: Representation = "narrow",
) -> Views:
    """Strips of ``ground_px`` and north-up windows of ``aerial_px``.

    ``whole`` takes the files as the papers do, squashed without antialiasing: all rows of them,
    also where other papers cut the sky and the street away. What they span, their data set says.
    """
    require(
        representation in get_args(Representation),
        f"representation must be narrow or padded, got {representation!r}.",
    )
    height, width = config.ground_px
    as_files: dict[str, Any] = {}
    if config.whole:
        as_files = {"whole": True, "resize": "linear", "all_rows": True}
    return Views(
        ground=ViewSpec(
            side="ground",
            height_px=height,
            width_px=width,
            elevation_deg=None if config.whole else config.elevation_deg,
            representation=representation,
            **as_files,
        ),
        aerial=ViewSpec(
            side="aerial",
            height_px=config.aerial_px,
            width_px=config.aerial_px,
            footprint_m=None if config.whole else config.footprint_m,
            **as_files,
        ),
        headings_seen=headings,
        fov_seen_deg=fov_deg,
    )


def check_fields(config: Any) -> None:
    """Refuse values that no training can use, before anything is read."""
    for name in ("mirror", "turn"):
        value = getattr(config, name)
        require(0 <= value <= 1, f"{name} is a probability, got {value}.")
    require(0 <= config.smoothing < 1, f"smoothing must lie in [0, 1), got {config.smoothing}.")
    reading = getattr(config, "reading", READINGS[0])
    require(reading in READINGS, f"reading must be {' or '.join(READINGS)}, got {reading!r}.")
    require(
        config.steps > 0 or config.epochs > 0,
        f"a schedule needs epochs or steps above 0, got epochs {config.epochs:g}.",
    )


def check_theta(theta_deg: tuple[float, ...], representation: str) -> None:
    """Refuse fields of view that no training can use; ``RANDOM_FOV_DEG`` stands alone."""
    random_deg = crops.RANDOM_FOV_DEG
    if random_deg not in theta_deg:
        for theta in theta_deg:
            require(0 < theta <= 360, f"theta must lie in (0, 360] degrees, got {theta:g}.")
        return
    require(
        set(theta_deg) == {random_deg} and representation == "padded",
        f"theta {random_deg:g} draws a field of view for every picture: it has no course, and "
        "pictures of one batch must be of one width.\n"
        f"Use theta_deg=[{random_deg:g}, {random_deg:g}] with representation=padded.",
    )


def find_theta_range(theta_deg: tuple[float, ...]) -> tuple[float, float]:
    """The narrowest and the widest field of view that sectors of these have in training."""
    return min(crops.find_least_fov(theta) for theta in theta_deg), min(360.0, max(theta_deg))


class SharedEncoder(nn.Module):
    """One encoder for both views and the learned scale of the loss."""

    shared = True

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.model = encoder
        self.logit_scale = losses.learned_scale()

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> unit [B, D], float32."""
        return unit_vectors(self.model, images)

    aerial = ground


class SeparateEncoders(nn.Module):
    """An encoder for each view, of one design, and the learned scale of the loss."""

    def __init__(self, ground: nn.Module, aerial: nn.Module) -> None:
        super().__init__()
        self.model_q, self.model_r = ground, aerial
        self.logit_scale = losses.learned_scale()

    def ground(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] of a street view -> unit [B, D], float32."""
        return unit_vectors(self.model_q, images)

    def aerial(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] from above -> unit [B, D], float32."""
        return unit_vectors(self.model_r, images)


def build_network(
    config: Any,
    least_fov_deg: float,
    *,
    separate: bool = False,
    representation: str = "narrow",
    aerial_px: Size | None = None,
) -> SharedEncoder | SeparateEncoders:
    """The network that ``backbone`` and ``weights`` name, for pictures of the Config's sizes.

    ``aerial_px``: of the aerial view, where it is not a square. Raises InvalidValue where narrow
    pictures would be fed to a network of one width, or one of ``least_fov_deg`` is too narrow for
    it: now, not when a curriculum gets there.
    """
    name, narrow = config.backbone, representation == "narrow"
    if narrow and not takes_any_width(name):
        refuse_narrow(name)
    sizes = (config.ground_px, aerial_px or (config.aerial_px, config.aerial_px))
    network = pair_network(name, config.weights, separate=separate, sizes_px=sizes)
    if narrow:
        height, width = config.ground_px
        refuse_too_small(network, (height, max(1, round(width * least_fov_deg / 360.0))))
    return network


def refuse_narrow(network: str) -> None:
    """InvalidValue: narrow pictures differ in width, and this network takes one."""
    raise InvalidValue(
        f"{network} takes pictures of one width only, and narrow ones differ.\n"
        "Use representation=padded (and separate=true for a transformer)."
    )


def pair_network(
    name: str, weights: str, *, separate: bool, sizes_px: tuple[Size, Size]
) -> SharedEncoder | SeparateEncoders:
    """A timm model without classifier for both views, or one for each; sizes: ground, aerial.

    Raises InvalidValue for one transformer that would have to serve two sizes, and what
    :func:`crossview.networks.backbones.backbone` raises.
    """
    ground_px, aerial_px = sizes_px
    if separate:
        ground, aerial = (backbone(name, weights, **_size_setting(name, s)) for s in sizes_px)
        return SeparateEncoders(ground, aerial)
    if ground_px != aerial_px and _size_setting(name, aerial_px):
        raise InvalidValue(
            f"{name} is a transformer: its position table belongs to one size, and cannot serve "
            f"{_size_text(ground_px)} and {_size_text(aerial_px)}.\nUse separate=true."
        )
    return SharedEncoder(backbone(name, weights, **_size_setting(name, aerial_px)))


def takes_any_width(name: str) -> bool:
    """Whether a timm model takes pictures of every width, and so narrow ones."""
    return not _size_setting(name, (0, 0))


def refuse_too_small(network: SharedEncoder | SeparateEncoders, ground_px: Size) -> None:
    """InvalidValue if nothing would be left of street views of this size; only shapes are run."""
    encoder = network.model if isinstance(network, SharedEncoder) else network.model_q
    tensors = {name: tensor.to("meta") for name, tensor in encoder.state_dict().items()}
    with torch.no_grad():
        unit_vectors(
            lambda images: functional_call(encoder, tensors, images),
            torch.empty(2, 3, *ground_px, device="meta"),
        )


def unit_vectors(encoder: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Features of ``encoder`` at length 1, computed from float32 whatever autocast is on.

    Raises InvalidValue for a size that a transformer does not take, or too small for a ConvNet.
    """
    fixed = getattr(getattr(encoder, "patch_embed", None), "img_size", None)
    if fixed is not None and tuple(images.shape[2:]) != tuple(fixed):
        raise InvalidValue(
            f"a transformer of {_size_text(fixed)} cannot take pictures of "
            f"{_size_text(tuple(images.shape[2:]))}.\n"
            "Train and evaluate it with representation=padded, which keeps the full width."
        )
    try:
        features = encoder(images)
    except RuntimeError as problem:
        if "Kernel size can't be greater" not in str(problem):
            raise
        raise InvalidValue(
            f"Pictures of {_size_text(tuple(images.shape[2:]))} pixels (height x width) are too "
            "small for this network: nothing is left of them.\n"
            "Take larger pictures (ground_px) or a wider field of view; strides of 32 are common."
        ) from problem
    with losses.without_autocast(images):
        return F.normalize(losses.at_least_float32(features), dim=1)


def _size_setting(name: str, size: Size) -> dict[str, Size]:
    """The size as a setting of timm, for the families of networks that are built for one."""
    fixed = name.startswith(("vit_", "test_vit", "deit", "eva", "swin", "beit"))
    return {"img_size": size} if fixed else {}


def _size_text(size: tuple[int, ...]) -> str:
    return f"{size[0]} x {size[1]}"


def encode_pairs(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Unit vectors [B, D] of both views."""
    return {
        side: getattr(model, side)(getattr(batch, side)) for side in (losses.GROUND, losses.AERIAL)
    }


def encode_with_positives(
    model: nn.Module, batch: Batch, *, ground: bool = True, aerial: bool = True
) -> dict[str, Tensor]:
    """Unit vectors [B, D] of both views and of their positives, which lie in ``batch.more``.

    Pictures of one size share a pass. A positive that is not wanted is not encoded.
    """
    vectors: dict[str, Tensor] = {}
    wanted = {(losses.GROUND, losses.GROUND_2): ground, (losses.AERIAL, losses.AERIAL_2): aerial}
    for names, positive in wanted.items():
        stacks = [getattr(copy, names[0]) for copy in (batch, batch.more[0])[: 1 + positive]]
        encoded = encode_together(getattr(model, names[0]), *stacks)
        vectors |= dict(zip(names, encoded, strict=False))
    return vectors


def encode_together(branch: nn.Module, *images: Tensor) -> list[Tensor]:
    """Vectors of several stacks of pictures, in one pass where their size is the same."""
    if len({tuple(stack.shape[1:]) for stack in images}) > 1:
        return [branch(stack) for stack in images]
    return list(branch(torch.cat(images)).split([len(stack) for stack in images]))


def sample_batches(
    table: PairTable, config: Any, generator: torch.Generator, neighbours: I64 | None
) -> Iterator[list[int]]:
    """Batches of similar rows once vectors have been compared; before, of near places or of any."""
    if neighbours is None and not config.gps_sampling:
        return draw_batches(table, config.batch, generator)
    near = nearest_places(table, config.neighbour_range) if neighbours is None else neighbours
    return draw_neighbour_batches(table, near, config.batch, generator, config.neighbour_select)


def mirror_or_turn(pair: PairPixels, config: Any, rng: np.random.Generator) -> PairPixels:
    """Both views mirrored with probability ``mirror``, turned by quarters with ``turn``.

    Photos are not turned: only a panorama goes on at its edge.
    """
    if rng.random() < config.mirror:
        pair = mirror_views(pair)
    if rng.random() < config.turn and pair.fov_deg >= 360.0:
        pair = turn_views(pair, int(rng.integers(1, 4)))
    return pair


def recolour(pair: PairPixels, strength: float, rng: np.random.Generator) -> PairPixels:
    """Photometric changes of both sides, each on its own."""
    return replace(
        pair,
        ground=augment_photometric(pair.ground, rng, strength),
        aerial=augment_photometric(pair.aerial, rng, strength, grid_ratio=AERIAL_GRID),
        companion=None,
    )


@dataclass(frozen=True, kw_only=True)
class Positives:
    """How the positives g* and s* of a pair are made (ConGeo, SinGeo).

    The pair is mirrored and turned alike, as in Sample4Geo. Then g* is a sector of ``theta_deg`` of
    the panorama, and ``change_aerial`` (pixels, side of the footprint in pixels, rng) makes s*.

    Two readings differ in what the pair's quarter turn does to the positives. "release", as the
    authors' code: the sector is cut first and its columns are then rolled within it, which tears it
    apart, and s* does not turn along. "intent": the turn comes first, so that the sector is whole
    and the positives are turned against their own pair.
    """

    theta_deg: float  # ``RANDOM_FOV_DEG``: drawn for every picture (views.crops)
    change_aerial: Callable[[U8, float, np.random.Generator], U8]
    reading: str = "intent"


def make_positives(
    pair: PairPixels,
    positives: Positives,
    config: Any,
    views: Views,
    rng: np.random.Generator,
) -> tuple[PairPixels, PairPixels]:
    """The pair and its positives, as ``views`` lay them out.

    Takes ``mirror``, ``turn`` and ``colour`` of the Config. A photo is neither turned nor cut: its
    positive is another photo of the place (``pair.companion``), or its mirror image where there is
    none.
    """
    if rng.random() < config.mirror:
        pair = mirror_views(pair)
    panorama = pair.fov_deg >= 360.0
    quarters = int(rng.integers(1, 4)) if panorama and rng.random() < config.turn else 0
    first = turn_views(pair, quarters)
    turned_first = positives.reading == "intent"
    base = first if turned_first else pair
    if panorama:
        rolled = 0 if turned_first else quarters
        second = _cut_positive(base, positives, config.colour, views.ground, rolled, rng)
    else:
        second = _other_photo(first, config.colour, rng)
    side_px = float(min(base.aerial.shape[:2]))
    if not views.aerial.whole:
        side_px = min(side_px, views.aerial.required_footprint_m / pair.metres_per_px)
    aerial = positives.change_aerial(base.aerial, side_px, rng)
    aerial = augment_photometric(aerial, rng, config.colour, grid_ratio=AERIAL_GRID)
    return recolour(first, config.colour, rng), replace(second, aerial=aerial)


def crop_sector(
    pair: PairPixels, theta_deg: float, spec: ViewSpec, rng: np.random.Generator
) -> PairPixels:
    """The pair as a camera of random heading and ``theta_deg`` sees it; laid out as ``spec`` says.

    The heading is a whole degree, as the authors draw it. A padded sector lies in the middle.
    """
    return _lay_out(pair, crops.draw_fov(theta_deg, rng), spec, float(rng.integers(360)), None)


def _cut_positive(
    pair: PairPixels,
    positives: Positives,
    colour: float,
    spec: ViewSpec,
    rolled: int,
    rng: np.random.Generator,
) -> PairPixels:
    """g* of a panorama; ``rolled`` quarters within the sector (the release's reading)."""
    pair = replace(pair, ground=augment_photometric(pair.ground, rng, colour), companion=None)
    theta = crops.draw_fov(positives.theta_deg, rng)
    angle = float(rng.integers(360))
    anywhere = int(rng.integers(360)) if positives.reading == "release" else None
    cut = _lay_out(pair, theta, spec, angle, anywhere)
    columns = rolled * (spec.width_px // 4)
    return replace(cut, ground=np.roll(cut.ground, -columns, axis=1)) if columns else cut


def _lay_out(
    pair: PairPixels, theta_deg: float, spec: ViewSpec, angle_deg: float, anywhere: int | None
) -> PairPixels:
    """The panorama cut for an angle, and padded sectors begun ``anywhere`` (degrees) if given."""
    kept = crops.find_authors_sector(spec.width_px, theta_deg, angle_deg)
    first_px = None if anywhere is None else int(anywhere / 360.0 * spec.width_px)
    cut = crops.crop_view(pair.ground, spec, theta_deg, kept.heading_deg, first_px=first_px)
    return replace(
        pair,
        ground=np.ascontiguousarray(cut.pixels),
        fov_deg=theta_deg,
        heading_deg=pair.heading_deg + cut.heading_deg,
    )


def _other_photo(pair: PairPixels, colour: float, rng: np.random.Generator) -> PairPixels:
    other = pair.companion or replace(pair, ground=np.ascontiguousarray(pair.ground[:, ::-1]))
    return replace(other, ground=augment_photometric(other.ground, rng, colour), companion=None)


def mirror_views(pair: PairPixels) -> PairPixels:
    """Both views, and those of the companion, as seen in a mirror."""
    ground, aerial = mirror_pair(pair.ground, pair.aerial)
    other = mirror_views(pair.companion) if pair.companion is not None else None
    return replace(
        pair, ground=ground, aerial=aerial, heading_deg=-pair.heading_deg, companion=other
    )


def turn_views(pair: PairPixels, quarters: int) -> PairPixels:
    """Both views turned alike by so many quarters."""
    if not quarters:
        return pair
    ground, aerial = turn_pair(pair.ground, pair.aerial, quarters)
    return replace(pair, ground=ground, aerial=aerial)


def import_tensors(state: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """The tensors as they are, for every Config."""
    return dict(state)


def read_settings(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Backbone, whether each view has its own, and a transformer's picture sizes.

    What the shapes leave open is missing, such as a backbone that is neither a ConvNeXt nor a plain
    vision transformer of timm.
    """
    separate = any(name.startswith("model_q.") for name in state)
    settings: dict[str, Any] = {"separate": separate}
    if (patches := _patches(state)) is not None:
        settings["representation"] = "padded"
        prefix = "model_q." if separate else "model."
        size = (patches.shape[0], _blocks(state, f"{prefix}blocks."))
        if size in TRANSFORMERS:
            settings["backbone"] = f"vit_{TRANSFORMERS[size]}_patch{patches.shape[-1]}_224"
        return settings | _pictures(state, patches.shape[-1])
    prefix = "model_q." if separate else "model."
    stem = state.get(f"{prefix}stem.0.weight")
    if stem is not None and f"{prefix}stages.2.blocks.0.gamma" in state:
        size = (stem.shape[0], _blocks(state, f"{prefix}stages.2.blocks."))
        if size in CONVOLUTIONAL:
            settings["backbone"] = CONVOLUTIONAL[size]
    return settings


def unseen_settings(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that the tensors do not show, with the reason."""
    settings = read_settings(state)
    reasons = {}
    if "backbone" not in settings:
        reasons["backbone"] = "its shapes are those of no ConvNeXt or plain transformer of timm"
    elif "representation" not in settings:
        reasons["backbone"] = "NAME@16 has the same tensors at half the stride"
    if (patches := _patches(state)) is not None:
        for name, setting in (("model_q.", "ground_px"), ("model_r.", "aerial_px")):
            count = _positions(state, name if settings["separate"] else "model.")
            if setting not in settings:
                sizes = list_sizes(count, patches.shape[-1])
                reasons[setting] = (
                    f"its table has {count} positions of {patches.shape[-1]}: {sizes}"
                )
            elif setting == "ground_px":
                reasons[setting] = f"its table has {count} positions, in rows that are not told"
    return reasons


def _pictures(state: Mapping[str, Tensor], patch_px: int) -> dict[str, Any]:
    """Picture sizes by the position tables: squares, and panoramas twice as wide as high."""
    if "model.pos_embed" in state:
        side = _side(_positions(state, "model."))
        return {"ground_px": (side * patch_px,) * 2, "aerial_px": side * patch_px} if side else {}
    sizes: dict[str, Any] = {}
    ground, aerial = (_positions(state, name) for name in ("model_q.", "model_r."))
    if side := _side(aerial):
        sizes["aerial_px"] = side * patch_px
    if half := _side(ground // 2) if ground % 2 == 0 else 0:
        sizes["ground_px"] = (half * patch_px, 2 * half * patch_px)
    elif side := _side(ground):
        sizes["ground_px"] = (side * patch_px, side * patch_px)
    return sizes


def _side(positions: int) -> int:
    """The root of a square; 0 if it is none."""
    side = round(positions**0.5)
    return side if side * side == positions else 0


def _positions(state: Mapping[str, Tensor], prefix: str) -> int:
    """Patches of a picture by the table of ``prefix``, without tokens that stand before them."""
    table = state.get(f"{prefix}pos_embed")
    if table is None or table.ndim != 3:
        return 0
    before = [state.get(f"{prefix}{name}") for name in ("cls_token", "dist_token", "reg_token")]
    return int(table.shape[1]) - sum(int(v.shape[1]) for v in before if v is not None)


def _patches(state: Mapping[str, Tensor]) -> Tensor | None:
    names = (f"{prefix}patch_embed.proj.weight" for prefix in ("model_q.", "model."))
    weight = next((state[name] for name in names if name in state), None)
    return weight if weight is not None and weight.ndim == 4 else None


def _blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    rest = (name.removeprefix(prefix) for name in state if name.startswith(prefix))
    numbers = [int(number) for name in rest if (number := name.partition(".")[0]).isdecimal()]
    return max(numbers, default=-1) + 1
