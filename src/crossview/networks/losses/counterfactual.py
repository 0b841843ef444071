"""Counterfactual learning of masks: what random masks would have said must differ from the vector.

GeoDTR (arXiv 2212.04074) and GeoDTR+ (arXiv 2308.09624); constants are those of the released code.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor

from crossview.networks.exact import at_least_float32, without_autocast


def counterfactual(vector: Tensor, fake: Tensor, beta: float = 5.0) -> Tensor:
    """Mean of log(1 + exp(-beta d)), d = 2 - 2 cosine, over rows of unit [n, D] and their fakes."""
    with without_autocast(vector):
        distance = 2.0 - 2.0 * (at_least_float32(vector) * at_least_float32(fake)).sum(dim=1)
        return F.softplus(-beta * distance).mean()
