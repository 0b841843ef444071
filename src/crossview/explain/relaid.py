"""Does a network know its places mirrored and turned? Recall with both views in another layout.

Both views change alike (GeoDTR's layouts), so a pair stays a pair. Recall that is lost hung on
directions that the training pictures have in common, such as where the sun stands; layout
simulation is made against that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossview.pairs.loading import Loader, Reader, normalised
from crossview.training.validation import chunks
from crossview.views.symmetries import Symmetry, simulated

LAYOUTS = {
    "original": Symmetry(),
    "mirrored": Symmetry(mirror=True),
    "turned by 90": Symmetry(turn="right"),
    "turned by 180": Symmetry(turn="back"),
    "turned by 270": Symmetry(turn="left"),
}


def relaid_recalls(model: Any, reader: Reader, rows: Sequence[int]) -> dict[str, float]:
    """R@1 in percent of these rows' panoramas among their aerial pictures, in each layout.

    A tie with a wrong picture is no hit; rows of one place are all right. Photos that do not look
    all around can be mirrored only.
    """
    table, chosen = reader.table, np.asarray(rows)
    places = torch.from_numpy(table.places()[chosen])
    right = places[:, None] == places[None]
    photos = (table.fov_deg[table.pairs[chosen, 0]] < 360.0).any()
    return {
        name: _recall(*_vectors(model, reader, rows, layout), right)
        for name, layout in LAYOUTS.items()
        if layout.turn == "none" or not photos
    }


def _recall(ground: Tensor, aerial: Tensor, right: Tensor) -> float:
    scores = ground @ aerial.T
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1)
    rival = scores.masked_fill(right, -torch.inf).amax(dim=1)
    return 100.0 * float((best > rival).double().mean())


def _vectors(
    model: Any, reader: Reader, rows: Sequence[int], layout: Symmetry
) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    polar = reader.views.aerial.polar
    sides: list[tuple[Tensor, Tensor]] = []
    model.eval()
    with torch.no_grad(), Loader(reader, 0) as loader:
        for raw in loader.epoch(0, chunks(rows, 16)):
            pairs = [
                simulated(ground, aerial, layout, polar=polar)
                for ground, aerial in zip(raw.ground, raw.aerial, strict=True)
            ]
            images, above = (np.stack(side) for side in zip(*pairs, strict=True))
            sides.append(
                (
                    model.ground(normalised(images, reader.views.ground, device)).float().cpu(),
                    model.aerial(normalised(above, reader.views.aerial, device)).float().cpu(),
                )
            )
    grounds, aerials = zip(*sides, strict=True)
    return torch.cat(grounds), torch.cat(aerials)
