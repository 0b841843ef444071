"""Whether a network looks at the same things when its picture is turned or cut.

After SinGeo (Chen et al., CVPR 2026), which reports such indices but whose definition could not be
found; ``docs/methods/consistency.md`` writes down this one, and what the paper leaves open.

Class-activation maps of a pair's similarity (Selvaraju et al., Grad-CAM, ICCV 2017).

The score is the cosine of the true pair; the maps are those of the last layer that still has rows
and columns.

The structural similarity of two maps (Wang et al., IEEE TIP 2004).

Heat maps of one pair over fields of view and headings, the part of the tile in view marked.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.arrays import F32, F64, U8
from crossview.errors import InvalidValue
from crossview.files import atomic_write
from crossview.pairs.batch import RawBatch, Views, normalise
from crossview.pairs.loading import Reader, read_whole_pictures
from crossview.stats import cluster_interval
from crossview.views.crops import crop_view, find_authors_sector, find_sector
from crossview.views.spec import ViewSpec


def activation_maps(
    model: nn.Module, side: str, images: Tensor, partner: Tensor
) -> tuple[Tensor, tuple[int, int]]:
    """Maps [B, h, w] in [0, 1] at the size of ``images``, and the rows and columns of their cells.

    ``partner`` [B, D]: unit vectors of the other side. ReLU of the feature maps weighted by the
    mean gradient of the cosine, enlarged bilinearly, divided by the largest value; a map that is
    nowhere positive is 0 everywhere. The model must be in eval mode.
    """
    branch, layer, as_map = _layer(model, side)
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept.append(output)

    hook = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            score = (branch(images.requires_grad_()) * partner).sum()
            (gradient,) = torch.autograd.grad(score, kept[-1])
    finally:
        hook.remove()
    features, gradient = as_map(kept[-1].detach()), as_map(gradient)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    small = (weights * features).sum(dim=1, keepdim=True).relu()
    large = F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    cells = (int(small.shape[2]), int(small.shape[3]))
    return large / large.amax(dim=(1, 2), keepdim=True).clamp_min(1e-8), cells


def _layer(
    model: Any, side: str
) -> tuple[Callable[[Tensor], Tensor], nn.Module, Callable[[Tensor], Tensor]]:
    """The branch, the layer whose output is looked at, and how that output becomes [B, C, h, w]."""
    branch, encoder = getattr(model, side), _encoder(model, side)
    for inner in ("backbone", "encoder", "transformer"):  # inside of a branch that adds a head
        encoder = getattr(encoder, inner, encoder)
    if hasattr(encoder, "stages"):
        return branch, encoder.stages[-1], lambda output: output
    for name in ("trunk", "resnet"):
        if hasattr(encoder, name):
            return branch, getattr(encoder, name), lambda output: output
    if hasattr(encoder, "convs"):
        return branch, encoder.convs[-1], lambda output: output
    if hasattr(encoder, "blocks"):  # a transformer: the last layer in which all tokens still count
        rows, columns = encoder.patch_embed.grid_size
        first = encoder.num_prefix_tokens

        def as_map(tokens: Tensor) -> Tensor:
            if tokens.shape[1] != first + rows * columns:
                raise InvalidValue(
                    f"The {side} branch looks at {tokens.shape[1] - first} of {rows * columns} "
                    "patches only: what it sees is no map.\nTake a run of the first stage."
                )
            return tokens[:, first:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)

        return branch, encoder.blocks[-1].norm1, as_map
    raise InvalidValue(
        f"{type(encoder).__name__} has no layer that activation maps are known to be taken from."
    )


def _encoder(model: Any, side: str) -> Any:
    """The module behind a branch: shared, one of two, the branch itself, or its trunk of a network.

    Else the network.
    """
    names = ("model", "model_q" if side == "ground" else "model_r", side, f"{side}_trunk")
    encoders = (getattr(model, name, None) for name in names)
    return next((module for module in encoders if isinstance(module, nn.Module)), model)


WINDOW, SIGMA = 11, 1.5  # of the Gaussian window, as the paper has it
C1, C2 = 0.01**2, 0.03**2  # for maps between 0 and 1


def ssim(first: Tensor, other: Tensor) -> Tensor:
    """Mean SSIM [B] of maps [B, h, w] in [0, 1], over the windows that lie wholly inside.

    From -1 to 1; two equal maps have 1, also two constant ones. Raises InvalidValue for maps that
    are smaller than the window.
    """
    if min(first.shape[1:]) < WINDOW:
        raise InvalidValue(
            f"maps of {first.shape[1]} x {first.shape[2]} are smaller than SSIM's window of "
            f"{WINDOW}; enlarge them to the size of the picture first."
        )
    first, other = first.double().unsqueeze(1), other.double().unsqueeze(1)
    mean_1, mean_2 = _blur(first), _blur(other)
    var_1 = _blur(first * first) - mean_1**2
    var_2 = _blur(other * other) - mean_2**2
    both = _blur(first * other) - mean_1 * mean_2
    light = (2 * mean_1 * mean_2 + C1) / (mean_1**2 + mean_2**2 + C1)
    shape = (2 * both + C2) / (var_1 + var_2 + C2)
    similarity: Tensor = (light * shape).mean(dim=(1, 2, 3))
    return similarity


def _blur(maps: Tensor) -> Tensor:
    steps = torch.arange(WINDOW, dtype=maps.dtype, device=maps.device) - WINDOW // 2
    weights = torch.exp(-(steps**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()
    across = F.conv2d(maps, weights.view(1, 1, 1, WINDOW))
    return F.conv2d(across, weights.view(1, 1, WINDOW, 1))


SHARES = (0.25, 0.5, 0.75)  # of a turn, for panoramas; rounded to whole cells
CROPS_DEG = (180.0, 90.0, 70.0)
NAMES = ("ground, turned", "ground, cut", "aerial, turned", "ground, half a cell off")
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class ConsistencyIndex:
    """One index over pictures: (SSIM + 1) / 2, its 95 % interval, and the SSIM itself."""

    value: float
    low: float
    high: float
    ssim: float
    blank: float  # share of the maps that are 0 everywhere, which all agree with each other


@dataclass(frozen=True, kw_only=True)
class MapSimilarity:
    """SSIM [N] of each picture under one kind of change, and whether its own map is blank."""

    ssim: F64
    blank: F64


def measure_consistency(
    model: nn.Module, reader: Reader, rows: Sequence[int], crops_deg: Sequence[float] = CROPS_DEG
) -> dict[str, ConsistencyIndex]:
    """The indices by name, each also "shuffled": against the changed maps of another picture.

    ``reader`` has no ``augment``; ``rows`` are the seeded subset; ``crops_deg`` are the fields of
    view that panoramas are cut to. The model is put in eval mode.
    """
    maps_by_change: dict[str, list[tuple[Tensor, Tensor]]] = {}
    model.eval()
    for raw in read_whole_pictures(reader, rows, BATCH):
        for name, first, other in _all_changes(model, reader.views, raw, crops_deg):
            maps_by_change.setdefault(name, []).append((first, other))
    indices: dict[str, list[MapSimilarity]] = {}
    for name, pairs in maps_by_change.items():
        first, other = (torch.cat(maps) for maps in zip(*pairs, strict=True))
        kind = name.partition(" by ")[0]
        indices.setdefault(kind, []).append(_compare(first, other))
        indices.setdefault(f"{kind}, shuffled", []).append(_compare(first, other.roll(1, 0)))
    return {name: _index(parts) for name, parts in indices.items()}


def _all_changes(
    model: Any, views: Views, raw: RawBatch, crops_deg: Sequence[float]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Names "KIND by HOW MUCH" with maps of the picture and of the changed one, laid over it."""
    device = next(model.parameters()).device
    ground = normalise(raw.ground, views.ground, device).contiguous()
    aerial = normalise(raw.aerial, views.aerial, device).contiguous()
    with torch.no_grad():
        seen_ground, seen_aerial = model.ground(ground), model.aerial(aerial)
    plain, cells = activation_maps(model, "ground", ground.clone(), seen_aerial)
    width = ground.shape[3]
    for share, shift in _whole_cells(width, cells[1]):
        maps = _turn(model, "ground", ground, seen_aerial, shift)
        yield f"{NAMES[0]} by {share}", plain, maps
    half = round(width / cells[1] / 2)
    yield f"{NAMES[3]} by {half}", plain, _turn(model, "ground", ground, seen_aerial, half)
    for theta in crops_deg:
        part, seen = _cut(model, views.ground, raw.ground, seen_aerial, theta)
        own = _stretch(plain[..., part])
        yield f"{NAMES[1]} by {theta}", own, _stretch(seen)
    above, cells = activation_maps(model, "aerial", aerial.clone(), seen_ground)
    if views.aerial.polar:
        for share, shift in _whole_cells(aerial.shape[3], cells[1]):
            maps = _turn(model, "aerial", aerial, seen_ground, shift)
            yield f"{NAMES[2]} by {share}", above, maps
        return
    for quarters in (1, 2, 3):
        turned = aerial.rot90(quarters, (2, 3)).contiguous()
        maps, _ = activation_maps(model, "aerial", turned, seen_ground)
        yield f"{NAMES[2]} by {quarters}", above, maps.rot90(-quarters, (1, 2))


def _whole_cells(width: int, cells: int) -> Iterator[tuple[float, int]]:
    """Shares of a turn, and the columns of the whole cells of the map that are nearest to each."""
    for share in SHARES:
        yield share, round(round(share * cells) * width / cells)


def _turn(model: Any, side: str, strip: Tensor, partner: Tensor, columns: int) -> Tensor:
    """Maps of panoramas or unrolled tiles shifted right by ``columns``, shifted back."""
    maps, _ = activation_maps(model, side, strip.roll(columns, 3), partner)
    return maps.roll(-columns, 2)


def _cut(
    model: Any, spec: ViewSpec, canvases: U8, partner: Tensor, theta: float
) -> tuple[slice, Tensor]:
    """The middle columns of so many degrees, and the map of the pictures that show only them."""
    cuts = [crop_view(canvas, spec, theta) for canvas in canvases]
    images = normalise(np.stack([cut.pixels for cut in cuts]), spec, partner.device)
    maps, _ = activation_maps(model, "ground", images.contiguous(), partner)
    first, kept = find_sector(spec.width_px, theta, 0.0).columns[0], spec.columns(theta)
    part = slice(first, first + kept)
    return part, maps if spec.representation == "narrow" else maps[..., part]


def _stretch(maps: Tensor) -> Tensor:
    """Maps [B, h, w] divided by their largest value again."""
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-8)


def _compare(first: Tensor, other: Tensor) -> MapSimilarity:
    blank = (first.amax(dim=(1, 2)) <= 0) | (other.amax(dim=(1, 2)) <= 0)
    return MapSimilarity(ssim=ssim(first, other).numpy(), blank=blank.double().numpy())


def _index(parts: Sequence[MapSimilarity]) -> ConsistencyIndex:
    """Mean over the amounts of one change, then over pictures."""
    per_picture = np.mean([part.ssim for part in parts], axis=0)
    scores = (per_picture + 1.0) / 2.0
    low, high = cluster_interval(scores, np.arange(len(scores)))
    blank = float(np.mean([part.blank for part in parts]))
    return ConsistencyIndex(
        value=float(scores.mean()), low=low, high=high, ssim=float(per_picture.mean()), blank=blank
    )


FOVS_DEG = (360.0, 180.0, 90.0, 70.0)
ANGLES_DEG = (0.0, 120.0)  # a panorama is turned by so much before it is cut
EDGES = ((-0.5, "-"), (0.5, "-"), (0.0, ":"))  # of the view, in its widths from ahead
STRENGTH = 0.45  # of the heat over the picture


def draw_attention(path: Path, model: Any, reader: Reader, row: int) -> None:
    """One pair as PNG: each line a field of view and turn, what the network sees, and the tile.

    The tile is drawn with the heat of the same score, and with the wedge (of an unrolled one: the
    columns) that the cut panorama sees. The model must be in eval mode.
    """
    from matplotlib.figure import Figure

    raw = reader.batch(0, 0, [row])
    spec, polar = reader.views.ground, reader.views.aerial.polar
    cases = [(fov, angle) for fov in FOVS_DEG for angle in ANGLES_DEG]
    figure = Figure(figsize=(9.0, 1.6 * len(cases)), dpi=110, layout="constrained")
    axes = figure.subplots(len(cases), 2, squeeze=False, width_ratios=[1 if polar else 3, 1])
    for (fov, angle), (left, right) in zip(cases, axes, strict=True):
        heading = find_authors_sector(spec.width_px, fov, angle).heading_deg
        seen = crop_view(raw.ground[0], spec, fov, heading)
        ground, above = _maps(model, reader, seen.pixels, raw.aerial[0])
        left.imshow(_over(seen.pixels, ground))
        left.set_title(f"{fov:g} degrees, turned by {angle:g}", fontsize=8, loc="left")
        right.imshow(_over(raw.aerial[0], above))
        (_mark_columns if polar else _mark_wedge)(right, raw.aerial.shape[2], seen.heading_deg, fov)
        for axis in (left, right):
            axis.set_xticks([])
            axis.set_yticks([])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _maps(model: Any, reader: Reader, ground: U8, aerial: U8) -> tuple[F32, F32]:
    device = next(model.parameters()).device
    views = reader.views
    images = normalise(ground[None], views.ground, device).contiguous()
    tiles = normalise(aerial[None], views.aerial, device).contiguous()
    with torch.no_grad():
        vectors: tuple[Tensor, Tensor] = model.ground(images), model.aerial(tiles)
    ours, _ = activation_maps(model, "ground", images, vectors[1])
    theirs, _ = activation_maps(model, "aerial", tiles, vectors[0])
    return ours[0].cpu().numpy(), theirs[0].cpu().numpy()


def _over(image: U8, heat: F32) -> F32:
    """The picture in grey with the heat on it, [h, w, 3] in [0, 1]."""
    from matplotlib import colormaps

    grey = np.repeat(image.mean(axis=2, keepdims=True) / 255.0, 3, axis=2)
    colour = colormaps["inferno"](heat)[..., :3]
    mixed: F32 = ((1 - STRENGTH) * grey + STRENGTH * colour).astype(np.float32)
    return mixed


def azimuth_column(azimuth_deg: float, width: int) -> float:
    """Where in an unrolled tile, or a panorama, lies that azimuth; -0.5 is its left edge."""
    return (azimuth_deg + 180.0) / 360.0 % 1.0 * width - 0.5


def _mark_columns(axis: Any, width: int, heading_deg: float, fov_deg: float) -> None:
    """Upright lines at both edges of the view in an unrolled tile, and one ahead."""
    for turn, style in EDGES if fov_deg < 360.0 else ():
        column = azimuth_column(heading_deg + turn * fov_deg, width)
        axis.axvline(column, linestyle=style, color="white", linewidth=1.2)


def _mark_wedge(axis: Any, side: int, heading_deg: float, fov_deg: float) -> None:
    """Lines from the tile's centre along both edges of the view, and one ahead."""
    if fov_deg >= 360.0:
        return
    centre = (side - 1) / 2.0
    for turn, style in EDGES:
        bearing = math.radians(heading_deg + turn * fov_deg)
        end = (centre + side * math.sin(bearing), centre - side * math.cos(bearing))
        axis.plot((centre, end[0]), (centre, end[1]), style, color="white", linewidth=1.2)
    axis.set_xlim(-0.5, side - 0.5)
    axis.set_ylim(side - 0.5, -0.5)
