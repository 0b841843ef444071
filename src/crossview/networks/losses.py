"""Losses: vectors in, one scalar out, or several by name.

Written from the papers; constants are those of the released code. Whatever is added up over many
numbers is computed in float32 under autocast, because bfloat16 would cost accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

INITIAL_SCALE = 1.0 / 0.07  # the learned scale starts here (CLIP, Radford et al. 2021, section 2.5)
GROUND, AERIAL = "ground", "aerial"
GROUND_2, AERIAL_2 = "ground_2", "aerial_2"  # the positives g* and s*


def learned_scale() -> nn.Parameter:
    """The logarithm of the scale, a scalar parameter that starts at ln(1 / 0.07)."""
    return nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))


def info_nce(ground: Tensor, aerial: Tensor, log_scale: Tensor, smoothing: float = 0.1) -> Tensor:
    """Mean of the two cross-entropies of exp(log_scale) * cosine, row i belonging to row i.

    ``ground`` and ``aerial`` are [B, D] and are normalised here. Computed in float32 under
    autocast, because scaled logits lose their last digits in bfloat16.

    Symmetric InfoNCE with label smoothing: Sample4Geo, Deuser et al., ICCV 2023, section 3.1.
    """
    with torch.autocast(ground.device.type, enabled=False):
        ground = F.normalize(at_least_float32(ground), dim=-1)
        aerial = F.normalize(at_least_float32(aerial), dim=-1)
        logits = log_scale.exp() * ground @ aerial.T
        return symmetric_cross_entropy(logits, smoothing)


def symmetric_cross_entropy(logits: Tensor, smoothing: float = 0.1) -> Tensor:
    """Mean of the cross-entropies over the rows and over the columns of square logits [B, B]."""
    labels = torch.arange(len(logits), device=logits.device)
    over_rows = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    over_columns = F.cross_entropy(logits.T, labels, label_smoothing=smoothing)
    return (over_rows + over_columns) / 2


def dual_info_nce(
    vectors: Mapping[str, Tensor],
    log_scale: Tensor,
    *,
    cross: tuple[float, float, float],
    alike: float,
    smoothing: float = 0.1,
) -> dict[str, Tensor]:
    """The weighted terms by name; those of weight 0, or without their positive, are left out.

    ``vectors`` holds "ground" and "aerial" [B, D], and "ground_2", "aerial_2" where there are such.
    ``cross``: w1 (g*, s), w2 (g, s*), w3 (g*, s*); ``alike``: gamma.

    SinGeo's dual discriminative learning, Chen et al., CVPR 2026: L = L_cross + gamma L_disc, with
    L_cross = L(g, s) + w1 L(g*, s) + w2 L(g, s*) + w3 L(g*, s*) and L_disc = L(g*, g) + L(s*, s).
    ConGeo (Mi et al., ECCV 2024) is the same without s* in the cross terms.
    """
    w1, w2, w3 = cross
    weighted = {
        (GROUND, AERIAL): 1.0,
        (GROUND, GROUND_2): alike,
        (AERIAL, AERIAL_2): alike,
        (GROUND_2, AERIAL): w1,
        (GROUND, AERIAL_2): w2,
        (GROUND_2, AERIAL_2): w3,
    }
    return {
        f"{one}-{other}": weight * info_nce(vectors[one], vectors[other], log_scale, smoothing)
        for (one, other), weight in weighted.items()
        if weight > 0 and one in vectors and other in vectors
    }


def soft_margin_triplet(
    ground: Tensor,
    aerial: Tensor,
    alpha: float = 10.0,
    *,
    keep_diagonal: bool = False,
    nearest: int = 0,
    wrong: Tensor | None = None,
) -> Tensor:
    """Mean of log(1 + exp(alpha (d_true - d_wrong))) over 2 n (n - 1) triplets.

    ``ground``, ``aerial``: unit [n, D], row i of both the same place; d = 2 - 2 cosine. Every
    picture of either side is the anchor once. Stable (softplus), in float32 under autocast.

    Hu et al. (CVM-Net, CVPR 2018, equation 5) with the exhaustive batch of SAFA, GeoDTR and
    GeoDTR+. As in GeoDTR's code, a place is not its own negative. ``keep_diagonal``: it is, as in
    older TensorFlow forms and in the code of L2LTR and SAIG: ln 2 / (n - 1) more, the same
    gradients. ``nearest``: so many negatives of every anchor count, the nearest ones; 0: all.
    ``wrong`` bool [n, n], aerial by ground: the pairs that may be negatives; None: all others.
    """
    with without_autocast(ground):
        cosines = at_least_float32(aerial) @ at_least_float32(ground).T
        own = math.log(2.0) / (len(cosines) - 1) if keep_diagonal else 0.0
        return soft_margin_of_distances(2.0 - 2.0 * cosines, alpha, nearest, wrong) + own


def soft_margin_of_distances(
    distance: Tensor, alpha: float = 10.0, nearest: int = 0, wrong: Tensor | None = None
) -> Tensor:
    """:func:`soft_margin_triplet` of distances [n, n], aerial by ground, however they came."""
    with without_autocast(distance):
        distance = at_least_float32(distance)
        true = distance.diagonal()
        other = ~torch.eye(len(distance), dtype=torch.bool, device=distance.device)
        other = other if wrong is None else other & wrong
        by_aerial = F.softplus(alpha * (true[:, None] - distance))
        by_ground = F.softplus(alpha * (true[None, :] - distance))
        if 0 < nearest < len(distance) - 1:
            anchors = ((by_aerial, other), (by_ground.T, other.T))
            costs = [_take_costliest(*anchor, nearest) for anchor in anchors]
        else:
            costs = [by_aerial[other], by_ground[other]]
        aerial_anchor, ground_anchor = (c.mean() if c.numel() else c.sum() for c in costs)
        return (aerial_anchor + ground_anchor) / 2.0


def find_negatives(apart_m: Tensor | None, least_m: float) -> Tensor | None:
    """Bool [n, N]: pairs that may be negatives, at least ``least_m`` metres apart or unknown (NaN).

    ``apart_m``: :attr:`crossview.pairs.batch.Batch.apart_m`; None of None, where all others may be.
    """
    return None if apart_m is None else ~(apart_m < least_m)


def _take_costliest(costs: Tensor, other: Tensor, nearest: int) -> Tensor:
    """Row by row the ``nearest`` largest costs [n, n] of the others: the nearest cost most."""
    largest = costs.masked_fill(~other, -math.inf).topk(nearest).values
    return largest[largest.isfinite()]


def weigh_exemplars(
    difference: Tensor, margin: float, *, easy: float, through: bool = True
) -> Tensor:
    """Weights of triplets by how hard they are, of ``difference`` = d_true - d_wrong, any shape.

    log2(1 + exp(difference + margin / 2)); those of triplets easier than -``margin`` are replaced
    by ``easy``, those of triplets whose wrong picture is the nearer one are held at the weight of
    equal distances. ``through``: gradients also flow through weights between the bounds.

    The distance rectified logistic regression of HER (Cai et al., ICCV 2019) and SEH (Guo et al.,
    TIP 2022): the first gives easy triplets 0.1 / n, the second removes them.
    """
    with without_autocast(difference):
        difference = at_least_float32(difference if through else difference.detach())
        weight = F.softplus(difference.clamp_max(0.0) + margin / 2.0) / math.log(2.0)
        return torch.where(difference < -margin, easy, weight)


def counterfactual(vector: Tensor, fake: Tensor, beta: float = 5.0) -> Tensor:
    """Mean of log(1 + exp(-beta d)), d = 2 - 2 cosine, over rows of unit [n, D] and their fakes.

    What random masks give must differ from the vector: GeoDTR, arXiv 2212.04074.
    """
    with without_autocast(vector):
        distance = 2.0 - 2.0 * (at_least_float32(vector) * at_least_float32(fake)).sum(dim=1)
        return F.softplus(-beta * distance).mean()


def turn_scores(ground: Tensor, aerial: Tensor, seen: Tensor) -> Tensor:
    """Cosine over the visible sector for all pairs and turns, [B, C, bins].

    ``ground`` [B, D], ``aerial`` [C, D], ``seen`` [B, bins]; at turn s, ground bin j meets aerial
    bin (j + s) mod bins.

    The score of DSM: Shi et al., CVPR 2020, section 3.3.
    """
    bins = seen.shape[1]
    weight = seen.sqrt()[..., None]
    query = weight * ground.reshape(len(ground), bins, -1)
    query = weight * F.normalize(query.flatten(1), dim=1).reshape(query.shape)
    reference = aerial.reshape(len(aerial), bins, -1)
    turns = (torch.arange(bins)[None, :] + torch.arange(bins)[:, None]) % bins
    turned = reference[:, turns.to(aerial.device)]  # [C, turn, bin, depth]
    dots = torch.einsum("bjd,csjd->bcs", query, turned)
    energy = torch.einsum("bj,csj->bcs", seen, turned.square().sum(3))
    return dots / energy.clamp_min(1e-8).sqrt()


def turning_info_nce(
    scores: Tensor, heading_deg: Tensor, log_scale: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE over the best turn of each pair, and the cross-entropy of the true pair's turn.

    ``scores`` [B, B, bins]; ``heading_deg`` [B]: azimuth of the picture's middle; NaN: unknown,
    which only the first loss learns from. The true turn lies between two bins; both share the
    label.

    Deviations from DSM: InfoNCE over the best turns instead of a triplet loss, and a second
    cross-entropy that names the true turn.
    """
    scale = log_scale.exp()
    places = symmetric_cross_entropy(scale * scores.amax(dim=2), smoothing)
    aligned = torch.isfinite(heading_deg)
    own = scale * scores.diagonal().T[aligned]  # [B, bins]
    if not len(own):
        return places, own.sum()
    heading_deg, bins = heading_deg[aligned], own.shape[1]
    turn = torch.remainder(heading_deg / 360.0 * bins, bins)
    low = turn.floor()
    share = (turn - low)[:, None]
    label = (1 - share) * F.one_hot(low.long() % bins, bins)
    label = label + share * F.one_hot((low.long() + 1) % bins, bins)
    return places, F.cross_entropy(own, label)


def without_autocast(values: Tensor) -> AbstractContextManager[object]:
    """No autocast on the device of ``values``; nothing on the meta device, which has none."""
    if values.device.type == "meta":
        return nullcontext()
    return torch.autocast(values.device.type, enabled=False)


def at_least_float32(values: Tensor) -> Tensor:
    """``values`` in float32, or in float64 if they are that already."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
