"""SinGeo's dual discriminative learning: six symmetric InfoNCE terms over two looks at each view.

Chen et al., CVPR 2026: L = L_cross + gamma L_disc, with L_cross = L(g, s) + w1 L(g*, s) +
w2 L(g, s*) + w3 L(g*, s*) and L_disc = L(g*, g) + L(s*, s). ConGeo (Mi et al., ECCV 2024) is the
same without s* in the cross terms. Written from the papers.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from crossview.networks.losses.infonce import info_nce

GROUND, AERIAL = "ground", "aerial"
GROUND_2, AERIAL_2 = "ground_2", "aerial_2"  # the positives g* and s*


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
