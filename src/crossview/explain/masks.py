"""What a network with layout masks sees in pairs: vectors, and masks on one common grid.

Do the masks of two views of one place say the same? Correlation, matched against unmatched.

Does a network know its places mirrored and turned? Recall with both views in another layout.

Both views change alike (GeoDTR's layouts), so a pair stays a pair. Recall that is lost hung on
directions that the training pictures have in common, such as where the sun stands; layout
simulation is made against that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.arrays import F32, F64, I64, U8
from crossview.errors import InvalidValue
from crossview.evaluation.fast_scores import Space, make_space
from crossview.evaluation.metrics import recall
from crossview.evaluation.ranking import rank
from crossview.evaluation.task import Pairs, Relation
from crossview.pairs.loading import Reader, normalise
from crossview.pairs.table import PairTable
from crossview.stats import cluster_interval
from crossview.training.validation import embed_batch, read_whole_pictures
from crossview.views.aerial import compute_polar_directions
from crossview.views.symmetry import Symmetry, apply_symmetry

VARIANTS = ("original", "unmatched", "flip", "rot90", "rot180", "rot270")


@dataclass(frozen=True, kw_only=True)
class Masks:
    """K masks of N pairs. Columns of both sides look at the same azimuths."""

    ground: F32  # [N, K, h, w]
    aerial: F32  # [N, K, h, w], unrolled about the centre if the network has not done so


def has_masks(model: nn.Module) -> bool:
    """Whether both branches can be asked for their layout."""
    return all(hasattr(getattr(model, side), "layout") for side in ("ground", "aerial"))


def compute_masks(model: Any, reader: Reader, rows: Sequence[int]) -> Masks:
    """The masks of these rows, on the ground side's grid, in eval mode.

    Raises InvalidValue for a network without masks.
    """
    if not has_masks(model):
        raise InvalidValue(
            "This network has no layout masks to show.\nMethods that do: geodtr, geodtr-plus, safa."
        )
    ground, aerial, views = [], [], reader.views
    device = next(model.parameters()).device
    model.eval()
    for raw in read_whole_pictures(reader, rows):
        with torch.no_grad():
            layout = model.ground.layout(normalise(raw.ground, views.ground, device))
            above = model.aerial.layout(normalise(raw.aerial, views.aerial, device))
        ground.append(_maps(layout))
        size = (int(ground[-1].shape[2]), int(ground[-1].shape[3]))
        aerial.append(unroll_masks(_maps(above), size, polar=views.aerial.polar))
    return Masks(ground=torch.cat(ground).numpy(), aerial=torch.cat(aerial).numpy())


def render_views(reader: Reader, row: int, size: tuple[int, int]) -> tuple[U8, U8]:
    """The two views [h, w, 3] of a row as a network gets them, from above unrolled to ``size``."""
    raw = reader.batch(0, 0, [row])
    if reader.views.aerial.polar:
        return raw.ground[0], raw.aerial[0]
    square = torch.from_numpy(raw.aerial).permute(0, 3, 1, 2).float()
    strip = unroll_masks(square, size, polar=False)
    return raw.ground[0], strip[0].permute(1, 2, 0).round().byte().numpy()


def compute_distances(
    model: Any, reader: Reader, rows: Sequence[int], seed: int = 0
) -> dict[str, F32]:
    """2 - 2 cosine [N] between each aerial picture and variants of its panorama.

    "unmatched" takes another row's panorama. "flip" reverses the columns of its own, "rot90" and so
    on turn the camera (GeoDTR+, Figure 10); they are left out where photos are among the pictures,
    which cannot be turned.
    """
    views = reader.views
    quarters = (1, 2, 3) if only_panoramas(reader.table, rows) else ()
    by_variant: dict[str, list[F32]] = {}
    sides: list[tuple[F32, F32]] = []
    model.eval()
    for raw in read_whole_pictures(reader, rows):
        width = raw.ground.shape[2]
        variants = {"original": raw.ground, "flip": raw.ground[:, :, ::-1]}
        variants |= {f"rot{90 * n}": np.roll(raw.ground, -n * (width // 4), 2) for n in quarters}
        for name, ground in variants.items():
            pair = embed_batch(model, views, np.ascontiguousarray(ground), raw.aerial)
            by_variant.setdefault(name, []).append(_distances(*pair))
            if name == "original":
                sides.append(pair)
    grounds, aerials = (np.concatenate(side) for side in zip(*sides, strict=True))
    by_variant["unmatched"] = [_distances(grounds[others(len(grounds), seed)], aerials)]
    return {name: np.concatenate(by_variant[name]) for name in VARIANTS if name in by_variant}


def only_panoramas(table: PairTable, rows: Sequence[int]) -> bool:
    """Whether the ground pictures of all ``rows`` look all around, so that they can be turned."""
    ground = table.pairs[np.asarray(rows), 0]
    return not (table.perspective[ground] | (table.fov_deg[ground] < 360.0)).any()


def _distances(ground: F32, aerial: F32) -> F32:
    distances: F32 = 2.0 - 2.0 * np.einsum("nd,nd->n", ground, aerial)
    return distances


def others(count: int, seed: int) -> I64:
    """For each of ``count`` rows another one, every row once; at least 2 rows are needed."""
    if count < 2:
        raise InvalidValue(f"Unmatched pairs need at least 2 rows, got {count}.")
    order = np.random.default_rng(seed).permutation(count)
    numbers = np.empty(count, dtype=np.int64)
    numbers[order] = np.roll(order, 1)
    return numbers


def unroll_masks(maps: Tensor, size: tuple[int, int], *, polar: bool) -> Tensor:
    """Aerial maps [N, K, h, w] on a grid of ``size`` whose columns are azimuths, as a panorama's.

    ``polar``: they are unrolled already and only resized; else bilinear about the centre.
    """
    if polar:
        if tuple(maps.shape[2:]) == size:
            return maps
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)
    right, down = (torch.from_numpy(d) for d in compute_polar_directions(*size))
    grid = torch.stack([right, down], dim=-1)[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, align_corners=False, padding_mode="border")


def _maps(layout: Any) -> Tensor:
    rows, columns = layout.size
    maps: Tensor = layout.masks.float().cpu().transpose(1, 2)
    return maps.reshape(len(maps), -1, rows, columns)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Mean correlations over pairs, each (value, low, high) with a 95 % interval over pairs.

    ``own_*``: after the mean mask of each side is taken away, so that what all places have in
    common (a horizon, a vignette) does not count.
    """

    pairs: int
    matched: tuple[float, float, float]
    unmatched: tuple[float, float, float]
    own_matched: tuple[float, float, float]
    own_unmatched: tuple[float, float, float]
    separated: float  # chance that a matched pair correlates more than an unmatched one, "own"


def measure_alignment(masks: Masks, seed: int = 0) -> Alignment:
    """Correlate mask k of the ground with mask k from above, position by position, mean over k."""
    away = others(len(masks.ground), seed)
    ground, aerial = (_flat(m) for m in (masks.ground, masks.aerial))
    own_ground, own_aerial = (m - m.mean(axis=0) for m in (ground, aerial))
    own = correlations(own_ground, own_aerial), correlations(own_ground[away], own_aerial)
    return Alignment(
        pairs=len(ground),
        matched=_mean(correlations(ground, aerial)),
        unmatched=_mean(correlations(ground[away], aerial)),
        own_matched=_mean(own[0]),
        own_unmatched=_mean(own[1]),
        separated=_chance_of_more(*own),
    )


def correlations(first: F64, second: F64) -> F64:
    """[N] mean over k of Pearson's correlation over positions of [N, K, P] and [N, K, P].

    A mask that is the same everywhere correlates with nothing: 0.
    """
    one, two = (m - m.mean(axis=2, keepdims=True) for m in (first, second))
    scale = np.sqrt((one**2).sum(axis=2) * (two**2).sum(axis=2))
    products = (one * two).sum(axis=2)
    correlation: F64 = np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-12)
    return np.asarray(correlation.mean(axis=1))


def _flat(maps: F32) -> F64:
    return maps.reshape(*maps.shape[:2], -1).astype(np.float64)


def _mean(values: F64) -> tuple[float, float, float]:
    low, high = cluster_interval(values, np.arange(len(values)))
    return float(values.mean()), low, high


def _chance_of_more(more: F64, less: F64) -> float:
    """Of a random one of ``more`` being larger than a random one of ``less``; ties count half."""
    ordered = np.sort(less)
    below = np.searchsorted(ordered, more, "left") + np.searchsorted(ordered, more, "right")
    return float(below.mean() / (2 * len(less)))


LAYOUTS = {
    "original": Symmetry(),
    "mirrored": Symmetry(mirror=True),
    "turned by 90": Symmetry(turn="right"),
    "turned by 180": Symmetry(turn="back"),
    "turned by 270": Symmetry(turn="left"),
}


def measure_layout_recalls(model: Any, reader: Reader, rows: Sequence[int]) -> dict[str, float]:
    """R@1 in percent of these rows' panoramas among their aerial pictures, in each layout.

    Ranked as ``evaluate`` ranks: a tie with a wrong picture is no hit. Rows of one place are all
    right. Where photos are among them, which do not look all around, they are mirrored only.
    """
    places = reader.table.places()[np.asarray(rows)]
    relation = Relation(
        queries=len(rows),
        references=len(rows),
        right=Pairs.of(np.argwhere(places[:, None] == places[None])),
        near=Pairs.of(np.empty((0, 2), dtype=np.int64)),
    )
    turned = only_panoramas(reader.table, rows)
    return {
        name: 100.0 * recall(rank(_space(model, reader, rows, layout), relation).of_queries(), 1)
        for name, layout in LAYOUTS.items()
        if layout.turn == "none" or turned
    }


def _space(model: Any, reader: Reader, rows: Sequence[int], layout: Symmetry) -> Space:
    """The vectors of the rows' pictures in a layout."""
    views, sides, seen = reader.views, [], []
    model.eval()
    for raw in read_whole_pictures(reader, rows):
        pairs = [
            apply_symmetry(ground, aerial, layout, polar=views.aerial.polar)
            for ground, aerial in zip(raw.ground, raw.aerial, strict=True)
        ]
        grounds, aerials = (np.stack(side) for side in zip(*pairs, strict=True))
        sides.append(embed_batch(model, views, grounds, aerials))
        seen.append(raw.fov_deg)
    ground, aerial = (np.concatenate(side) for side in zip(*sides, strict=True))
    return make_space(views.azimuth_bins, ground, aerial, np.concatenate(seen))
