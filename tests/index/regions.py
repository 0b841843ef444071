"""A small region to index, and what surrounds it."""

from __future__ import annotations

import numpy as np
from tests.imagery.georeferenced import geotiff
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.imagery.sources import open_sources
from crossview.index.build import add_to_index, build_index
from crossview.index.index_options import IndexOptions

TOY = ToyEmbedder()
TOWN = "town 1a2b3c4d"


def meadow(height=400, width=500, seed=0):
    """Coloured noise in lumps of 8 pixels, so that windows differ."""
    lumps = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(lumps, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


def region(folder, name="aerial.tif", seed=0, synthetic=False, **profile):
    """A GeoTIFF of 250 m x 200 m at 0.5 m per pixel."""
    tags = {
        "TIFFTAG_COPYRIGHT": "(c) Meadow",
        **({"CROSSVIEW_SYNTHETIC": TOWN} if synthetic else {}),
    }
    return geotiff(folder / name, meadow(seed=seed), tags=tags, **profile)


def indexed(folder, *, embedder=TOY, paths=None, name="region.cvx", **options):
    """Build an index with small segments."""
    paths = paths or [region(folder)]
    options = IndexOptions(**{"batch": 8, "segment_windows": 64, **options})
    with open_sources(paths) as imagery:
        return build_index(imagery, embedder, folder / name, options=options)


def added(folder, paths, embedder=TOY, *, progress=None, **options):
    """Add to an index that :func:`indexed` made."""
    options = IndexOptions(**{"batch": 8, "segment_windows": 64, **options})
    with open_sources(paths) as imagery:
        return add_to_index(
            imagery, embedder, folder / "region.cvx", options=options, progress=progress
        )


def town_model():
    return ToyEmbedder(toy_info(name="town", synthetic=True))


def vectors_of(index):
    return np.concatenate([vectors for _, vectors in index.blocks()])
