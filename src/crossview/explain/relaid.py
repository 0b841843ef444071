"""Does a network know its places mirrored and turned? Recall with both views in another layout.

Both views change alike (GeoDTR's layouts), so a pair stays a pair. Recall that is lost hung on
directions that the training pictures have in common, such as where the sun stands; layout
simulation is made against that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossview.evaluation.fast_scores import Space, space_of
from crossview.evaluation.metrics import recall
from crossview.evaluation.ranking import rank
from crossview.evaluation.relation import Pairs, Relation
from crossview.explain.masks import only_panoramas
from crossview.pairs.loading import Reader
from crossview.training.validation import vectors_of, whole_pictures
from crossview.views.symmetry import Symmetry, simulated

LAYOUTS = {
    "original": Symmetry(),
    "mirrored": Symmetry(mirror=True),
    "turned by 90": Symmetry(turn="right"),
    "turned by 180": Symmetry(turn="back"),
    "turned by 270": Symmetry(turn="left"),
}


def relaid_recalls(model: Any, reader: Reader, rows: Sequence[int]) -> dict[str, float]:
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
    for raw in whole_pictures(reader, rows):
        pairs = [
            simulated(ground, aerial, layout, polar=views.aerial.polar)
            for ground, aerial in zip(raw.ground, raw.aerial, strict=True)
        ]
        grounds, aerials = (np.stack(side) for side in zip(*pairs, strict=True))
        sides.append(vectors_of(model, views, grounds, aerials))
        seen.append(raw.fov_deg)
    ground, aerial = (np.concatenate(side) for side in zip(*sides, strict=True))
    return space_of(views.azimuth_bins, ground, aerial, np.concatenate(seen))
