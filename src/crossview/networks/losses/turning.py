"""Contrast over places and headings: the best turn of each pair is its similarity.

The score is that of DSM (Shi et al., CVPR 2020, section 3.3): the cosine over the visible sector,
for every turn. Deviations: InfoNCE over the best turns instead of a triplet loss, and a second
cross-entropy that names the true turn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor

from crossview.networks.losses.infonce import symmetric_cross_entropy
from crossview.views.crops import seen_bins


def visible_bins(fov_deg: Tensor, bins: int) -> Tensor:
    """Share of each bin [B, bins] that a picture of ``fov_deg`` [B] about the middle sees."""
    return torch.from_numpy(seen_bins(fov_deg.cpu().numpy(), bins)).to(fov_deg.device)


def turn_scores(ground: Tensor, aerial: Tensor, seen: Tensor) -> Tensor:
    """Cosine over the visible sector for all pairs and turns, [B, C, bins].

    ``ground`` [B, D], ``aerial`` [C, D], ``seen`` [B, bins]; at turn s, ground bin j meets aerial
    bin (j + s) mod bins.
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
    """
    scale = log_scale.exp()
    places = symmetric_cross_entropy(scale * scores.amax(dim=2), smoothing)
    known = torch.isfinite(heading_deg)
    own = scale * scores.diagonal().T[known]  # [B, bins]
    if not len(own):
        return places, own.sum()
    heading_deg, bins = heading_deg[known], own.shape[1]
    turn = torch.remainder(heading_deg / 360.0 * bins, bins)
    low = turn.floor()
    share = (turn - low)[:, None]
    label = (1 - share) * F.one_hot(low.long() % bins, bins)
    label = label + share * F.one_hot((low.long() + 1) % bins, bins)
    return places, F.cross_entropy(own, label)
