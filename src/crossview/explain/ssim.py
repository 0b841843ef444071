"""The structural similarity of two maps (Wang et al., IEEE TIP 2004)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor

from crossview.errors import InvalidValue

WINDOW, SIGMA = 11, 1.5  # of the Gaussian window, as the paper has it
C1, C2 = 0.01**2, 0.03**2  # for maps between 0 and 1


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Mean SSIM [B] of maps [B, h, w] in [0, 1], over the windows that lie wholly inside.

    From -1 to 1; two equal maps have 1, also two constant ones. Raises InvalidValue for maps that
    are smaller than the window.
    """
    if min(one.shape[1:]) < WINDOW:
        raise InvalidValue(
            f"maps of {one.shape[1]} x {one.shape[2]} are smaller than SSIM's window of {WINDOW}; "
            "enlarge them to the size of the picture first."
        )
    one, other = one.double().unsqueeze(1), other.double().unsqueeze(1)
    mean_1, mean_2 = _blurred(one), _blurred(other)
    var_1 = _blurred(one * one) - mean_1**2
    var_2 = _blurred(other * other) - mean_2**2
    both = _blurred(one * other) - mean_1 * mean_2
    light = (2 * mean_1 * mean_2 + C1) / (mean_1**2 + mean_2**2 + C1)
    shape = (2 * both + C2) / (var_1 + var_2 + C2)
    found: Tensor = (light * shape).mean(dim=(1, 2, 3))
    return found


def _blurred(maps: Tensor) -> Tensor:
    steps = torch.arange(WINDOW, dtype=maps.dtype, device=maps.device) - WINDOW // 2
    weights = torch.exp(-(steps**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()
    across = F.conv2d(maps, weights.view(1, 1, 1, WINDOW))
    return F.conv2d(across, weights.view(1, 1, WINDOW, 1))
