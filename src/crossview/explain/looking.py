"""What a network with layout masks sees in pairs: vectors, and masks on one common grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.arrays import F32, I64, U8
from crossview.errors import InvalidValue
from crossview.pairs.batch import Views
from crossview.pairs.loading import Loader, Reader, normalised
from crossview.training.validation import chunks
from crossview.views.polar import unrolled_directions

VARIANTS = ("original", "unmatched", "flip", "rot90", "rot180", "rot270")


@dataclass(frozen=True, kw_only=True)
class Masks:
    """K masks of N pairs. Columns of both sides look at the same azimuths."""

    ground: F32  # [N, K, h, w]
    aerial: F32  # [N, K, h, w], unrolled about the centre if the network has not done so


def has_masks(model: nn.Module) -> bool:
    """Whether both branches can be asked for their layout."""
    return all(hasattr(getattr(model, side), "layout") for side in ("ground", "aerial"))


def masks_of(model: Any, reader: Reader, rows: Sequence[int]) -> Masks:
    """The masks of these rows, on the ground side's grid, in eval mode.

    Raises InvalidValue for a network without masks.
    """
    if not has_masks(model):
        raise InvalidValue(
            "This network has no layout masks to show.\nMethods that do: geodtr, geodtr-plus, safa."
        )
    ground, aerial = [], []
    for images, above in _images(model, reader, rows):
        ground.append(_maps(model.ground.layout(images)))
        size = (int(ground[-1].shape[2]), int(ground[-1].shape[3]))
        maps = _maps(model.aerial.layout(above))
        aerial.append(on_the_strip(maps, size, polar=reader.views.aerial.polar))
    return Masks(ground=torch.cat(ground).numpy(), aerial=torch.cat(aerial).numpy())


def views_of(reader: Reader, row: int, size: tuple[int, int]) -> tuple[U8, U8]:
    """The two views [h, w, 3] of a row as a network gets them, from above unrolled to ``size``."""
    raw = reader.batch(0, 0, [row])
    if reader.views.aerial.polar:
        return raw.ground[0], raw.aerial[0]
    square = torch.from_numpy(raw.aerial).permute(0, 3, 1, 2).float()
    strip = on_the_strip(square, size, polar=False)
    return raw.ground[0], strip[0].permute(1, 2, 0).round().byte().numpy()


def distances_of(model: Any, reader: Reader, rows: Sequence[int], seed: int = 0) -> dict[str, F32]:
    """2 - 2 cosine [N] between each aerial picture and variants of its panorama.

    "unmatched" takes another row's panorama. "flip" reverses the columns of its own, "rot90" and so
    on turn the camera (GeoDTR+, Figure 10).
    """
    found: dict[str, list[Tensor]] = {name: [] for name in VARIANTS}
    vectors = []
    for images, above in _images(model, reader, rows):
        aerial = model.aerial(above).float().cpu()
        quarter = images.shape[3] // 4
        shown = {"original": images, "flip": images.flip(3)}
        shown |= {f"rot{90 * n}": images.roll(-n * quarter, dims=3) for n in (1, 2, 3)}
        for name, variant in shown.items():
            ground = model.ground(variant).float().cpu()
            found[name].append(2.0 - 2.0 * (ground * aerial).sum(dim=1))
            if name == "original":
                vectors.append((ground, aerial))
    grounds, aerials = (torch.cat(side) for side in zip(*vectors, strict=True))
    away = others(len(grounds), seed)
    found["unmatched"].append(2.0 - 2.0 * (grounds[away] * aerials).sum(dim=1))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def others(count: int, seed: int) -> I64:
    """For each of ``count`` rows another one, every row once; at least 2 rows are needed."""
    if count < 2:
        raise InvalidValue(f"Unmatched pairs need at least 2 rows, got {count}.")
    order = np.random.default_rng(seed).permutation(count)
    found = np.empty(count, dtype=np.int64)
    found[order] = np.roll(order, 1)
    return found


def on_the_strip(maps: Tensor, size: tuple[int, int], *, polar: bool) -> Tensor:
    """Aerial maps [N, K, h, w] on a grid of ``size`` whose columns are azimuths, as a panorama's.

    ``polar``: they are unrolled already and only resized; else bilinear about the centre.
    """
    if polar:
        if tuple(maps.shape[2:]) == size:
            return maps
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)
    right, down = (torch.from_numpy(d) for d in unrolled_directions(*size))
    grid = torch.stack([right, down], dim=-1)[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, align_corners=False, padding_mode="border")


def _images(
    model: nn.Module, reader: Reader, rows: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    views: Views = reader.views
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad(), Loader(reader, 0) as loader:
        for raw in loader.epoch(0, chunks(rows, 16)):
            yield (
                normalised(raw.ground, views.ground, device),
                normalised(raw.aerial, views.aerial, device),
            )


def _maps(layout: Any) -> Tensor:
    rows, columns = layout.size
    maps: Tensor = layout.masks.float().cpu().transpose(1, 2)
    return maps.reshape(len(maps), -1, rows, columns)
