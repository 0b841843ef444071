"""All that a method of one's own needs, in one import (``docs/adding-a-method.md``).

The pages of this room do not use it: each imports what it needs, so that it is read with few files.
"""

from __future__ import annotations

from crossview.arrays import F32, I64, U8
from crossview.errors import InvalidValue, require
from crossview.networks.augmentations import (
    change_colours,
    change_layout,
    draw_layout,
    finish_aerial,
    list_layouts,
)
from crossview.networks.azimuth import AzimuthEncoder
from crossview.networks.backbones import backbone, trunk
from crossview.networks.curriculum import Course
from crossview.networks.losses import (
    dual_info_nce,
    info_nce,
    learned_scale,
    soft_margin_triplet,
    symmetric_cross_entropy,
    turn_scores,
    turning_info_nce,
)
from crossview.networks.samplers import (
    draw_aerial_first,
    draw_batches,
    draw_neighbour_batches,
    draw_regional_batches,
    nearest_places,
)
from crossview.networks.weight_files import fill_network
from crossview.pairs.batch import Batch, PairPixels, TrainingProgress, Views
from crossview.pairs.table import PairTable
from crossview.views.aerial import make_aerial_view
from crossview.views.colour import augment_photometric
from crossview.views.crops import compute_visible_mask, crop_view
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import mirror_pair, roll_ground, turn_pair

__all__ = [
    "F32",
    "I64",
    "U8",
    "AzimuthEncoder",
    "Batch",
    "Course",
    "InvalidValue",
    "PairPixels",
    "PairTable",
    "TrainingProgress",
    "ViewSpec",
    "Views",
    "augment_photometric",
    "backbone",
    "change_colours",
    "change_layout",
    "compute_visible_mask",
    "crop_view",
    "draw_aerial_first",
    "draw_batches",
    "draw_layout",
    "draw_neighbour_batches",
    "draw_regional_batches",
    "dual_info_nce",
    "fill_network",
    "finish_aerial",
    "info_nce",
    "learned_scale",
    "list_layouts",
    "make_aerial_view",
    "mirror_pair",
    "nearest_places",
    "require",
    "roll_ground",
    "soft_margin_triplet",
    "symmetric_cross_entropy",
    "trunk",
    "turn_pair",
    "turn_scores",
    "turning_info_nce",
]
