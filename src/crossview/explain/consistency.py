"""Whether a network looks at the same things when its picture is turned or cut.

After SinGeo (Chen et al., CVPR 2026), which reports such indices but whose definition could not be
found; ``docs/methods/consistency.md`` writes down this one, and what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crossview.arrays import F64, U8
from crossview.explain.activation import activation_maps
from crossview.explain.ssim import ssim
from crossview.pairs.batch import Views
from crossview.pairs.loading import RawBatch, Reader, normalised
from crossview.stats import cluster_interval
from crossview.training.validation import whole_pictures
from crossview.views.crops import sector_at, shown
from crossview.views.spec import ViewSpec

SHARES = (0.25, 0.5, 0.75)  # of a turn, for panoramas; rounded to whole cells
CROPS_DEG = (180.0, 90.0, 70.0)
NAMES = ("ground, turned", "ground, cut", "aerial, turned", "ground, half a cell off")
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Index:
    """One index over pictures: (SSIM + 1) / 2, its 95 % interval, and the SSIM itself."""

    value: float
    low: float
    high: float
    ssim: float
    blank: float  # share of the maps that are 0 everywhere, which all agree with each other


@dataclass(frozen=True, kw_only=True)
class Compared:
    """SSIM [N] of each picture under one kind of change, and whether its own map is blank."""

    ssim: F64
    blank: F64


def consistency(
    model: nn.Module, reader: Reader, rows: Sequence[int], crops_deg: Sequence[float] = CROPS_DEG
) -> dict[str, Index]:
    """The indices by name, each also "shuffled": against the changed maps of another picture.

    ``reader`` has no ``augment``; ``rows`` are the seeded subset; ``crops_deg`` are the fields of
    view that panoramas are cut to. The model is put in eval mode.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    model.eval()
    for raw in whole_pictures(reader, rows, BATCH):
        for name, one, other in _all_changes(model, reader.views, raw, crops_deg):
            found.setdefault(name, []).append((one, other))
    indices: dict[str, list[Compared]] = {}
    for name, pairs in found.items():
        one, other = (torch.cat(maps) for maps in zip(*pairs, strict=True))
        kind = name.partition(" by ")[0]
        indices.setdefault(kind, []).append(_compared(one, other))
        indices.setdefault(f"{kind}, shuffled", []).append(_compared(one, other.roll(1, 0)))
    return {name: _index(parts) for name, parts in indices.items()}


def _all_changes(
    model: Any, views: Views, raw: RawBatch, crops_deg: Sequence[float]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Names "KIND by HOW MUCH" with maps of the picture and of the changed one, laid over it."""
    device = next(model.parameters()).device
    ground = normalised(raw.ground, views.ground, device).contiguous()
    aerial = normalised(raw.aerial, views.aerial, device).contiguous()
    with torch.no_grad():
        seen_ground, seen_aerial = model.ground(ground), model.aerial(aerial)
    plain, cells = activation_maps(model, "ground", ground.clone(), seen_aerial)
    width = ground.shape[3]
    for share, shift in _whole_cells(width, cells[1]):
        maps = _turned(model, "ground", ground, seen_aerial, shift)
        yield f"{NAMES[0]} by {share}", plain, maps
    half = round(width / cells[1] / 2)
    yield f"{NAMES[3]} by {half}", plain, _turned(model, "ground", ground, seen_aerial, half)
    for theta in crops_deg:
        part, seen = _cut(model, views.ground, raw.ground, seen_aerial, theta)
        own = _stretched(plain[..., part])
        yield f"{NAMES[1]} by {theta}", own, _stretched(seen)
    above, cells = activation_maps(model, "aerial", aerial.clone(), seen_ground)
    if views.aerial.polar:
        for share, shift in _whole_cells(aerial.shape[3], cells[1]):
            maps = _turned(model, "aerial", aerial, seen_ground, shift)
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


def _turned(model: Any, side: str, strip: Tensor, partner: Tensor, columns: int) -> Tensor:
    """Maps of panoramas or unrolled tiles shifted right by ``columns``, shifted back."""
    maps, _ = activation_maps(model, side, strip.roll(columns, 3), partner)
    return maps.roll(-columns, 2)


def _cut(
    model: Any, spec: ViewSpec, canvases: U8, partner: Tensor, theta: float
) -> tuple[slice, Tensor]:
    """The middle columns of so many degrees, and the map of the pictures that show only them."""
    cuts = [shown(canvas, spec, theta) for canvas in canvases]
    images = normalised(np.stack([cut.pixels for cut in cuts]), spec, partner.device)
    maps, _ = activation_maps(model, "ground", images.contiguous(), partner)
    first, kept = sector_at(spec.width_px, theta, 0.0).columns[0], spec.columns(theta)
    part = slice(first, first + kept)
    return part, maps if spec.representation == "narrow" else maps[..., part]


def _stretched(maps: Tensor) -> Tensor:
    """Maps [B, h, w] divided by their largest value again."""
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-8)


def _compared(one: Tensor, other: Tensor) -> Compared:
    blank = (one.amax(dim=(1, 2)) <= 0) | (other.amax(dim=(1, 2)) <= 0)
    return Compared(ssim=ssim(one, other).numpy(), blank=blank.double().numpy())


def _index(parts: Sequence[Compared]) -> Index:
    """Mean over the amounts of one change, then over pictures."""
    per_picture = np.mean([part.ssim for part in parts], axis=0)
    scores = (per_picture + 1.0) / 2.0
    low, high = cluster_interval(scores, np.arange(len(scores)))
    blank = float(np.mean([part.blank for part in parts]))
    return Index(
        value=float(scores.mean()), low=low, high=high, ssim=float(per_picture.mean()), blank=blank
    )
