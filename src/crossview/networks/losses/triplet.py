"""The weighted soft-margin triplet loss over all triplets of a batch.

Hu et al. (CVM-Net, CVPR 2018, equation 5) with the exhaustive batch of SAFA, GeoDTR and GeoDTR+.
Older TensorFlow forms leave log 2 on the diagonal; here, as in GeoDTR's code, it does not count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor

from crossview.networks.exact import at_least_float32, without_autocast


def soft_margin_triplet(ground: Tensor, aerial: Tensor, alpha: float = 10.0) -> Tensor:
    """Mean of log(1 + exp(alpha (d_true - d_wrong))) over 2 n (n - 1) triplets.

    ``ground``, ``aerial``: unit [n, D], row i of both the same place; d = 2 - 2 cosine. Every
    picture of either side is the anchor once. Stable (softplus), in float32 under autocast.
    """
    with without_autocast(ground):
        cosines = at_least_float32(aerial) @ at_least_float32(ground).T
        distance = 2.0 - 2.0 * cosines  # [aerial, ground]
        true = distance.diagonal()
        wrong = ~torch.eye(len(distance), dtype=torch.bool, device=distance.device)
        aerial_anchor = F.softplus(alpha * (true[:, None] - distance))[wrong]
        ground_anchor = F.softplus(alpha * (true[None, :] - distance))[wrong]
        return (aerial_anchor.mean() + ground_anchor.mean()) / 2.0
